"""The compiled loops over characters: filling lines, finding glyphs, measuring their boxes."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from render.compiled import compiled, inner, named_tuple
from render.text.breaks import SPACE

LATIN = 0x250
"""Code points below are Latin letters, digits and the marks between them."""

SPACE_EM = 0.25
"""Advance of a space in a face that has none."""


@compiled("u4[::1], i8, i4[::1], f8[::1], f8, b1, i4[::1], i1[::1], f8[::1]")
def shape(
    codes: NDArray[np.uint32],
    number: int,
    table: NDArray[np.int32],
    ems: NDArray[np.float64],
    size_px: float,
    vertical: bool,
    slots: NDArray[np.int32],
    font_index: NDArray[np.int8],
    advances: NDArray[np.float64],
) -> bool:
    """Give characters (n,) to font `number`: put their `slots`, `font_index`, `advances` in place.

    Advances are px. The first font, 0, takes all of them, every other one the Latin letters and
    digits it has. `table` is `Face.slot_of`, `ems` are the advances of its glyphs in em, NaN where
    unknown: the answer is False when one of those is needed. In `vertical` text all advance by an
    em.
    """
    known = True
    for at in range(len(codes)):
        code = codes[at]
        slot = table[min(code, np.uint32(len(table) - 1))]
        if number > 0 and (code >= LATIN or code == SPACE or slot < 0):
            continue
        slots[at], font_index[at] = slot, number
        if vertical:
            advances[at] = size_px
        elif slot < 0:
            advances[at] = SPACE_EM * size_px
        else:
            advances[at] = ems[slot] * size_px
            known &= not np.isnan(ems[slot])
    return known


@inner
def fill_lines(
    advances: NDArray[np.float64],
    breaks: NDArray[np.bool_],
    spaces: NDArray[np.bool_],
    width: float,
    indent: float,
    most_lines: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Fill lines greedily: (starts, stops) of each, (l,), outer spaces excluded.

    `advances` (n,) px, `breaks` (n,) True where a line may end after a character, `width` and
    `indent` (of the first line) px. Spaces may hang over the edge; a part wider than a line is
    split between characters, nothing else ever is.
    """
    n = len(advances)
    starts = np.empty(n, np.int32)
    stops = np.empty(n, np.int32)
    lines = 0
    start = 0
    while lines < most_lines:
        while start < n and spaces[start]:
            start += 1
        if start >= n:
            break
        room = width - (indent if lines == 0 else 0.0) + 1e-6
        used = 0.0
        end = -1
        at = start
        while at < n:
            if not spaces[at] and used + advances[at] > room:
                break
            used += advances[at]
            if breaks[at]:
                end = at + 1
            at += 1
        if at == n:
            end = n
        elif end < 0:
            end = max(start + 1, at)
        stop = end
        while stop > start and spaces[stop - 1]:
            stop -= 1
        starts[lines] = start
        stops[lines] = stop
        lines += 1
        start = end
    return starts[:lines], stops[:lines]


LEFT, JUSTIFY, CENTRE, RIGHT = 0, 1, 2, 3
MOST_STRETCH = 0.2
"""Share of a line's width that justifying may spread over it; emptier lines stay ragged."""


@inner
def set_pens(
    advances: NDArray[np.float64],
    breaks: NDArray[np.bool_],
    starts: NDArray[np.int32],
    stops: NDArray[np.int32],
    width: float,
    indent: float,
    align: int,
    quantum: int,
) -> NDArray[np.int32]:
    """Return the pen of every character in quarter px, (n,), relative to the block's left edge.

    `quantum` is 1 for pens on quarters of a pixel, 4 for whole pixels. A justified line is spread
    where it could end: after words and between Han. The last line is not justified.
    """
    pens = np.empty(len(advances), np.int32)
    for at in range(len(pens)):
        pens[at] = 0
    for line in range(len(starts)):
        start, stop = starts[line], stops[line]
        x = indent if line == 0 else 0.0
        used, gaps = 0.0, 0
        for at in range(start, stop):
            used += advances[at]
            if breaks[at] and at < stop - 1:
                gaps += 1
        slack = max(0.0, width - x - used)
        step = 0.0
        if align == JUSTIFY and line < len(starts) - 1 and slack < MOST_STRETCH * width:
            step = slack / max(1, gaps)
        elif align == CENTRE:
            x += slack / 2
        elif align == RIGHT:
            x += slack
        for at in range(start, stop):
            pens[at] = quantum * int(np.floor(x * 4 / quantum + 0.5))
            x += advances[at]
            if breaks[at]:
                x += step
    return pens


