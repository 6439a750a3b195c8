"""The compiled loops against plain Python and NumPy."""

from copy import copy
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render import compiled as module
from render.drawing import (
    blend_linear,
    blend_srgb,
    cover,
)
from render.picture.kernels import (
    blend_coverage,
    tint_rectangle,
    window_extremes,
)
from render.picture.light import CELL_PX, TO_LINEAR, TO_SRGB
from render.text.breaks import Text, break_opportunities
from render.type import placing
from render.type.atlas import Atlas
from render.type.kernels import (
    CENTRE,
    JUSTIFY,
    LEFT,
    MOST_STRETCH,
    RIGHT,
    Glyphs,
    fill_lines,
    ink_boxes,
    move,
    set_lines,
    set_pens,
    shape,
    stack_lines,
    stand_glyphs,
    trim_masks,
    union_boxes,
)
from render.type.setting import Compositor, Style

TEXTS = st.text(st.sampled_from("ab一二 ，。（）“”-."), max_size=40)
FORBIDDEN_AT_THE_START = "，。、；：！？”’》）…"

quick = settings(max_examples=60)


def filled(text, width, indent=0.0, most=1000, advance=1.0):
    advances, ends = np.full(len(text), advance), break_opportunities(text)
    spaces = np.array([c == " " for c in text], np.bool_)
    starts, stops = fill_lines(advances, ends, spaces, float(width), float(indent), most)
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


@settings(max_examples=200)
@given(TEXTS, st.integers(1, 12), st.integers(0, 3))
def test_lines_fit_and_lose_only_spaces(text, width, indent):
    lines = filled(text, width, indent)
    assert "".join(text[a:b] for a, b in lines).replace(" ", "") == text.replace(" ", "")
    for number, (start, stop) in enumerate(lines):
        room = width - (0 if number else indent)
        assert 0 < stop - start <= max(1, room)
        assert text[start] != " " != text[stop - 1]


@settings(max_examples=200)
@given(TEXTS, st.integers(1, 12))
def test_lines_end_where_they_may_and_are_as_full_as_they_can_be(text, width):
    ends = break_opportunities(text)
    lines = filled(text, width)
    for (start, stop), (after, _) in pairwise(lines):
        may = [at + 1 for at in range(start, len(text)) if ends[at]]
        fitting = [at for at in may if len(text[start:at].rstrip(" ")) <= width]
        if fitting:
            assert text[start : fitting[-1]].rstrip(" ") == text[start:stop]
        else:  # a part wider than a line is split between characters
            assert not text[stop:after].strip(" ")
            assert stop - start <= width < len(text[start : after + 1])


def test_no_line_starts_with_a_mark_that_may_not():
    text = "他说：“真的吗？”她答：“是的，《红楼梦》（第八十回）……还有呢！”" * 4
    for width in range(6, 20):
        for start, _ in filled(text, width):
            assert text[start] not in FORBIDDEN_AT_THE_START


def test_a_word_is_split_only_when_it_is_wider_than_the_line():
    text = "an extraordinary idea"
    lines = {width: [text[a:b] for a, b in filled(text, width)] for width in (13, 8)}
    assert lines[13] == ["an", "extraordinary", "idea"]
    assert lines[8] == ["an", "extraord", "inary", "idea"]


def test_no_more_lines_are_filled_than_asked_for():
    assert len(filled("a " * 30, 5, most=3)) == 3
    assert filled("", 5) == filled("   ", 5) == []
    assert filled("ab", 0.5) == [(0, 1), (1, 2)]


def penned(text, width, align, indent=0.0, quantum=1, advance=2.5):
    advances = np.full(len(text), advance)
    lines = filled(text, width, indent, advance=advance)
    starts, stops = (np.array([line[k] for line in lines], np.int32) for k in (0, 1))
    places = float(width), float(indent), align, quantum
    return lines, set_pens(advances, break_opportunities(text), starts, stops, *places)


