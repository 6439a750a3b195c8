"""Light and ink: what WCAG says, what is recorded, and what helps where no ink can be read."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render import LAYOUTS
from render.picture.backgrounds import Backgrounds
from render.picture.canvas import Canvas
from render.picture.ink import OPACITIES, choose, near_grey, of_hsv
from render.picture.light import (
    CELL_PX,
    TO_LINEAR,
    TO_SRGB,
    contrast,
    extremes,
    luminance,
    mean,
    ratio,
    readable,
)
from render.plan import Box, Rect
from render.settings import only
from shards import ImageSource, encode_png
from tests.render.pages import (
    PLEX,
    bare,
    covered,
    ground,
    luminance_map,
    page_of,
    style_of,
    variant,
    with_ink,
)

TINTS = ((20, 10, 10), (250, 250, 245))
BOX = (20, 20, 80, 32)

GRAIN_TOLERANCE = 0.8
"""Least share of the recorded contrast that any half-em window holds, at whatever offset: the
renderer looks at whole cells only, but counts one standard deviation of their grain."""


def grey(value, height=60, width=120):
    return np.full((height, width, 3), value, np.uint8)


def gravel(seed=0, height=60, width=120):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def chosen(pixels, *, floor=3.0, ways=("bare", "plate"), wanted=None, seed=0, **more):
    canvas = Canvas(pixels.copy, None)
    boxes = np.array([BOX], np.int32)
    rng = np.random.default_rng(seed)
    ink = choose(
        rng, canvas, boxes, Box(17, 17, 83, 35), 12, floor,
        ways=ways, wanted=wanted, tint=TINTS[seed % 2], **more,
    )  # fmt: skip
    return ink, canvas


def test_luminance_and_contrast_follow_wcag():
    assert luminance((0, 0, 0)) == 0
    assert luminance((255, 255, 255)) == pytest.approx(1)
    assert luminance((255, 0, 0)) == pytest.approx(0.2126)
    assert ratio(0.0, 1.0) == ratio(1.0, 0.0) == pytest.approx(21)
    assert contrast((119, 119, 119), 1.0, 1.0) == pytest.approx(4.48, abs=0.01)


def test_contrast_is_that_with_the_worse_of_two_grounds():
    white = (255, 255, 255)
    assert contrast(white, 0.0, 0.2) == pytest.approx(1.05 / 0.25)
    assert contrast((0, 0, 0), 0.1, 1.0) == pytest.approx(0.15 / 0.05)
    assert contrast((119, 119, 119), 0.0, 1.0) == 1.0


def test_the_tables_of_light_go_there_and_back():
    assert np.array_equal(TO_SRGB[TO_LINEAR], np.arange(256))
    assert (np.diff(TO_LINEAR.astype(int)) > 0).all()
    assert TO_LINEAR[[0, 255]].tolist() == [0, 65535]
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    assert np.abs(TO_LINEAR / 65535 - luminance_map(ramp)[0]).max() < 1e-4


@settings(max_examples=30)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 99))
def test_the_extremes_of_a_cell_are_its_mean_and_its_grain(height, width, seed):
    pixels = gravel(seed, height, width)
    expected = luminance_map(pixels)
    for y in range(0, height, CELL_PX):
        for x in range(0, width, CELL_PX):
            box = (x, y, min(width, x + CELL_PX), min(height, y + CELL_PX))
            cell = expected[y : y + CELL_PX, x : x + CELL_PX]
            ((low, high),) = extremes(pixels, np.array([box], np.int32), CELL_PX)
            grain = max(0, cell.mean() - cell.std()), min(1, cell.mean() + cell.std())
            assert (low, high) == pytest.approx(grain, abs=1e-6)


@settings(max_examples=60)
@given(st.integers(0, 999), st.floats(1, 15), st.integers(1, 24))
def test_boxes_are_left_out_only_where_no_ink_holds_the_floor(seed, floor, size_px):
    rng = np.random.default_rng(seed)
    low, high = np.sort(rng.integers(0, 256, 2))
    pixels = rng.integers(low, high + 1, (60, 120, 3), dtype=np.uint8)
    lefts, tops = rng.integers(0, (100, 50), (8, 2)).T
    boxes = np.stack([lefts, tops, lefts + 20, tops + 10], axis=1).astype(np.int32)
    every = extremes(pixels, boxes, size_px)
    found = extremes(pixels, boxes, size_px, floor)
    assert np.array_equal(found, every[: len(found)])
    lows, highs = np.minimum.accumulate(every[:, 0]), np.maximum.accumulate(every[:, 1])
    holds = [
        max(contrast(ink, *ends) for ink in ((0, 0, 0), (255, 255, 255))) >= floor
        for ends in zip(lows, highs, strict=True)
    ]
    assert len(every) == len(boxes)
    assert len(found) == min([n + 1 for n in range(8) if not holds[n]], default=8)


@settings(max_examples=30)
@given(st.integers(0, 999), st.tuples(*[st.integers(0, 255)] * 3), st.floats(0.01, 1))
def test_what_a_plate_will_do_is_known_before_it_is_laid(seed, colour, opacity):
    canvas = Canvas(gravel(seed).copy, None)
    plate = Rect(Box(12, 8, 92, 44), colour, opacity)
    boxes = np.array([(15, 11, 89, 41), (50, 20, 60, 30)], np.int32)
    foreseen = extremes(canvas.pixels, boxes, 9, under=(colour, opacity))
    canvas.lay(plate)
    assert np.array_equal(extremes(canvas.pixels, boxes, 9), foreseen)


def test_the_mean_of_a_picture_is_estimated():
    for size in ((1, 1), (3, 50), (60, 120), (700, 400)):
        assert mean(np.full((*size, 3), 188, np.uint8)) == pytest.approx(luminance((188,) * 3))
        pixels = gravel(0, *size)
        assert mean(pixels) == pytest.approx(luminance_map(pixels).mean(), abs=0.03)


def test_a_rectangle_is_filled_tinted_or_opened():
    ground = gravel()
    canvas = Canvas(ground.copy, None)
    canvas.lay(Rect(Box(10, 10, 40, 40), (200, 0, 100)))
    assert (canvas.pixels[10:40, 10:40] == (200, 0, 100)).all()
    canvas.lay(Rect(Box(20, 20, 30, 30), None))
    assert np.array_equal(canvas.pixels[20:30, 20:30], ground[20:30, 20:30])
    canvas.lay(Rect(Box(60, 0, 80, 20), (255, 255, 255), 0.5))
    mean = (ground[:20, 60:80].astype(float) + 255) / 2
    assert np.abs(canvas.pixels[:20, 60:80] - mean).max() <= 1
    assert np.array_equal(canvas.pixels[:, 85:], ground[:, 85:])
    assert np.array_equal(canvas.background, ground)


@settings(max_examples=100)
@given(st.integers(0, 10**6))
def test_tints_are_near_black_or_near_white(seed):
    rng = np.random.default_rng(seed)
    assert luminance(near_grey(rng, light=True)) > 0.7
    assert luminance(near_grey(rng, light=False)) < 0.02


def test_colours_of_hue_saturation_and_value():
    assert of_hsv(0, 1, 1) == (255, 0, 0)
    assert of_hsv(1 / 3, 1, 1) == (0, 255, 0)
    assert of_hsv(0.7, 0, 0.5) == (128, 128, 128)


@settings(max_examples=60)
@given(st.integers(0, 255), st.integers(0, 999), st.sampled_from([1.0, 3.0, 7.0, 15.0]))
def test_ink_on_plain_ground_holds_the_floor(value, seed, floor):
    ink, canvas = chosen(grey(value), floor=floor, seed=seed)
    assert ink is not None
    under = canvas.pixels[25, 50].tolist()
    reached = ratio(luminance(ink.colour), luminance(tuple(under)))
    assert reached == pytest.approx(ink.contrasts[0], rel=0.01)
    assert ink.contrasts[0] >= floor
    best = max(ratio(luminance((value,) * 3), end) for end in (0, 1))
    assert (ink.plate is None) == (best >= floor) or best == pytest.approx(floor, rel=0.01)


def test_a_wanted_colour_is_used_where_it_can_be_read():
    for value, kept in ((255, True), (0, False)):
        ink, _ = chosen(grey(value), wanted=(20, 72, 160))
        assert ink is not None
        assert (ink.colour == (20, 72, 160)) == kept
        assert ink.ground == "bare"


def test_an_outline_helps_where_no_colour_does():
    ink, canvas = chosen(gravel(), ways=("bare", "outline", "plate"), floor=7)
    assert ink is not None
    assert (ink.ground, ink.plate) == ("outline", None)
    assert ink.halo is not None
    assert ink.contrasts[0] == pytest.approx(
        ratio(luminance(ink.colour), luminance(ink.halo)), abs=1e-3
    )
    assert ink.contrasts[0] >= 7
    assert np.array_equal(canvas.pixels, canvas.background)


@pytest.mark.parametrize("floor", [3.0, 7.0, 15.0])
def test_a_plate_helps_where_no_colour_does(floor):
    for seed in range(10):
        ink, canvas = chosen(gravel(seed), floor=floor, seed=seed)
        assert ink is not None
        assert ink.plate is not None
        assert ink.plate.colour in TINTS
        assert ink.plate.opacity in OPACITIES
        assert ink.contrasts[0] >= floor
        ((low, high),) = extremes(canvas.pixels, np.array([BOX], np.int32), 12).tolist()
        assert contrast(ink.colour, low, high) == pytest.approx(ink.contrasts[0], abs=1e-3)
        again = Canvas(canvas.background.copy, None)
        again.lay(ink.plate)
        assert np.array_equal(again.pixels, canvas.pixels)


def test_a_plate_is_no_denser_than_needed():
    opacities = {chosen(gravel(), floor=floor, seed=1)[0].plate.opacity for floor in (2.0, 15.0)}
    assert max(opacities) == 1.0
    assert min(opacities) < 1.0


def test_without_plate_and_outline_nothing_is_placed():
    ink, canvas = chosen(gravel(), ways=("bare",))
    assert ink is None
    assert np.array_equal(canvas.pixels, canvas.background)


def test_a_block_that_cannot_be_read_is_left_out_of_the_page(renderer):
    page = page_of(renderer)
    page.canvas = Canvas(gravel(0, 300, 400).copy, None)
    composed = page.compose(style_of(page, PLEX), "over gravel", 200, 40)
    assert composed is not None
    assert page.place(composed, 10, 10, "label", aided=False) is None
    assert (page.blocks, page.rects, page.taken) == ([], [], [])
    assert page.place(composed, 10, 10, "label") is not None
    assert page.blocks[0].ground == "outline"
    assert page.fallbacks == 1


def test_blocks_of_the_same_types_share_their_ink(renderer):
    page = page_of(renderer)
    for top in (10, 60, 110):
        composed = page.compose(style_of(page, PLEX), "set alike", 200, 40)
        assert composed is not None
        page.place(composed, 10, top, "body")
    assert len({block.colour for block in page.blocks}) == 1


def worst_in_windows(luminances, boxes, size_px, colour):
    """Return the least contrast of the mean of any half-em window inside the boxes, at any px."""
    sums = np.pad(luminances.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    worst, side = 21.0, max(1, round(size_px / 2))
    for left, top, right, bottom in boxes:
        h, w = min(side, bottom - top), min(side, right - left)
        part = sums[top : bottom + 1, left : right + 1]
        means = (part[h:, w:] - part[:-h, w:] - part[h:, :-w] + part[:-h, :-w]) / (h * w)
        worst = min(worst, contrast(tuple(colour), means.min(), means.max()))
    return worst


@pytest.mark.parametrize("warp_share", [0, 1])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_recorded_contrast_is_that_of_the_ground(renderer, layout, warp_share):
    languages = {"zh": 1} if layout == "vertical" else {"en": 1, "zh": 1}
    one = variant(
        renderer, width=320, height=256, layouts={layout: 1}, warp_share=warp_share,
        languages=languages, flat_share=0,
        **only("sheet" if LAYOUTS[layout].on_sheets else "bare"),
    )  # fmt: skip
    for i in (0, 1, 8, 9, 16, 24):
        sample = one.sample(i)
        plan = sample.meta["plan"]
        under = ground(one, plan)
        luminances = luminance_map(under)
        for line in sample.meta["lines"]:
            if line["ground"] == "outline":
                continue
            boxes = with_ink(line["characters"] if plan.warp else line["box"])
            low, high = extremes(under, boxes, line["size_px"]).T
            worst = contrast(line["colour"], low.min(), high.max())
            assert line["contrast"] == pytest.approx(worst, abs=2e-3), (i, line["text"])
            assert worst >= one.settings.contrast_floor - 1e-3
            seen = worst_in_windows(luminances, boxes, line["size_px"], line["colour"])
            assert seen >= GRAIN_TOLERANCE * line["contrast"]


@pytest.mark.parametrize("floor", [1.0, 4.5, 15.0])
@pytest.mark.parametrize("wanted", ["bare", "outline", "plate", "sheet"])
def test_every_line_holds_the_floor_on_whatever_ground(renderer, floor, wanted):
    one = variant(
        renderer, contrast_floor=floor, flat_share=0, layouts={"scatter": 1, "paragraph": 1},
        **only(wanted),
    )  # fmt: skip
    grounds, fallbacks = set(), 0
    for i in range(0, 48, 8):
        meta = one.sample(i).meta
        assert all(line["contrast"] >= floor for line in meta["lines"])
        grounds |= {line["ground"] for line in meta["lines"]}
        fallbacks += meta["scores"]["fallbacks"]
    if floor == 1:
        assert wanted in grounds <= {"bare", wanted}
        assert not fallbacks
    elif wanted == "plate":
        assert grounds == {"plate"}
    if floor == 15 and wanted in ("bare", "plate"):
        assert fallbacks


def test_opacities_are_at_most_what_the_recipe_says(renderer):
    for name in ("plate", "sheet"):
        one = variant(
            renderer,
            flat_share=0,
            layouts={"paragraph": 1},
            **only(name),
            **{f"{name}_opacity": (0.2, 0.5)},
        )
        plans = [one.plan(i) for i in range(0, 32, 8)]
        assert {rect.opacity for plan in plans for rect in plan.rects} <= {0.35, 0.5}
        assert not any(plan.fallbacks for plan in plans)


def test_what_cannot_be_read_as_a_whole_is_read_in_part():
    pixels = grey(250)
    pixels[36:] = gravel()[36:]
    canvas = Canvas(pixels.copy, None)
    boxes = np.array([(20, top, 80, top + 10) for top in (4, 18, 40)], np.int32)
    for part, contrasts in ((True, 2), (False, 0)):
        ink = choose(
            np.random.default_rng(0), canvas, boxes, Box(17, 1, 83, 53), 12, 3.0,
            ways=("bare",), wanted=None, part=part,
        )  # fmt: skip
        assert (len(ink.contrasts) if ink else 0) == contrasts


def test_another_crop_is_taken_where_little_of_the_first_can_be_read(renderer, tmp_path):
    pixels = gravel(0, 400, 800)
    pixels[:, 200:] = 128
    (tmp_path / "half.png").write_bytes(encode_png(pixels))
    backgrounds = Backgrounds(ImageSource.at(tmp_path), 200, 200)
    parts = {"bare": [], "plate": []}
    for name, found in parts.items():
        for seed in range(12):
            chosen = backgrounds.choose(np.random.default_rng(seed), 0, 0, name, 3.0)
            found.append(readable(backgrounds.paint(chosen), 3.0))
    assert min(parts["bare"]) >= min(parts["plate"])
    assert np.mean(parts["bare"]) > np.mean(parts["plate"])


def test_an_outline_surrounds_the_ink_by_a_pixel(renderer):
    one = variant(renderer, contrast_floor=8, flat_share=0, layouts={"scatter": 1},
                  **only("outline"))  # fmt: skip
    outlined = 0
    for i in range(0, 48, 8):
        sample = one.sample(i)
        changed = (bare(one, sample.meta["plan"]) != sample.pixels()).any(axis=2)
        lines = sample.meta["lines"]
        boxes = np.concatenate([with_ink(line["characters"]) for line in lines])
        around = covered(boxes + np.array([-1, -1, 1, 1]), *changed.shape)
        assert not (changed & ~around).any()
        if any(line["ground"] == "outline" for line in lines):
            outlined += 1
            assert (changed & ~covered(boxes, *changed.shape)).any()
    assert outlined > 3


def test_busy_photographs_and_a_high_floor_bring_plates(renderer):
    count = {}
    for floor in (1.0, 15.0):
        one = variant(renderer, contrast_floor=floor, flat_share=0, **only("bare"))
        plans = [one.sample(i).meta for i in range(0, 80, 8)]
        count[floor] = sum(meta["scores"]["plates"] for meta in plans)
    assert count[1.0] == 0
    assert count[15.0] > 10