@compiled("f8[::1], b1[::1], b1[::1], f8, f8, i8, i8, i8, i4[::1], i4[::1], i4[::1]")
def set_lines(
    advances: NDArray[np.float64],
    breaks: NDArray[np.bool_],
    spaces: NDArray[np.bool_],
    width: float,
    indent: float,
    most_lines: int,
    align: int,
    quantum: int,
    places: NDArray[np.int32],
    pens: NDArray[np.int32],
    lengths: NDArray[np.int32],
) -> tuple[int, int, bool]:
    """Fill lines and set their pens: (lines, characters in them, whether all text is there).

    What is put in place, each in room for n: `places` of the characters in lines in the text and
    their `pens`, and the `lengths` of the lines. The rest is as in `fill_lines` and `set_pens`.
    """
    starts, stops = fill_lines(advances, breaks, spaces, width, indent, most_lines)
    pens_of_all = set_pens(advances, breaks, starts, stops, width, indent, align, quantum)
    k, stop = 0, 0
    for line in range(len(starts)):
        start, stop = starts[line], stops[line]
        lengths[line] = stop - start
        for at in range(start, stop):
            places[k], pens[k] = at, pens_of_all[at]
            k += 1
    while stop < len(spaces) and spaces[stop]:
        stop += 1
    return len(starts), k, stop == len(spaces)


class Glyphs(NamedTuple):
    """Glyphs of one set of masks, characters (n,).

    `row_numbers` say which of `rows` (m, 5) each is, below 0 for no ink; its pen stands at
    (`xs`, `ys`) px. A row is (offset into `masks`, width, height, left, top); left and top are px
    from the pen, y downwards.
    """

    masks: NDArray[np.uint8]
    rows: NDArray[np.int32]
    row_numbers: NDArray[np.int32]
    xs: NDArray[np.int32]
    ys: NDArray[np.int32]


GLYPHS = named_tuple("u1[::1], i4[:, ::1], i4[::1], i4[::1], i4[::1]", Glyphs)
"""The type of glyphs for compiled loops."""


@compiled("i8, i1[::1], i4[:, ::1], i4[::1], i4[::1], i4[::1], i4[:, ::1]")
def ink_boxes(
    number: int,
    font_index: NDArray[np.int8],
    rows: NDArray[np.int32],
    row_numbers: NDArray[np.int32],
    xs: NDArray[np.int32],
    ys: NDArray[np.int32],
    boxes: NDArray[np.int32],
) -> int:
    """Put the box of the ink of each character of font `number` in `boxes` (n, 4).

    Without ink a box has no area. Return how many have ink, or -1 when the strike has not drawn
    one of the glyphs yet. The other arrays are those of `Glyphs`.
    """
    inked = 0
    for n in range(len(font_index)):
        if font_index[n] != number:
            continue
        row, left, top, width, height = row_numbers[n], xs[n], ys[n], 0, 0
        if row < -1:
            return -1
        if row >= 0:
            inked += 1
            left, top = left + rows[row, 3], top + rows[row, 4]
            width, height = rows[row, 1], rows[row, 2]
        boxes[n, 0], boxes[n, 1], boxes[n, 2], boxes[n, 3] = left, top, left + width, top + height
    return inked