@pytest.mark.parametrize("text", ["the quick brown fox jumps", "敏捷的狐狸跳过了懒狗和猫" * 2])
def test_alignment_puts_the_slack_where_it_belongs(text):
    width = 31.0
    for align in (LEFT, JUSTIFY, CENTRE, RIGHT):
        lines, pens = penned(text, width, align)
        assert len(lines) > 1
        for number, (start, stop) in enumerate(lines):
            left, right = pens[start] / 4, width - pens[stop - 1] / 4 - 2.5
            slack = width - 2.5 * (stop - start)
            full = align == JUSTIFY and number < len(lines) - 1 and slack < MOST_STRETCH * width
            share = {LEFT: 0, CENTRE: slack / 2, RIGHT: slack}.get(align, 0)
            assert left == pytest.approx(share, abs=0.13)
            assert right == pytest.approx(0 if full else slack - share, abs=0.13)


def test_justifying_spreads_a_line_where_it_could_end():
    lines, pens = penned("aaaa aaaa aaa bbbb", 34.0, JUSTIFY)
    steps = np.diff(pens[slice(*lines[0])])
    assert set(steps[[0, 1, 2, 5, 6, 7]]) == {10}
    assert steps[4] > 10
    lines, pens = penned("敏捷的狐狸跳过了懒狗", 16.0, JUSTIFY)
    steps = np.diff(pens[slice(*lines[0])])
    assert max(steps) - min(steps) <= 1
    assert min(steps) > 9
    lines, pens = penned("狐狸，abcd跳了过去吧吧吧吧吧", 22.0, JUSTIFY)
    steps = np.diff(pens[slice(*lines[0])])
    assert set(steps[[1, 3, 4, 5]]) == {10}  # before a comma and inside a word
    assert min(steps[[0, 2, 6]]) > 10


def test_a_ragged_line_is_not_stretched():
    lines, pens = penned("aaa aaa bbbbbbbbbb", 30.0, JUSTIFY)
    assert lines == [(0, 7), (8, 18)]
    assert set(np.diff(pens[:7])) == {10}


def test_pens_are_indented_and_rounded_to_the_quantum():
    lines, pens = penned("the quick brown fox", 30.0, LEFT, indent=6.3)
    assert [pens[start] for start, _ in lines] == [25, *[0] * (len(lines) - 1)]
    _, whole = penned("the quick brown fox", 30.0, CENTRE, indent=6.3, quantum=4)
    assert set(whole % 4) == {0}


shapes = st.lists(
    st.tuples(
        st.integers(1, 5), st.integers(1, 5), st.integers(0, 6), st.integers(0, 6),
        st.integers(0, 2**32 - 1),
    ),
    min_size=1, max_size=4,
)  # fmt: skip


def glyphs_of(parts):
    """Return glyphs at places, and each as (place, mask)."""
    masks, rows, each = [], [], []
    for width, height, x, y, seed in parts:
        mask = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
        mask[0, 0] = 0
        rows.append((sum(map(len, masks)), width, height, 1, 2))
        masks.append(mask.ravel())
        each.append(((x + 1, y + 2), mask))
    n = len(parts)
    xs, ys = (np.array([part[k] for part in parts], np.int32) for k in (2, 3))
    arrays = np.concatenate(masks), np.array(rows, np.int32), np.arange(n, dtype=np.int32)
    return Glyphs(*arrays, xs, ys), each


def canvas_of(seed):
    return np.random.default_rng(seed).integers(0, 256, (14, 13, 3), dtype=np.uint8)


def blended(canvas, place, mask, colour):
    """Blend in plain NumPy: the exact mean, rounded."""
    (x, y), share = place, mask[..., None].astype(float)
    part = canvas[y : y + mask.shape[0], x : x + mask.shape[1]]
    part[...] = np.rint((part * (255 - share) + np.array(colour) * share) / 255)


colours = st.tuples(*[st.integers(0, 255)] * 3)


@quick
@given(shapes, colours, st.integers(0, 99))
def test_glyphs_are_blended_to_the_nearest_value(parts, colour, seed):
    glyphs, each = glyphs_of(parts)
    canvas, expected = canvas_of(seed), canvas_of(seed)
    blend_srgb(canvas, glyphs, np.array(colour, np.uint8))
    for place, mask in each:
        blended(expected, place, mask, colour)
    assert np.array_equal(canvas, expected)


