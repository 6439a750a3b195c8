"""Warps: glyphs drawn through a turn and a tilt at their final size, with true boxes."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from render.picture.canvas import Canvas
from render.plan import Box, Rect
from render.settings import only
from render.type.placing import SetText, place
from render.warp import Warp
from tests.render.pages import (
    PLEX,
    bare,
    block_of,
    covered,
    page_of,
    style_of,
    variant,
    with_ink,
)

IDENTITY = Warp((1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))

warps = st.builds(
    Warp.about,
    st.tuples(st.integers(50, 150), st.integers(40, 100)),
    st.floats(-0.17, 0.17),
    st.tuples(st.floats(-1e-3, 1e-3), st.floats(-1e-3, 1e-3)),
)
points = st.tuples(st.floats(0, 200), st.floats(0, 150))
MARKS = "a.b,c:d;e'f`g-h_i|j!k" * 5

quick = settings(max_examples=50)


def mapped(warp, x, y):
    xs, ys = warp.points(np.array([x]), np.array([y]))
    return np.array([xs[0], ys[0]])


def test_a_warp_keeps_its_centre_and_turns_about_it():
    warp = Warp.about((100, 60), np.pi / 2, (0.0, 0.0))
    assert mapped(warp, 100, 60) == pytest.approx([100, 60])
    assert mapped(warp, 110, 60) == pytest.approx([100, 70])
    tilted = Warp.about((100, 60), 0.0, (1e-3, 0.0))
    assert mapped(tilted, 100, 60) == pytest.approx([100, 60])
    left, right = (mapped(tilted, x, 70)[1] - mapped(tilted, x, 50)[1] for x in (50, 150))
    assert left / right == pytest.approx(1.05 / 0.95)


@quick
@given(warps, points)
def test_slopes_are_the_derivatives_of_the_map(warp, point):
    x, y = point
    step = 1e-4
    across = (mapped(warp, x + step, y) - mapped(warp, x - step, y)) / (2 * step)
    down = (mapped(warp, x, y + step) - mapped(warp, x, y - step)) / (2 * step)
    (slope,) = warp.slopes(np.array([x]), np.array([y]))
    assert slope == pytest.approx(np.stack([across, down], axis=1), abs=1e-6)


@quick
@given(warps)
def test_what_keeps_to_the_inset_lands_in_the_picture(warp):
    inset = warp.inset(200, 150, 4)
    for x in np.linspace(inset, 200 - inset, 7):
        for y in np.linspace(inset, 150 - inset, 7):
            to_x, to_y = mapped(warp, x, y)
            assert 4 <= to_x <= 196
            assert 4 <= to_y <= 146


def test_no_warp_at_all_needs_no_inset():
    assert IDENTITY.inset(200, 150, 4) == 4


def test_through_no_warp_glyphs_are_those_of_the_flat_page(renderer):
    fonts = renderer.material.fonts
    font = fonts.plain(fonts.faces[PLEX]).name
    block = block_of("plain text, 3 x", font, 11, 10, 50)
    flat, through = (place(SetText.of(block, fonts), renderer.material.atlas, "none", w)
                     for w in (None, IDENTITY))  # fmt: skip
    assert np.array_equal(with_ink(flat.boxes), with_ink(through.boxes))
    for n in range(len(block.lines[0].text)):
        one, other = (placed.glyphs[0] for placed in (flat, through))
        assert (one.row_numbers[n] >= 0) == (other.row_numbers[n] >= 0)
        if one.row_numbers[n] >= 0:
            assert np.array_equal(mask(one, n), mask(other, n))


def mask(glyphs, n):
    offset, width, height = glyphs.rows[glyphs.row_numbers[n], :3]
    return glyphs.masks[offset : offset + width * height].reshape(height, width)


def test_a_quarter_turn_turns_every_glyph(renderer):
    fonts = renderer.material.fonts
    font = fonts.plain(fonts.faces[PLEX]).name
    block = block_of("Fig", font, 24, 10, 50)
    warp = Warp.about((10, 50), np.pi / 2, (0.0, 0.0))
    flat, turned = (
        place(SetText.of(block, fonts), renderer.material.atlas, "none", w) for w in (None, warp)
    )
    for one, other in zip(flat.boxes, turned.boxes, strict=True):
        x0, y0, x1, y1 = one - (10, 50, 10, 50)
        assert other - (10, 50, 10, 50) == pytest.approx([-y1, x0, -y0, x1], abs=1)
    assert mask(turned.glyphs[0], 0) == pytest.approx(np.rot90(mask(flat.glyphs[0], 0), -1), abs=60)


@quick
@given(warps, st.tuples(points, points))
def test_a_warped_rectangle_covers_what_lies_inside_it(warp, corners):
    (x0, y0), (x1, y1) = corners
    box = Box(int(min(x0, x1)), int(min(y0, y1)), int(max(x0, x1)) + 5, int(max(y0, y1)) + 5)
    canvas = Canvas(lambda: np.zeros((150, 200, 3), np.uint8), warp)
    left, top, right, bottom = canvas.bounds(box)
    assume(left < right and top < bottom)
    canvas.lay(Rect(box, (255, 255, 255)))
    ys, xs = np.mgrid[:150, :200] + 0.5
    back = np.linalg.inv(np.array(warp.numbers).reshape(3, 3))
    home = np.einsum("ij,jhw->ihw", back, np.stack([xs, ys, np.ones_like(xs)]))
    x, y = home[:2] / home[2]
    depth = np.minimum.reduce([x - box[0], box[2] - x, y - box[1], box[3] - y])
    assert (canvas.pixels[depth > 1] == 255).all()
    assert (canvas.pixels[depth < -2] == 0).all()  # OpenCV's soft edge is outside
    outside = np.ones((150, 200), bool)
    outside[top:bottom, left:right] = False
    assert not canvas.pixels[outside].any()


def test_a_warped_rectangle_may_be_a_tint_or_a_window():
    warp = Warp.about((100, 75), 0.05, (1e-4, 0.0))
    ground = np.full((150, 200, 3), 100, np.uint8)
    canvas = Canvas(ground.copy, warp)
    canvas.lay(Rect(Box(40, 40, 160, 110), (200, 200, 200), 0.5))
    assert np.abs(canvas.pixels[75, 100].astype(int) - 150).max() <= 1
    canvas.lay(Rect(Box(80, 60, 120, 90), None))
    assert (canvas.pixels[75, 100] == 100).all()
    assert (canvas.pixels[5, 5] == 100).all()


@pytest.mark.parametrize("language", ["en", "zh", "zh-hant", "mixed"])
def test_a_warped_page_has_true_boxes(renderer, language):
    one = variant(
        renderer, width=256, height=200, warp_share=1, turn_deg=10, tilt=0.2, **only("plate"),
        languages={language: 1}, layouts={"paragraph": 1, "scatter": 1, "slide": 1},
    )  # fmt: skip
    for i in range(8):
        sample = one.sample(i)
        plan = sample.meta["plan"]
        changed = (bare(one, plan) != sample.pixels()).any(axis=2)
        boxes = []
        for line in sample.meta["lines"]:
            for character, box in zip(line["text"], line["characters"], strict=True):
                if character == " ":
                    continue
                left, top, right, bottom = box
                assert 0 <= left < right <= 256, (character, line["text"])
                assert 0 <= top < bottom <= 200
                assert changed[top:bottom, left:right].any()
                boxes.append(box)
        assert not (changed & ~covered(boxes, 200, 256)).any()


def test_lines_of_a_turned_page_slope(renderer):
    one = variant(
        renderer, width=300, warp_share=1, turn_deg=10, tilt=0, languages={"zh": 1},
        layouts={"paragraph": 1},
    )  # fmt: skip
    for i in range(8):
        sample = one.sample(i)
        a, _, _, d, *_ = sample.meta["plan"].warp
        for line in sample.meta["lines"]:
            boxes = [box for character, box in zip(line["text"], line["characters"], strict=True)
                     if "一" < character <= "鿿"]  # fmt: skip
            if len(boxes) < 8:
                continue
            left, top, right, bottom = np.array(boxes).T
            fit = np.polyfit((left + right) / 2, (top + bottom) / 2, 1)
            assert fit[0] == pytest.approx(d / a, abs=0.04)


@pytest.mark.parametrize("size_px", [4, 5, 7])
def test_every_character_that_is_set_on_a_warped_page_has_ink(renderer, size_px):
    """Wherever its pen falls within a pixel, what is in the label is in the picture."""
    warp = Warp.about((200, 150), 0.02, (1e-4, 1e-4))
    blank, fonts = [], renderer.material.fonts
    for face in fonts.faces.values():
        page = page_of(renderer, warp=warp)
        composed = page.compose(style_of(page, face.name, size_px=size_px), MARKS, 300, 200)
        assert composed is not None
        for top in (50, 90, 130):
            page.place(composed, 50, top, "body")
        for block in page.blocks:
            text = "".join(line.text for line in block.lines)
            boxes = place(SetText.of(block, fonts), page.material.atlas, "none", warp).boxes
            flat = boxes[:, 2] <= boxes[:, 0]
            blank += [(face.name, c) for c, f in zip(text, flat, strict=True) if f and c != " "]
    assert not blank