@compiled(
    "i8, i1[::1], i4[::1], i4[::1], i4[::1], b1, i4[::1], i8, i4[:, ::1],"
    "i4[::1], i4[::1], i4[::1], i4[:, ::1]"
)
def stand_glyphs(
    number: int,
    font_index: NDArray[np.int8],
    slots: NDArray[np.int32],
    pens: NDArray[np.int32],
    bases: NDArray[np.int32],
    vertical: bool,
    table: NDArray[np.int32],
    phases: int,
    rows: NDArray[np.int32],
    row_numbers: NDArray[np.int32],
    xs: NDArray[np.int32],
    ys: NDArray[np.int32],
    boxes: NDArray[np.int32],
) -> int:
    """Put the glyphs of the characters (n,) of font `number` where they stand, and their boxes.

    `slots` are their places among the glyphs of the face, `pens` quarter px along the line,
    `bases` px; `table`, `phases` and `rows` those of the strike. What is put is `row_numbers`,
    below 0 for the characters of other fonts, and `xs`, `ys` and `boxes`. The answer is that of
    `ink_boxes`.
    """
    for n in range(len(slots)):
        if font_index[n] != number:
            row_numbers[n] = -1
            continue
        along, phase = pens[n] >> 2, pens[n] & 3
        if phases == 1:
            along, phase = (pens[n] + 2) >> 2, 0
        row = table[slots[n]] if slots[n] >= 0 else np.int32(-1)
        row_numbers[n] = row + phase if row >= 0 else row
        xs[n], ys[n] = (bases[n], along) if vertical else (along, bases[n])
    # Two loops, each so short that the machine waits for many places of a large strike at once.
    return ink_boxes(number, font_index, rows, row_numbers, xs, ys, boxes)


@compiled("i4[:, ::1], i8, i8, i4[::1]")
def unite(boxes: NDArray[np.int32], start: int, stop: int, union: NDArray[np.int32]) -> None:
    """Put the union of boxes [start, stop) that have area into `union` (4,); zeros for none."""
    left, top, right, bottom = 0, 0, 0, 0
    for at in range(start, stop):
        if boxes[at, 2] > boxes[at, 0]:
            if right <= left:
                left, top, right, bottom = boxes[at, 0], boxes[at, 1], boxes[at, 2], boxes[at, 3]
            left, top = min(left, boxes[at, 0]), min(top, boxes[at, 1])
            right, bottom = max(right, boxes[at, 2]), max(bottom, boxes[at, 3])
    union[0], union[1], union[2], union[3] = left, top, right, bottom


@compiled("i4[:, ::1], i4[::1], i4[:, ::1]")
def union_boxes(
    boxes: NDArray[np.int32], lengths: NDArray[np.int32], unions: NDArray[np.int32]
) -> None:
    """Put the union of the boxes of each line that have area into `unions` (l, 4); zeros for none.

    `boxes` (n, 4) are those of all characters, `lengths` (l,) says how many each line has.
    """
    stop = 0
    for line in range(len(lengths)):
        stop += lengths[line]
        unite(boxes, stop - lengths[line], stop, unions[line])


@compiled("i4[:, ::1], i4[::1], i8, i8, b1, i4[::1], i4[::1], i4[:, ::1]")
def stack_lines(
    boxes: NDArray[np.int32],
    lengths: NDArray[np.int32],
    pitch: int,
    room: int,
    vertical: bool,
    across: NDArray[np.int32],
    bases: NDArray[np.int32],
    lines: NDArray[np.int32],
) -> tuple[int, int]:
    """Stack lines `pitch` px apart, further where ink would touch; as many as `room` px hold.

    Return how many those are and how many characters they have. `boxes` (k, 4) of the
    characters, given from the bases of their lines, are moved there in place; `across` (k,) is
    the base of each, `bases` (l,) and `lines` (l, 4) are those of the lines and the boxes of
    their ink. Baselines go down the page, columns of `vertical` text from right to left.
    """
    side = 0 if vertical else 1
    used, base, bottom = 0, 0, 0
    for line in range(len(lengths)):
        stop = used + lengths[line]
        ink = lines[line]
        unite(boxes, stop - lengths[line], stop, ink)
        low, high = ink[side], ink[side + 2]
        if vertical:
            base = base - pitch if line else room - high
            full = base + low < 0
        else:
            base = max(base + pitch, bottom + 1 - low) if line else -low
            bottom = base + high
            full = bottom > room
        if full:
            return line, used
        bases[line] = base
        ink[side] += base
        ink[side + 2] += base
        for n in range(used, stop):
            across[n] = base
            boxes[n, side] += base
            boxes[n, side + 2] += base
        used = stop
    return len(lengths), used