@quick
@given(shapes, colours, st.integers(0, 99))
def test_linear_blending_is_that_of_light(parts, colour, seed):
    glyphs, each = glyphs_of(parts)
    canvas, expected = canvas_of(seed), canvas_of(seed)
    blend_linear(canvas, glyphs, np.array(colour, np.uint8), TO_LINEAR, TO_SRGB)
    for (x, y), mask in each:
        part = expected[y : y + mask.shape[0], x : x + mask.shape[1]]
        share = mask[..., None] / 255
        light = TO_LINEAR[part] * (1 - share) + TO_LINEAR[list(colour)] * share
        part[...] = TO_SRGB[np.rint(light).astype(int)]
    assert np.abs(canvas.astype(int) - expected).max() <= 1
    assert (canvas != expected).mean() < 0.02


def test_a_glyph_without_ink_changes_nothing_and_a_full_one_gives_the_colour():
    canvas = canvas_of(0)
    glyphs, _ = glyphs_of([(3, 3, 4, 4, 0)])
    none = glyphs._replace(row_numbers=np.array([-1], np.int32))
    full = glyphs._replace(masks=glyphs.masks | 255)
    for blend, tables in ((blend_srgb, ()), (blend_linear, (TO_LINEAR, TO_SRGB))):
        after = canvas.copy()
        colour = np.array((9, 200, 30), np.uint8)
        blend(after, none, colour, *tables)
        assert np.array_equal(after, canvas)
        blend(after, full, colour, *tables)
        assert (after[6:9, 5:8] == (9, 200, 30)).all()
        assert (after != canvas).any(axis=2).sum() <= 9


@quick
@given(shapes)
def test_coverage_takes_the_fuller_mask(parts):
    glyphs, each = glyphs_of(parts)
    coverage, expected = np.zeros((14, 13), np.uint8), np.zeros((14, 13), np.uint8)
    cover(coverage, glyphs)
    for (x, y), mask in each:
        part = expected[y : y + mask.shape[0], x : x + mask.shape[1]]
        part[...] = np.maximum(part, mask)
    assert np.array_equal(coverage, expected)


@quick
@given(colours, st.integers(0, 255), st.integers(0, 99))
def test_a_tint_and_a_halo_are_blended_to_the_nearest_value(colour, share, seed):
    for paint in ("tint", "coverage"):
        canvas, expected = canvas_of(seed), canvas_of(seed)
        mask = np.full((5, 7), share, np.uint8)
        if paint == "tint":
            tint_rectangle(canvas, 2, 3, 9, 8, np.array(colour, np.uint8), share)
        else:
            mask = canvas_of(seed + 1)[:5, :7, 0].copy()
            blend_coverage(canvas, mask, 2, 3, np.array(colour, np.uint8))
        blended(expected, (2, 3), mask, colour)
        assert np.array_equal(canvas, expected)


@quick
@given(shapes)
def test_boxes_are_those_of_the_masks(parts):
    glyphs, each = glyphs_of(parts)
    glyphs.row_numbers[-1] = -1
    boxes = np.full((len(parts), 4), -9, np.int32)
    assert ink_boxes(1, np.ones(len(parts), np.int8), *glyphs[1:], boxes) == len(parts) - 1
    for box, ((x, y), mask) in zip(boxes[:-1], each, strict=False):
        assert box.tolist() == [x, y, x + mask.shape[1], y + mask.shape[0]]
    assert boxes[-1, 2] <= boxes[-1, 0]


def unions_of(boxes, lengths):
    unions = np.full((len(lengths), 4), -9, np.int32)
    union_boxes(boxes, np.array(lengths, np.int32), unions)
    return unions.tolist()


def test_a_union_leaves_out_what_has_no_area():
    boxes = np.array(
        [[5, 5, 9, 9], [0, 0, 0, 0], [2, 7, 4, 8], [3, 3, 3, 3], [1, 1, 2, 2]], np.int32
    )
    assert unions_of(boxes, (3, 1, 1)) == [[2, 5, 9, 9], [0] * 4, [1, 1, 2, 2]]
    assert unions_of(boxes, (0, 5)) == [[0] * 4, [1, 1, 9, 9]]
    assert unions_of(boxes - 20, (5,)) == [[-19, -19, -11, -11]]


