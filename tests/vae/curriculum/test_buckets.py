"""Shapes of equal area, who is large enough for them, and which step has which."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards import Order, UserError
from vae import Stage
from vae.curriculum.buckets import RARE, shapes
from vae.curriculum.curriculum import Curriculum
from vae.curriculum.stage import ASPECTS


def stage(name="a", samples=240, resolution=64, shares=("x",), batch=4, **more):
    return Stage(
        name=name,
        samples=samples,
        batch=batch,
        micro=2,
        resolution=resolution,
        shares=dict.fromkeys(shares, 1.0) if isinstance(shares, tuple) else shares,
        **more,
    )


def of_size(height, width, count):
    return np.full((count, 2), (height, width), np.uint16)


def together(*parts):
    return np.concatenate(parts)


@given(st.integers(1, 64), st.sampled_from([1, 4, 16, 32]))
def test_shapes_are_whole_blocks_of_nearly_equal_area(side, block):
    resolution = side * block
    made = shapes(resolution, ASPECTS, block)
    assert (resolution, resolution) in made
    assert {(w, h) for h, w in made} == {*made}
    for h, w in made:
        assert h % block == w % block == 0
        assert h * w <= resolution**2
        assert side < 8 or h * w >= 0.85 * resolution**2
        assert side < 8 or max(h, w) / min(h, w) < 4


def test_nine_shapes_of_the_resolutions_that_people_train_at():
    assert len(shapes(256, ASPECTS, 16)) == len(shapes(512, ASPECTS, 32)) == 9
    assert shapes(256, ASPECTS, 16)[0] == (448, 144)
    assert shapes(1024, (1.0, 3.0), 32) == [(1024, 1024), (576, 1792)]


def seen(curriculum):
    """Per step: the knobs and the draws."""
    return [(curriculum.at(n), curriculum.draws(n)) for n in curriculum.starts()]


def test_shapes_come_in_the_proportions_of_the_images_and_all_hold_theirs():
    sizes = together(of_size(100, 300, 60), of_size(200, 200, 30), of_size(70, 60, 10))
    curriculum = Curriculum([stage(samples=4000)], {"x": sizes}, block=4)
    steps = Counter()
    for knobs, draws in seen(curriculum):
        steps[knobs.shape] += 1
        assert all((sizes[draw.sample] >= knobs.shape).all() for draw in draws)
    assert sum(steps.values()) == 1000
    # Of 100 images none of the last ten holds any shape; those left are 2 to 1.
    assert steps.most_common(2) == [((36, 112), 667), ((64, 64), 333)]
    (fit,) = curriculum.fits
    assert (fit.stage, fit.resolution, fit.stream) == ("a", 64, "x")
    assert (fit.images, fit.held) == (100, 90)
    assert [*curriculum.left_out()] == [
        "stage a: stream x: 10 of 100 images are too small for 64 x 64 px and left out"
    ]


def test_a_shape_that_few_images_of_a_stream_hold_is_left_out():
    photos = together(of_size(100, 300, 50), of_size(200, 200, 50))
    for wide in (4, 6):
        pages = together(of_size(70, 70, 5 * RARE - wide), of_size(400, 400, wide))
        sizes = {"photos": photos, "pages": pages}
        curriculum = Curriculum([stage(shares=("photos", "pages"))], sizes, block=4)
        drawn = {knobs.shape for knobs, _ in seen(curriculum)}
        assert drawn == ({(64, 64), (36, 112)} if wide * RARE >= len(pages) else {(64, 64)})


def test_other_resolutions_have_their_part_of_the_steps_at_equal_pixels():
    curriculum = Curriculum(
        [stage(samples=4 * 1000, also={32: 0.25, 16: 0.1})],
        {"x": of_size(100, 100, 50)},
        block=4,
    )
    assert curriculum.samples == 4000
    steps = seen(curriculum)
    by_side = Counter(round((knobs.shape[0] * knobs.shape[1]) ** 0.5) for knobs, _ in steps)
    assert by_side[32] / len(steps) == pytest.approx(0.25, abs=0.01)
    assert by_side[16] / len(steps) == pytest.approx(0.1, abs=0.01)
    for knobs, draws in steps:
        assert knobs.micro_batches == 2
        assert len(draws) == knobs.samples
        assert knobs.samples * knobs.shape[0] * knobs.shape[1] == 4 * 64 * 64
    assert [knobs.n for knobs, _ in steps] == [*curriculum.starts()]


def test_the_draw_of_a_shape_says_nothing_of_the_step():
    """Neither in blocks nor in a rhythm: each half of the steps has its half of every shape."""
    sizes = {"x": together(of_size(100, 300, 50), of_size(200, 200, 50))}
    curriculum = Curriculum([stage(samples=4000)], sizes, block=4)
    square = np.array([knobs.shape == (64, 64) for knobs, _ in seen(curriculum)])
    assert square.sum() == 500
    for part in (square[:500], square[::2]):
        assert 210 < part.sum() < 290
    other = Curriculum([stage(samples=4000)], sizes, seed=1, block=4)
    assert (square != [knobs.shape == (64, 64) for knobs, _ in seen(other)]).any()


SIDES = st.sampled_from([(40, 40), (100, 40), (40, 130), (64, 64), (200, 150), (30, 30)])


@settings(max_examples=40)
@given(
    st.lists(SIDES, min_size=1, max_size=12),
    st.lists(SIDES, min_size=1, max_size=12),
    st.sampled_from([{}, {16: 0.3}]),
    st.integers(0, 5),
)
def test_every_epoch_of_every_stream_and_set_holds_each_sample_once(ours, theirs, also, seed):
    # One large image each, so that there is a shape for both.
    sizes = {
        "x": np.array([*ours, (300, 300)], np.uint16),
        "y": np.array([*theirs, (300, 300)], np.uint16),
    }
    moving = {"x": {"from": 1.0, "to": 0.2}, "y": 0.5}
    stages = [
        stage("a", 120, 32, moving, also=also),
        stage("b", 60, 64, ("y",)),
        stage("c", 120, 32, ("x", "y")),
    ]
    curriculum = Curriculum(stages, sizes, seed, block=4)
    owed, counts, drawn = Counter(), Counter(), {}
    for knobs, draws in seen(curriculum):
        for draw in draws:
            held = np.flatnonzero((sizes[draw.stream] >= knobs.shape).all(1))
            samples = drawn.setdefault((draw.stream, held.tobytes()), [])
            assert draw.number == len(samples)
            assert draw.sample in held
            samples.append((draw.sample, held))
            counts[draw.stream] += 1
            owed.update(knobs.shares)
            assert all(abs(counts[name] - owed[name]) <= 1 + 1e-5 for name in owed)
    for draws in drawn.values():
        held = draws[0][1]
        order = Order(len(held), seed)
        samples = [sample for sample, _ in draws]
        assert samples == [held[order[number]] for number in range(len(samples))]
        for start in range(0, len(samples), len(held)):
            epoch = samples[start : start + len(held)]
            assert len({*epoch}) == len(epoch)


def test_a_broken_sample_is_replaced_by_one_that_holds_the_shape_too():
    sizes = {"x": together(of_size(100, 300, 5), of_size(200, 200, 5), of_size(70, 60, 10))}
    curriculum = Curriculum([stage()], sizes, block=4)
    for knobs, draws in seen(curriculum):
        for draw in draws:
            assert curriculum.again(knobs.n, draw, 0) == draw.sample
            others = [curriculum.again(knobs.n, draw, epochs) for epochs in range(1, 4)]
            assert (sizes["x"][others] >= knobs.shape).all()


def test_streams_that_are_too_small_are_refused_by_name():
    sizes = {"pages": together(of_size(300, 400, 499), of_size(350, 420, 1))}
    large = stage("large", resolution=1024, shares=("pages",), aspects=[1.0])
    with pytest.raises(
        UserError,
        match="stage large: stream pages: 0 of 500 images hold 1024 x 1024 px; the largest is "
        "420 x 350 px",
    ):
        Curriculum([large], sizes, block=16)
    with pytest.raises(UserError, match="1024 x 1024 px or another shape of that area; the larg"):
        Curriculum([stage("large", resolution=1024, shares=("pages",))], sizes, block=16)
    # Of a size that nobody knows, as where a sidecar does not say and the file cannot be opened.
    with pytest.raises(UserError, match="0 of 3 images hold"):
        Curriculum([stage()], {"x": of_size(0, 0, 3)})


def test_streams_without_a_common_shape_are_refused():
    sizes = {"wide": of_size(40, 400, 5), "tall": of_size(400, 40, 5)}
    with pytest.raises(UserError, match=r"no shape of 64 x 64 px in area fits .* tall, wide"):
        Curriculum([stage(shares=("wide", "tall"))], sizes, block=4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"also": {48: 0.1}}, "also 48: give a resolution below 64 that divides it"),
        ({"also": {64: 0.1}}, "also 64: give a resolution below 64"),
        ({"also": {32: 0.5, 16: 0.5}}, "also takes 1 of all steps"),
        ({"aspects": []}, "aspects are empty"),
        ({"aspects": [0.0]}, "greater than 0"),
    ],
)
def test_shapes_that_cannot_be_made_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        stage(**change)
