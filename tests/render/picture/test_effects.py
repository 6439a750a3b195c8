"""Effects: drawn over the finished page, labelled, and repeated exactly."""

from dataclasses import replace

import numpy as np
import pytest

from render.picture.effects import EFFECTS, draw
from render.plan import Effect
from tests.render.pages import truth, variant

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 61, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", EFFECTS)
def test_an_effect_changes_values_only_and_repeats_itself(kind):
    before = PIXELS.copy()
    effect = Effect(kind, EFFECTS[kind].high, 7)
    once, again = (EFFECTS[kind].apply(PIXELS, effect) for _ in range(2))
    assert once.shape == PIXELS.shape
    assert once.dtype == np.uint8
    assert np.array_equal(once, again)
    assert not np.array_equal(once, PIXELS)
    assert np.array_equal(PIXELS, before)


@pytest.mark.parametrize(
    ("kind", "harder"), [("jpeg", 60), ("webp", 60), ("blur", 0.7), ("noise", 6)]
)
def test_strength_tells_how_far_a_picture_changes(renderer, kind, harder):
    pixels = variant(renderer, flat_share=0).sample(0).pixels()
    softer = EFFECTS[kind].high if harder == EFFECTS[kind].low else EFFECTS[kind].low
    soft, hard = (
        np.abs(EFFECTS[kind].apply(pixels, Effect(kind, strength)).astype(int) - pixels).mean()
        for strength in (softer, harder)
    )
    assert 0 < soft < hard < 12


def test_noise_comes_from_the_seed_of_the_effect():
    one, other = (EFFECTS["noise"].apply(PIXELS, Effect("noise", 4.0, seed)) for seed in (1, 2))
    assert not np.array_equal(one, other)
    grey = np.full((200, 200, 3), 128, np.uint8)
    noisy = EFFECTS["noise"].apply(grey, Effect("noise", 4.0, 1)).astype(float)
    assert noisy.std() == pytest.approx(4.0, rel=0.05)
    assert noisy.mean() == pytest.approx(128, abs=0.1)
    assert (noisy[..., 0] != noisy[..., 1]).any()


def test_recompression_keeps_the_order_of_the_channels():
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    for kind in ("jpeg", "webp"):
        assert EFFECTS[kind].apply(red, Effect(kind, 90)).mean(axis=(0, 1)) == pytest.approx(
            [200, 0, 0], abs=6
        )


def test_effects_are_drawn_by_their_probability_camera_first():
    rng = np.random.default_rng(0)
    drawn = [draw(rng, {"webp": 0.25, "blur": 0.5, "noise": 0.0}) for _ in range(400)]
    kinds = [effect.kind for effects in drawn for effect in effects]
    assert kinds.count("blur") == pytest.approx(200, abs=40)
    assert kinds.count("webp") == pytest.approx(100, abs=35)
    assert set(kinds) == {"blur", "webp"}
    every = draw(rng, dict.fromkeys(reversed(EFFECTS), 1.0))
    assert [effect.kind for effect in every] == ["blur", "noise", "jpeg", "webp"]


def test_strengths_and_seeds_vary_within_their_range():
    rng = np.random.default_rng(0)
    drawn = [draw(rng, dict.fromkeys(EFFECTS, 1.0)) for _ in range(50)]
    for effects in drawn:
        assert all(EFFECTS[e.kind].low <= e.strength <= EFFECTS[e.kind].high for e in effects)
    assert len({effect.seed for effects in drawn for effect in effects}) == 200


def test_pages_say_which_effects_they_have(renderer):
    one = variant(renderer, effects={"jpeg": 0.5, "noise": 0.5})
    labels = []
    for i in range(20):
        sample = one.sample(i)
        effects = sample.meta["plan"].effects
        assert truth(sample)["effects"] == {effect.kind: effect.strength for effect in effects}
        labels.append(tuple(truth(sample)["effects"]))
    assert {(), ("noise",), ("jpeg",), ("noise", "jpeg")} == set(labels)


@pytest.mark.parametrize("kind", EFFECTS)
def test_an_effect_leaves_everything_where_it_is(renderer, kind):
    one = variant(renderer, effects={kind: 1.0}, flat_share=1, contrast_floor=3)
    sample = one.sample(1)
    plain = one.paint(replace(sample.meta["plan"], effects=())).astype(float)
    changed = sample.pixels().astype(float)
    assert 0 < np.abs(plain - changed).mean() < 12
    for line in sample.meta["lines"]:
        left, top, right, bottom = line["box"]
        one_, other = (p[top:bottom, left:right, 1].ravel() for p in (plain, changed))
        assert np.corrcoef(one_, other)[0, 1] > 0.8