@quick
@given(TEXTS, st.integers(1, 12), st.integers(0, 3), st.integers(1, 9), st.sampled_from([1, 4]))
def test_lines_are_set_as_they_are_filled_and_penned(text, width, indent, most, quantum):
    ends, spaces = break_opportunities(text), np.array([c == " " for c in text], np.bool_)
    given_ = np.full(len(text), 0.9), ends
    starts, stops = fill_lines(*given_, spaces, float(width), float(indent), most)
    every = set_pens(*given_, starts, stops, float(width), float(indent), JUSTIFY, quantum)
    places, pens, lengths = (np.full(len(text), -9, np.int32) for _ in range(3))
    room = float(width), float(indent), most, JUSTIFY, quantum
    lines, k, whole = set_lines(*given_, spaces, *room, places, pens, lengths)
    assert places[:k].tolist() == [
        n for a, b in zip(starts, stops, strict=True) for n in range(a, b)
    ]
    assert pens[:k].tolist() == every[places[:k]].tolist()
    assert lengths[:lines].tolist() == (stops - starts).tolist()
    assert whole == (set(np.flatnonzero(~spaces)) <= set(places[:k].tolist()))


def test_characters_go_to_the_types_that_have_them():
    codes = np.array([ord(c) for c in "a 一b？"], np.uint32)
    first, second = (np.full(0x10000, -1, np.int32) for _ in range(2))
    first[[ord(c) for c in "a 一b"]] = 0, 1, 2, 3
    second[[ord(c) for c in "a 一"]] = 4, 5, 6
    ems = np.array([0.5, 0.3, 1.0, np.nan, 0.6, 0.2, 1.0])
    for vertical, wanted in ((False, [6.0, 3.0, 10.0, 4.0, 2.5]), (True, [10.0] * 5)):
        slots, font_index, advances = np.empty(5, np.int32), np.empty(5, np.int8), np.empty(5)
        into = 10.0, vertical, slots, font_index, advances
        # An advance that is not known yet is asked for, but not for vertical text.
        assert shape(codes, 0, first, ems, *into) == vertical
        assert shape(codes, 0, first, np.nan_to_num(ems, nan=0.4), *into)
        assert slots.tolist() == [0, 1, 2, 3, -1]
        assert shape(codes, 1, second, ems, *into)
        # Spaces and Han stay with the first type, and what the second one lacks.
        assert slots.tolist() == [4, 1, 2, 3, -1]
        assert font_index.tolist() == [1, 0, 0, 0, 0]
        assert advances.tolist() == wanted


@quick
@given(
    st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 80), st.integers(0, 1)), max_size=9),
    st.booleans(), st.sampled_from([1, 4]),
)  # fmt: skip
def test_glyphs_stand_where_their_masks_say(parts, vertical, phases):
    slots, pens, font_index = (np.array([p[k] for p in parts], np.int32) for k in range(3))
    rows = np.array([(0, 3, 4, -1, -5), (12, 2, 2, 0, -2)], np.int32).repeat(phases, axis=0)
    table = np.array([0, phases, -1, phases], np.int32)  # a row for each phase
    n = len(parts)
    into = [np.full(n, -9, np.int32) for _ in range(3)] + [np.full((n, 4), -9, np.int32)]
    bases = np.arange(100, 100 + n, dtype=np.int32)
    text = font_index.astype(np.int8), slots, pens, bases, vertical
    inked = stand_glyphs(1, *text, table, phases, rows, *into)
    own, others = font_index == 1, font_index == 0
    row_numbers, xs, ys, boxes = (array[own] for array in into)
    whole = (pens[own] + (2 if phases == 1 else 0)) >> 2
    # What another font draws is left alone, and is no glyph of this one.
    assert (np.concatenate([array[others].ravel() for array in into[1:]]) == -9).all()
    assert (into[0][others] == -1).all()
    along, across = (ys, xs) if vertical else (xs, ys)
    assert along.tolist() == whole.tolist()
    assert across.tolist() == bases[own].tolist()
    firsts = np.where(slots[own] >= 0, table[slots[own]], -1)
    assert row_numbers.tolist() == np.where(firsts >= 0, firsts + pens[own] % phases, -1).tolist()
    assert inked == (row_numbers >= 0).sum()
    again = np.full((len(xs), 4), -9, np.int32)
    ink_boxes(1, np.ones(len(xs), np.int8), rows, row_numbers, xs, ys, again)
    assert boxes.tolist() == again.tolist()
    table[:] = -2
    unseen = (slots[own] >= 0).any()
    assert stand_glyphs(1, *text, table, phases, rows, *into) == (-1 if unseen else 0)