@compiled("i4[:, ::1], i8, i8, i4[:, ::1]")
def move(boxes: NDArray[np.int32], x: int, y: int, there: NDArray[np.int32]) -> None:
    """Put boxes (n, 4), moved by (`x`, `y`) px, into `there`."""
    for n in range(len(boxes)):
        there[n, 0], there[n, 1] = boxes[n, 0] + x, boxes[n, 1] + y
        there[n, 2], there[n, 3] = boxes[n, 2] + x, boxes[n, 3] + y


@compiled("i4[::1], i4[::1], i4[:, ::1], i4[::1], b1, i8, i8, i4[::1], i4[::1], i4[:, ::1]")
def move_glyphs(
    xs: NDArray[np.int32],
    ys: NDArray[np.int32],
    boxes: NDArray[np.int32],
    bases: NDArray[np.int32],
    vertical: bool,
    left: int,
    top: int,
    there_xs: NDArray[np.int32],
    there_ys: NDArray[np.int32],
    there: NDArray[np.int32],
) -> int:
    """Put glyphs (n,) that stand on bases at 0 on their `bases`, moved by (`left`, `top`) px.

    `boxes` (n, 4) stand on their bases already. `there_xs`, `there_ys` and `there` get the pens
    and the boxes; the answer is how many have ink.
    """
    move(boxes[: len(bases)], left, top, there)
    inked = 0
    for n in range(len(bases)):
        x, y = (bases[n], 0) if vertical else (0, bases[n])
        there_xs[n], there_ys[n] = xs[n] + x + left, ys[n] + y + top
        inked += boxes[n, 2] > boxes[n, 0]
    return inked


@compiled("u1[::1], i8[:, ::1], i8, i4[:, ::1]")
def trim_masks(
    masks: NDArray[np.uint8], bitmaps: NDArray[np.int64], faint: int, rows: NDArray[np.int32]
) -> int:
    """Cut bitmaps to their ink, in place; return how many bytes of `masks` that takes.

    `bitmaps` (m, 6), one behind the other: offset into `masks`, pitch, width, height, left, top.
    `rows` (m, 5) get what is left: offset, width, height, left, top; all 0 where the fullest pixel
    is below `faint`.
    """
    total = 0
    for m in range(len(bitmaps)):
        offset, pitch, width, height, left, top = bitmaps[m]
        x0, y0, x1, y1, fullest = width, height, 0, 0, 0
        for y in range(height):
            for x in range(width):
                value = masks[offset + y * pitch + x]
                if value:
                    fullest = max(fullest, value)
                    x0, x1 = min(x0, x), max(x1, x + 1)
                    y0, y1 = min(y0, y), max(y1, y + 1)
        if fullest < faint or fullest == 0:
            rows[m, 0], rows[m, 1], rows[m, 2], rows[m, 3], rows[m, 4] = 0, 0, 0, 0, 0
            continue
        rows[m, 0], rows[m, 1], rows[m, 2] = total, x1 - x0, y1 - y0
        rows[m, 3], rows[m, 4] = left + x0, top + y0
        for y in range(y0, y1):
            for x in range(x0, x1):
                masks[total] = masks[offset + y * pitch + x]
                total += 1
    return total
