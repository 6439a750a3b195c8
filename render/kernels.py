"""The compiled inner loops: filling lines, measuring boxes and light, blending glyphs.

Integers wherever pixels are made, so that every machine makes the same bytes. numba compiles each
function once per machine and keeps the result beside this file (or in the user's cache folder).
What a block calls puts its results in place: handing an array to Python costs more than filling it.

Letters: n characters, m rows of an atlas, l lines, h/w pixels, i/j cells of light.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

CELL_PX = 4
"""Side of the squares in which light is measured: the smallest window, two thirds of an em at 6 px
(our choice: smaller ones would follow the grain of the picture)."""

SPACE = 0x20

OPEN, NEVER, ALWAYS = 0, 1, 2
"""What the table of pairs says of a break: to be found out, none, one."""

LATIN = 0x250
"""Code points below are Latin letters, digits and the marks between them."""

SPACE_EM = 0.25
"""Advance of a space in a face that has none."""

F = TypeVar("F", bound=Callable[..., Any])


def _compiled(function: F) -> F:
    """Compile with numba, which pyright cannot see through; no fastmath: sums keep their order."""
    return cast(F, numba.njit(cache=True, nogil=True)(function))


@_compiled
def certain_breaks(
    codes: NDArray[np.uint32],
    kinds: NDArray[np.uint8],
    pairs: NDArray[np.uint8],
    before_tame: NDArray[np.bool_],
    wild: int,
    tame: int,
    ends: NDArray[np.bool_],
    unclear: NDArray[np.int32],
) -> int:
    """Put in `ends` (n,) where the tables of `breaks.py` let a line end after a character, or not.

    A space, of the kind `wild`, is `tame` after one of the kinds `before_tame`. The places that
    the tables leave open are put in `unclear` (n,); their number is returned.
    """
    count, last = 0, np.uint32(len(kinds) - 1)  # the last kind is none, as of all above
    before = left = np.int64(kinds[min(codes[0], last)])
    for at in range(len(codes) - 1):
        right = kind = np.int64(kinds[min(codes[at + 1], last)])
        if kind == wild and before_tame[before]:
            right = np.int64(tame)
        answer = pairs[16 * left + right]
        ends[at] = answer == ALWAYS
        if answer == OPEN:
            unclear[count] = at
            count += 1
        before, left = kind, right
    return count


@_compiled
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


@_compiled
def fill_lines(
    advances: NDArray[np.float64],
    ends: NDArray[np.bool_],
    spaces: NDArray[np.bool_],
    width: float,
    indent: float,
    most: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Fill lines greedily: (starts, stops) of each, (l,), outer spaces excluded.

    `advances` (n,) px, `ends` (n,) True where a line may end after a character, `width` and
    `indent` (of the first line) px. Spaces may hang over the edge; a part wider than a line is
    split between characters, nothing else ever is.
    """
    n = len(advances)
    starts = np.empty(n, np.int32)
    stops = np.empty(n, np.int32)
    lines = 0
    start = 0
    while lines < most:
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
            if ends[at]:
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
    return starts[:lines].copy(), stops[:lines].copy()


LEFT, JUSTIFY, CENTRE, RIGHT = 0, 1, 2, 3
MOST_STRETCH = 0.2
"""Share of a line's width that justifying may spread over it; emptier lines stay ragged."""