def stacked(boxes, lengths, pitch, room, vertical):
    """Stack lines one by one, in plain Python."""
    bases, bottom = [], 0
    for left, top, right, low in unions_of(boxes, lengths):
        if vertical:
            base = bases[-1] - pitch if bases else room - right
            if base + left < 0:
                break
        else:
            base = max(bases[-1] + pitch, bottom + 1 - top) if bases else -top
            if base + low > room:
                break
            bottom = base + low
        bases.append(base)
    return bases


@quick
@given(
    st.lists(st.lists(st.tuples(*[st.integers(-6, 9)] * 2, *[st.integers(0, 9)] * 2), max_size=3)),
    st.integers(1, 12), st.integers(0, 60), st.booleans(),
)  # fmt: skip
def test_lines_are_stacked_as_far_as_there_is_room(lines, pitch, room, vertical):
    corners = [(x, y, x + w, y + h) for line in lines for x, y, w, h in line]
    boxes = np.array(corners, np.int32).reshape(-1, 4)
    lengths = [len(line) for line in lines]
    wanted = stacked(boxes, lengths, pitch, room, vertical)
    across, bases = np.zeros(len(boxes), np.int32), np.zeros(len(lines), np.int32)
    unions, after = np.zeros((len(lines), 4), np.int32), boxes.copy()
    count, used = stack_lines(
        after, np.array(lengths, np.int32), pitch, room, vertical, across, bases, unions
    )
    assert bases[:count].tolist() == wanted
    assert used == sum(lengths[:count])
    assert across[:used].tolist() == np.repeat(wanted, lengths[:count]).tolist()
    step = np.array([1, 0, 1, 0] if vertical else [0, 1, 0, 1], np.int32)
    assert (after[:used] == boxes[:used] + across[:used, None] * step).all()
    moved = np.array(unions_of(boxes, lengths[:count]), np.int32).reshape(-1, 4)
    assert (unions[:count] == moved + bases[:count, None] * step).all()


def test_boxes_move_together():
    boxes = np.array([[1, 2, 3, 4], [0, 0, 0, 0]], np.int32)
    there = np.empty_like(boxes)
    move(boxes, 10, -20, there)
    assert there.tolist() == [[11, -18, 13, -16], [10, -20, 10, -20]]


