"""The renderer's promises: purity, exact truth, legible ink, plain errors."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from render import LAYOUTS, Plan, Renderer, RenderSettings, versions
from render.ink import contrast, luminance, windows
from shards import UserError, encode_png

SETTINGS = RenderSettings(width=160, height=128)
INDICES = range(0, 40, 3)


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(SETTINGS, seed=5)


@pytest.fixture(scope="module")
def samples(renderer):
    return {i: renderer.sample(i) for i in INDICES}


def files(sample):
    return dict(sample.files())


def test_order_and_a_cold_cache_change_nothing(samples):
    fresh = Renderer(SETTINGS, seed=5)
    for i in reversed(INDICES):
        assert files(fresh.sample(i)) == files(samples[i])


def test_another_process_makes_the_same_bytes(samples):
    code = (
        "import hashlib, sys; from render import Renderer, RenderSettings\n"
        "r = Renderer(RenderSettings(width=160, height=128), seed=5)\n"
        "print(hashlib.sha256(b''.join(d for _, d in r.sample(9).files())).hexdigest())"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    import hashlib

    own = hashlib.sha256(b"".join(data for _, data in samples[9].files())).hexdigest()
    assert out.stdout.strip() == own


def test_another_seed_makes_another_page(renderer, samples):
    assert files(Renderer(SETTINGS, seed=6).sample(0)) != files(samples[0])


def test_a_plan_read_back_from_json_paints_the_same_bytes(renderer, samples):
    for i in INDICES:
        plan = renderer.plan(i)
        again = Plan.model_validate_json(plan.model_dump_json())
        assert again == plan
        assert encode_png(renderer.paint(again)) == samples[i].image
        assert Plan.model_validate(samples[i].meta["plan"]) == plan


def test_every_character_has_its_own_ink_inside_the_page(renderer, samples):
    for i, sample in samples.items():
        plan = renderer.plan(i)
        with_ink = renderer.paint(plan).astype(int)
        for line in sample.meta["lines"]:
            assert len(line["characters"]) == len(line["text"])
            for character, box in zip(line["text"], line["characters"], strict=True):
                if character == " ":
                    assert box is None
                    continue
                x0, y0, x1, y1 = box
                assert 0 <= x0 < x1 <= plan.width
                assert 0 <= y0 < y1 <= plan.height
        # Without its text the page differs from the sample inside the boxes and nowhere else.
        bare = plan.model_copy(
            update={"blocks": tuple(b.model_copy(update={"lines": ()}) for b in plan.blocks)}
        )
        changed = (with_ink != renderer.paint(bare)).any(axis=2)
        inside = np.zeros_like(changed)
        for line in sample.meta["lines"]:
            for box in filter(None, line["characters"]):
                assert changed[box[1] : box[3], box[0] : box[2]].any()
                inside[box[1] : box[3], box[0] : box[2]] = True
        assert not (changed & ~inside).any()


def test_the_text_is_what_was_placed(samples):
    for sample in samples.values():
        lines = [line["text"] for line in sample.meta["lines"]]
        runs = [
            "".join(run["text"] for run in line["runs"])
            for block in sample.meta["plan"]["blocks"]
            for line in block["lines"]
        ]
        assert sample.text == "\n".join(lines) == "\n".join(runs)
        assert all(line.strip() == line != "" for line in lines)
        boxes = [box for line in sample.meta["lines"] for box in line["characters"] if box]
        assert sample.meta["characters"] == len(boxes) > 0


def test_sizes_stay_in_the_range_and_are_reported(samples):
    for sample in samples.values():
        sizes = [line["size_px"] for line in sample.meta["lines"]]
        assert sample.meta["size_px"] == [min(sizes), max(sizes)]
        assert min(sizes) >= 5
        assert max(sizes) <= 20


def test_contrast_holds_on_the_painted_background(renderer):
    for i in INDICES:
        plan = renderer.plan(i)
        bare = plan.model_copy(
            update={"blocks": tuple(b.model_copy(update={"lines": ()}) for b in plan.blocks)}
        )
        ground = renderer.paint(bare)
        truths = iter(renderer.sample(i).meta["lines"])
        for block, line in plan.lines():
            x0, y0, x1, y1 = next(truths)["box"]
            measured = contrast(block.colour, windows(ground[y0:y1, x0:x1], line.size_px))
            assert measured == pytest.approx(line.contrast, abs=1e-3)
            assert measured >= SETTINGS.contrast_floor


def test_luminance_and_contrast_follow_wcag():
    black_and_white = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    assert luminance(black_and_white)[0] == pytest.approx([0.0, 1.0])
    assert contrast((255, 255, 255), (0.0, 0.0)) == pytest.approx(21.0)
    assert contrast((119, 119, 119), (1.0, 1.0)) == pytest.approx(4.48, abs=0.01)
    assert contrast((119, 119, 119), (0.0, 1.0)) == 1.0


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("language", ["en", "zh"])
def test_zero_shares_never_occur(renderer, layout, language):
    settings = RenderSettings(
        width=128, height=96, languages={language: 1, "mixed": 0}, layouts={layout: 1}, flat_share=0
    )
    one = Renderer.__new__(Renderer)  # the fonts and text of the other renderer
    one.__dict__.update(renderer.__dict__)
    one.settings = settings
    one.backgrounds = type(renderer.backgrounds)(renderer.backgrounds.source, 128, 96, 0.0)
    for i in range(6):
        plan = one.plan(i)
        assert (plan.layout, plan.language) == (layout, language)
        assert plan.background.source is not None
        assert {block.language for block in plan.blocks} == {language}


def test_the_smallest_page_still_carries_text():
    renderer = Renderer(RenderSettings(width=86, height=86, contrast_floor=15), seed=1)
    assert all(renderer.sample(i).text for i in range(12))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size_px": (12, 8)}, "smallest, largest"),
        ({"size_px": (2, 8)}, "within"),
        ({"size_px": (5, 65)}, "within"),
        ({"width": 64}, "too small for text of 20 px"),
        ({"layouts": {"poster": 1}}, "unknown"),
        ({"layouts": {"scatter": 0}}, "all 0"),
        ({"languages": {"en": -1}}, "at least 0"),
        ({"languages": {"fr": 1}}, "'en', 'zh' or 'mixed'"),
        ({"flat_share": 2}, "less than or equal to 1"),
        ({"sizes": (5, 9)}, "Extra inputs"),
    ],
)
def test_wrong_settings_are_refused_with_the_reason(changes, message):
    with pytest.raises(ValidationError, match=message):
        RenderSettings(**changes)


def test_a_negative_index_or_seed_is_refused(renderer):
    with pytest.raises(UserError, match="index -1"):
        renderer.plan(-1)
    with pytest.raises(UserError, match="seed -1"):
        Renderer(SETTINGS, seed=-1)


def test_a_plan_for_other_fonts_says_so(renderer):
    plan = renderer.plan(0)
    data = plan.model_dump(mode="json")
    data["blocks"][0]["lines"][0]["runs"][0]["face"] = "gone.ttf#0"
    with pytest.raises(UserError, match=r"gone\.ttf#0"):
        renderer.paint(Plan.model_validate(data))


def test_versions_name_the_libraries_that_shape_pixels():
    assert set(versions()) == {"pillow", "freetype", "numpy", "opencv"}