@_compiled
def set_pens(
    advances: NDArray[np.float64],
    ends: NDArray[np.bool_],
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
    pens = np.zeros(len(advances), np.int32)
    for line in range(len(starts)):
        start, stop = starts[line], stops[line]
        x = indent if line == 0 else 0.0
        used, gaps = 0.0, 0
        for at in range(start, stop):
            used += advances[at]
            if ends[at] and at < stop - 1:
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
            if ends[at]:
                x += step
    return pens


@_compiled
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


@_compiled
def union_boxes(
    boxes: NDArray[np.int32], lengths: NDArray[np.int32], unions: NDArray[np.int32]
) -> None:
    """Put the union of the boxes of each line that have area into `unions` (l, 4); zeros for none.

    `boxes` (n, 4) are those of all characters, `lengths` (l,) says how many each line has.
    """
    start = 0
    for line in range(len(lengths)):
        unite(boxes, start, start + lengths[line], unions[line])
        start += lengths[line]


@_compiled
def set_lines(
    advances: NDArray[np.float64],
    ends: NDArray[np.bool_],
    spaces: NDArray[np.bool_],
    width: float,
    indent: float,
    most: int,
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
    starts, stops = fill_lines(advances, ends, spaces, width, indent, most)
    every = set_pens(advances, ends, starts, stops, width, indent, align, quantum)
    k, stop = 0, 0
    for line in range(len(starts)):
        start, stop = starts[line], stops[line]
        lengths[line] = stop - start
        for at in range(start, stop):
            places[k], pens[k] = at, every[at]
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


@_compiled
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


@_compiled
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
        row_numbers[n] = table[slots[n] * phases + phase] if slots[n] >= 0 else -1
        xs[n], ys[n] = (bases[n], along) if vertical else (along, bases[n])
    # Two loops, each so short that the machine waits for many places of a large strike at once.
    return ink_boxes(number, font_index, rows, row_numbers, xs, ys, boxes)


@_compiled
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
        unite(boxes, used, stop, ink)
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


@_compiled
def move(boxes: NDArray[np.int32], x: int, y: int, there: NDArray[np.int32]) -> None:
    """Put boxes (n, 4), moved by (`x`, `y`) px, into `there`."""
    for n in range(len(boxes)):
        there[n, 0], there[n, 1] = boxes[n, 0] + x, boxes[n, 1] + y
        there[n, 2], there[n, 3] = boxes[n, 2] + x, boxes[n, 3] + y


@_compiled
def trim_masks(
    raw: NDArray[np.uint8], bitmaps: NDArray[np.int64], faint: int
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Cut bitmaps to their ink: (masks, rows (m, 5)).

    `bitmaps` (m, 6): offset into `raw`, pitch, width, height, left, top. A row is offset into
    `masks`, width, height, left, top; width 0 where the fullest pixel is below `faint`.
    """
    rows = np.zeros((len(bitmaps), 5), np.int32)
    masks = np.empty(len(raw), np.uint8)
    total = 0
    for m in range(len(bitmaps)):
        offset, pitch, width, height, left, top = bitmaps[m]
        x0, y0, x1, y1, fullest = width, height, 0, 0, 0
        for y in range(height):
            for x in range(width):
                value = raw[offset + y * pitch + x]
                if value:
                    fullest = max(fullest, value)
                    x0, x1 = min(x0, x), max(x1, x + 1)
                    y0, y1 = min(y0, y), max(y1, y + 1)
        if fullest < faint or fullest == 0:
            continue
        rows[m, 0], rows[m, 1], rows[m, 2] = total, x1 - x0, y1 - y0
        rows[m, 3], rows[m, 4] = left + x0, top + y0
        for y in range(y0, y1):
            for x in range(x0, x1):
                masks[total] = raw[offset + y * pitch + x]
                total += 1
    return masks[:total].copy(), rows


@_compiled
def fetch(masks: NDArray[np.uint8], rows: NDArray[np.int32], row_numbers: NDArray[np.int32]) -> int:
    """Read a pixel or three of every mask, and return their sum.

    The atlas is larger than any cache: read side by side, the masks of a block come in the time
    of one or two; the loops that draw them would wait for each. They return the sum, or the
    compiler would leave the reading out.
    """
    total = 0
    for n in range(len(row_numbers)):
        row = row_numbers[n]
        if row >= 0:
            first = rows[row, 0]
            last = first + rows[row, 1] * rows[row, 2] - 1
            total += int(masks[first]) + int(masks[(first + last) >> 1]) + int(masks[last])
    return total


@_compiled
def blend_srgb(
    canvas: NDArray[np.uint8],
    glyphs: Glyphs,
    colour: NDArray[np.uint8],
) -> int:
    """Blend glyphs into `canvas` (h, w, 3) in place, in sRGB values as browsers do."""
    masks, rows, row_numbers, xs, ys = glyphs
    fetched = fetch(masks, rows, row_numbers)
    flat, width = canvas.reshape(-1), canvas.shape[1]
    # The channels lie 20 bits apart in one word: most glyphs are too narrow to blend several
    # pixels at once, but three values can be.
    byte, second, third = np.uint64(8), np.uint64(20), np.uint64(40)
    ones = np.uint64(1) | np.uint64(1) << second | np.uint64(1) << third
    half, low = np.uint64(128) * ones, np.uint64(255) * ones
    ink = np.uint64(colour[0])
    ink |= np.uint64(colour[1]) << second | np.uint64(colour[2]) << third
    for n in range(len(row_numbers)):
        row = row_numbers[n]
        if row < 0:
            continue
        offset, wide, high = rows[row, 0], rows[row, 1], rows[row, 2]
        left, top = xs[n] + rows[row, 3], ys[n] + rows[row, 4]
        for y in range(high):
            mask = masks[offset + y * wide : offset + (y + 1) * wide]
            part = flat[((top + y) * width + left) * 3 : ((top + y) * width + left + wide) * 3]
            for x in range(wide):
                share = np.uint64(mask[x])
                v = np.uint64(part[3 * x])
                v |= np.uint64(part[3 * x + 1]) << second | np.uint64(part[3 * x + 2]) << third
                v = v * (np.uint64(255) - share) + ink * share + half
                v += v >> byte & low  # (v + (v >> 8)) >> 8 is (v - 128) / 255, rounded
                part[3 * x] = np.uint8(v >> byte)
                part[3 * x + 1] = np.uint8(v >> (byte + second))
                part[3 * x + 2] = np.uint8(v >> (byte + third))
    return fetched


@_compiled
def blend_linear(
    canvas: NDArray[np.uint8],
    glyphs: Glyphs,
    colour: NDArray[np.uint8],
    to_linear: NDArray[np.uint16],
    to_srgb: NDArray[np.uint8],
) -> int:
    """Blend glyphs as `blend_srgb` does, but in linear light, as optics does.

    `to_linear` (256,) and `to_srgb` (65536,) are the two tables of `light.py`.
    """
    masks, rows, row_numbers, xs, ys = glyphs
    fetched = fetch(masks, rows, row_numbers)
    flat, width = canvas.reshape(-1), canvas.shape[1]
    # Two channels lie 32 bits apart in one word.
    half, full, second = np.uint64(127), np.uint64(255), np.uint64(32)
    low = np.uint64(0xFFFFFFFF)
    inks = np.uint64(to_linear[colour[0]]) | np.uint64(to_linear[colour[1]]) << second
    blue = np.uint64(to_linear[colour[2]])
    for n in range(len(row_numbers)):
        row = row_numbers[n]
        if row < 0:
            continue
        offset, wide, high = rows[row, 0], rows[row, 1], rows[row, 2]
        left, top = xs[n] + rows[row, 3], ys[n] + rows[row, 4]
        for y in range(high):
            mask = masks[offset + y * wide : offset + (y + 1) * wide]
            part = flat[((top + y) * width + left) * 3 : ((top + y) * width + left + wide) * 3]
            for x in range(wide):
                share = np.uint64(mask[x])
                rest = full - share
                v = np.uint64(to_linear[part[3 * x]])
                v |= np.uint64(to_linear[part[3 * x + 1]]) << second
                v = v * rest + inks * share
                w = np.uint64(to_linear[part[3 * x + 2]]) * rest + blue * share
                part[3 * x] = to_srgb[((v & low) + half) // full]
                part[3 * x + 1] = to_srgb[((v >> second) + half) // full]
                part[3 * x + 2] = to_srgb[(w + half) // full]
    return fetched


@_compiled
def cover(coverage: NDArray[np.uint8], glyphs: Glyphs) -> None:
    """Put the masks of glyphs into `coverage` (h, w), the fuller one where two meet."""
    masks, rows, row_numbers, xs, ys = glyphs
    for n in range(len(row_numbers)):
        row = row_numbers[n]
        if row < 0:
            continue
        offset, width, height = rows[row, 0], rows[row, 1], rows[row, 2]
        left, top = xs[n] + rows[row, 3], ys[n] + rows[row, 4]
        for y in range(height):
            for x in range(width):
                value = masks[offset + y * width + x]
                coverage[top + y, left + x] = max(coverage[top + y, left + x], value)


@_compiled
def veil(
    canvas: NDArray[np.uint8],
    left: int,
    top: int,
    right: int,
    bottom: int,
    colour: NDArray[np.uint8],
    share: int,
) -> None:
    """Blend `colour` into a rectangle of `canvas` (h, w, 3) in place; `share` is in [0, 255]."""
    n = (right - left) * 3
    # 16 bits, which all of it fits, and one pattern for all rows: many bytes at once.
    add = np.empty(n, np.uint16)
    for at in range(n):
        add[at] = np.uint16(colour[at % 3]) * np.uint16(share) + np.uint16(128)
    rest = np.uint16(255 - share)
    flat, width = canvas.reshape(-1), canvas.shape[1]
    for y in range(top, bottom):
        row = flat[(y * width + left) * 3 : (y * width + right) * 3]
        for at in range(n):
            v = np.uint16(np.uint16(row[at]) * rest + add[at])
            row[at] = np.uint8((v + (v >> np.uint16(8))) >> np.uint16(8))


@_compiled
def blend_coverage(
    canvas: NDArray[np.uint8],
    coverage: NDArray[np.uint8],
    left: int,
    top: int,
    colour: NDArray[np.uint8],
) -> None:
    """Blend `colour` into `canvas` in place by `coverage` (h, w), whose corner is (left, top)."""
    flat, width = canvas.reshape(-1), canvas.shape[1]
    high, wide = coverage.shape
    # As in `veil`, with a share for every value.
    inks, shares = np.empty(3 * wide, np.uint16), np.empty(3 * wide, np.uint16)
    for at in range(3 * wide):
        inks[at] = colour[at % 3]
    for y in range(high):
        for x in range(wide):
            shares[3 * x] = shares[3 * x + 1] = shares[3 * x + 2] = coverage[y, x]
        row = flat[((top + y) * width + left) * 3 : ((top + y) * width + left + wide) * 3]
        for at in range(3 * wide):
            rest = np.uint16(np.uint16(255) - shares[at])
            v = np.uint16(np.uint16(row[at]) * rest + inks[at] * shares[at] + np.uint16(128))
            row[at] = np.uint8((v + (v >> np.uint16(8))) >> np.uint16(8))


@_compiled
def measure_light(
    canvas: NDArray[np.uint8],
    luminance: NDArray[np.float64],
    means: NDArray[np.float64],
    squares: NDArray[np.float64],
    i0: int,
    i1: int,
    j0: int,
) -> None:
    """Put the mean luminance and its mean square of rows [i0, i1) of cells in place.

    `means` and `squares` begin with the cell in row 0 and column `j0` of the canvas. `luminance`
    (3, 256) is what each value of each channel adds to the luminance in [0, 1].
    """
    height, width = canvas.shape[:2]
    flat = canvas.reshape(-1)
    count = means.shape[1]
    x0, x1 = j0 * CELL_PX, min(width, (j0 + count) * CELL_PX)
    red, green, blue = luminance[0], luminance[1], luminance[2]
    whole = (x1 - x0) // CELL_PX
    for i in range(i0, i1):
        totals, powers = means[i], squares[i]
        totals[:], powers[:] = 0.0, 0.0
        y0, y1 = i * CELL_PX, min(height, (i + 1) * CELL_PX)
        for y in range(y0, y1):
            row = flat[(y * width + x0) * 3 : (y * width + x1) * 3]
            for j in range(whole):
                total, power = 0.0, 0.0
                for x in range(CELL_PX):
                    at = 3 * (CELL_PX * j + x)
                    value = red[row[at]] + green[row[at + 1]] + blue[row[at + 2]]
                    total += value
                    power += value * value
                totals[j] += total
                powers[j] += power
            for x in range(CELL_PX * whole, x1 - x0):  # a cell that the edge of the page cuts
                value = red[row[3 * x]] + green[row[3 * x + 1]] + blue[row[3 * x + 2]]
                totals[whole] += value
                powers[whole] += value * value
        share = 1.0 / (CELL_PX * (y1 - y0))
        for j in range(count):
            totals[j] *= share
            powers[j] *= share
        if whole < count:
            totals[whole] *= CELL_PX / (x1 - x0 - CELL_PX * whole)
            powers[whole] *= CELL_PX / (x1 - x0 - CELL_PX * whole)


@_compiled
def window_extremes(
    means: NDArray[np.float64],
    squares: NDArray[np.float64],
    side: int,
    i0: int,
    i1: int,
    j0: int,
    j1: int,
) -> tuple[float, float]:
    """Return the luminance of the darkest and of the lightest window of cells [i0, i1) x [j0, j1).

    A window is `side` x `side` cells (fewer where there are fewer); its darkness is its mean less
    one standard deviation, its lightness the mean plus one.
    """
    high, wide = min(side, i1 - i0), min(side, j1 - j0)
    count, area = j1 - j0 - wide + 1, float(high * wide)
    # The windows of a row are worked out side by side, each in its own order.
    sums, powers = np.empty(count, np.float64), np.empty(count, np.float64)
    lows, tops = np.ones(count, np.float64), np.zeros(count, np.float64)
    for i in range(i0, i1 - high + 1):
        sums[:], powers[:] = 0.0, 0.0
        for y in range(i, i + high):
            for x in range(j0, j0 + wide):
                some, more = means[y, x : x + count], squares[y, x : x + count]
                for j in range(count):
                    sums[j] += some[j]
                    powers[j] += more[j]
        for j in range(count):
            mean = sums[j] / area
            grain = np.sqrt(max(0.0, powers[j] / area - mean * mean))
            lows[j] = min(lows[j], mean - grain)
            tops[j] = max(tops[j], mean + grain)
    low, top = 1.0, 0.0
    for j in range(count):
        low, top = min(low, lows[j]), max(top, tops[j])
    return max(0.0, low), min(1.0, top)


@_compiled
def light_extremes(
    canvas: NDArray[np.uint8],
    luminance: NDArray[np.float64],
    side: int,
    floor: float,
    boxes: NDArray[np.int32],
    found: NDArray[np.float64],
) -> int:
    """Put the luminance of the darkest and the lightest window under each box in `found` (l, 2).

    Stops after the box with which neither black nor white ink has a contrast of `floor` with all
    windows so far, and returns the number of boxes that were measured.
    """
    height, width = canvas.shape[:2]
    j0 = boxes[:, 0].min() // CELL_PX
    i0 = boxes[:, 1].min() // CELL_PX
    j1 = (min(width, boxes[:, 2].max()) + CELL_PX - 1) // CELL_PX
    i1 = (min(height, boxes[:, 3].max()) + CELL_PX - 1) // CELL_PX
    means = np.empty((i1, j1 - j0), np.float64)
    squares = np.empty((i1, j1 - j0), np.float64)
    known = i0  # cells are measured down to this row
    darkest, lightest = 1.0, 0.0
    for line in range(len(boxes)):
        left, top = boxes[line, 0] // CELL_PX - j0, boxes[line, 1] // CELL_PX
        right = min(j1, (boxes[line, 2] + CELL_PX - 1) // CELL_PX) - j0
        bottom = min(i1, (boxes[line, 3] + CELL_PX - 1) // CELL_PX)
        if bottom > known:
            measure_light(canvas, luminance, means, squares, known, bottom, j0)
            known = bottom
        low, high = window_extremes(means, squares, side, top, bottom, left, right)
        found[line, 0], found[line, 1] = low, high
        darkest, lightest = min(darkest, low), max(lightest, high)
        if darkest + 0.05 < 0.05 * floor and floor * (lightest + 0.05) > 1.05:
            return line + 1
    return len(boxes)