@quick
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 999)), max_size=5))
def test_bitmaps_are_cut_to_their_ink(parts):
    raw, bitmaps, expected = [], [], []
    for width, height, seed in parts:
        rng = np.random.default_rng(seed)
        wide = rng.integers(0, 60, (height, width + 2), dtype=np.uint8)  # the pitch is wider
        wide *= rng.random(wide.shape) < 0.3
        bitmaps.append((sum(map(len, raw)), width + 2, width, height, 10, 20))
        raw.append(wide.ravel())
        ink = wide[:, :width]
        if ink.max(initial=0) < 24:
            expected.append(None)
        else:
            ys, xs = np.nonzero(ink)
            part = ink[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
            expected.append((10 + xs.min(), 20 + ys.min(), part))
    masks = np.concatenate([np.zeros(0, np.uint8), *raw])
    rows = np.full((len(bitmaps), 5), -9, np.int32)
    used = trim_masks(masks, np.array(bitmaps, np.int64).reshape(-1, 6), 24, rows)
    for (offset, width, height, left, top), one in zip(rows, expected, strict=True):
        if one is None:
            assert (offset, width, height, left, top) == (0, 0, 0, 0, 0)
            continue
        assert (left, top) == one[:2]
        assert np.array_equal(
            masks[offset : offset + width * height].reshape(height, width), one[2]
        )
    assert used == sum(one[2].size for one in expected if one is not None)


@quick
@given(
    st.integers(0, 999), st.integers(1, 4),
    st.tuples(st.integers(0, 20), st.integers(0, 16), st.integers(1, 24), st.integers(1, 20)),
)  # fmt: skip
def test_extremes_are_those_of_the_worst_window(seed, side, place):
    rng = np.random.default_rng(seed)
    means = rng.random((6, 7))
    squares = means**2 + 0.02 * rng.random((6, 7))
    left, top, width, height = place
    box = (left, top, min(7 * CELL_PX, left + width), min(6 * CELL_PX, top + height))
    rows = slice(box[1] // CELL_PX, -(-box[3] // CELL_PX))
    columns = slice(box[0] // CELL_PX, -(-box[2] // CELL_PX))
    values = []
    high = min(side, rows.stop - rows.start)
    wide = min(side, columns.stop - columns.start)
    for i in range(rows.start, rows.stop - high + 1):
        for j in range(columns.start, columns.stop - wide + 1):
            mean = means[i : i + high, j : j + wide].mean()
            square = squares[i : i + high, j : j + wide].mean()
            grain = np.sqrt(max(0.0, square - mean**2))
            values.append((mean - grain, mean + grain))
    low, top_ = window_extremes(
        means, squares, side, rows.start, rows.stop, columns.start, columns.stop
    )
    assert low == pytest.approx(max(0, min(v[0] for v in values)), abs=1e-9)
    assert top_ == pytest.approx(min(1, max(v[1] for v in values)), abs=1e-9)


def test_pages_ask_for_no_loop_that_was_not_compiled_before_the_first(renderer, tmp_path):
    # Arrays of another type, as those that are read only, would cost seconds in every new cache.
    module.make_ready()
    signatures = {kernel: list(kernel.signatures) for kernel in module.KERNELS}
    assert all(module.KERNELS[kernel] in known for kernel, known in signatures.items())
    other = copy(renderer)
    other.material = replace(renderer.material, atlas=Atlas(tmp_path))
    for _ in ("glyphs drawn here", "glyphs mapped from the folder"):
        for index in range(8):
            other.sample(index)
        other.material.atlas.save()
    assert {kernel: list(kernel.signatures) for kernel in module.KERNELS} == signatures


def test_a_loop_that_another_process_compiles_is_left_to_it(tmp_path):
    with module._held(tmp_path, "loop", wait=False) as first:
        with module._held(tmp_path, "loop", wait=False) as second:
            assert (first, second) == (True, False)
        with module._held(tmp_path, "other", wait=False) as third:
            assert third
    with module._held(tmp_path / "file", "loop", wait=True) as held:
        assert held
    (tmp_path / "plain").touch()
    with module._held(tmp_path / "plain", "loop", wait=True) as held:
        assert held  # no folder can be made there: no cache, no lock


@pytest.mark.parametrize("vertical", [False, True])
def test_moved_glyphs_are_those_that_would_be_found_there(renderer, vertical):
    material = renderer.material
    font = material.fonts.draw(np.random.default_rng(1), "zh", 12, vertical=vertical)
    latin = material.fonts.draw(np.random.default_rng(2), "en", 12)
    style = Style("zh", (font, latin), 12, 1.4, vertical=vertical)
    compositor = Compositor(material.fonts, material.atlas, "none", subpixel=True)
    text = Text.of("天地玄黄，宇宙 Grace 洪荒。日月盈昃 and 辰宿列张" * 3)
    composed = compositor.compose(style, text, 90, 90, 4)
    assert composed is not None
    assert not composed.whole
    moved = composed.placed.moved(composed.characters, 7, -3)
    asked = placing.place(composed.characters.moved(7, -3), material.atlas, "none")
    assert moved.inked == asked.inked > 0
    assert np.array_equal(moved.boxes, asked.boxes)
    for one, other in zip(moved.glyphs, asked.glyphs, strict=True):
        shown = one.row_numbers >= 0
        assert np.array_equal(one.row_numbers, other.row_numbers)
        assert np.array_equal(one.xs[shown], other.xs[shown])
        assert np.array_equal(one.ys[shown], other.ys[shown])
