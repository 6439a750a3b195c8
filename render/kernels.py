"""The compiled inner loops: filling lines, measuring boxes and light, blending glyphs.

Integers wherever pixels are made, so that every machine makes the same bytes. numba compiles each
function once per machine and keeps the result beside this file (or in the user's cache folder).

Letters: n characters, m rows of an atlas, l lines, h/w pixels, i/j cells of light.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

CELL_PX = 4
"""Side of the squares in which light is measured: the smallest window, two thirds of an em at 6 px
(our choice: smaller ones would follow the grain of the picture)."""

F = TypeVar("F", bound=Callable[..., Any])


def _compiled(function: F) -> F:
    """Compile with numba, which pyright cannot see through; no fastmath: sums keep their order."""
    return cast(F, numba.njit(cache=True, nogil=True)(function))


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


@_compiled
def in_lines(starts: NDArray[np.int32], stops: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the positions of all characters that stand in lines, in order."""
    total = 0
    for line in range(len(starts)):
        total += stops[line] - starts[line]
    places = np.empty(total, np.int64)
    n = 0
    for line in range(len(starts)):
        for at in range(starts[line], stops[line]):
            places[n] = at
            n += 1
    return places


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
def ink_boxes(
    rows: NDArray[np.int32],
    found: NDArray[np.int32],
    xs: NDArray[np.int32],
    ys: NDArray[np.int32],
) -> NDArray[np.int32]:
    """Return the box (left, top, right, bottom) px of each glyph, (n, 4).

    `found` (n,) are rows of the atlas, below 0 for no ink, of pens at (`xs`, `ys`) px; a glyph
    without ink has a box without area at its pen.
    """
    boxes = np.empty((len(found), 4), np.int32)
    for n in range(len(found)):
        row = found[n]
        if row < 0:
            boxes[n, 0], boxes[n, 1], boxes[n, 2], boxes[n, 3] = xs[n], ys[n], xs[n], ys[n]
            continue
        left, top = xs[n] + rows[row, 3], ys[n] + rows[row, 4]
        boxes[n, 0], boxes[n, 1] = left, top
        boxes[n, 2], boxes[n, 3] = left + rows[row, 1], top + rows[row, 2]
    return boxes


@_compiled
def union_boxes(
    boxes: NDArray[np.int32], starts: NDArray[np.int32], stops: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Return the union of the boxes that have area, for each line, (l, 4); zeros for none."""
    unions = np.zeros((len(starts), 4), np.int32)
    for line in range(len(starts)):
        first = True
        for at in range(starts[line], stops[line]):
            if boxes[at, 2] <= boxes[at, 0]:
                continue
            if first:
                unions[line] = boxes[at]
                first = False
            unions[line, 0] = min(unions[line, 0], boxes[at, 0])
            unions[line, 1] = min(unions[line, 1], boxes[at, 1])
            unions[line, 2] = max(unions[line, 2], boxes[at, 2])
            unions[line, 3] = max(unions[line, 3], boxes[at, 3])
    return unions


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
def blend_srgb(
    canvas: NDArray[np.uint8],
    masks: NDArray[np.uint8],
    rows: NDArray[np.int32],
    found: NDArray[np.int32],
    xs: NDArray[np.int32],
    ys: NDArray[np.int32],
    colour: NDArray[np.uint8],
) -> None:
    """Blend glyphs into `canvas` (h, w, 3) in place, in sRGB values as browsers do.

    `found` (n,) are rows of the atlas, below 0 for no ink; pens at (`xs`, `ys`) px.
    """
    flat, width = canvas.reshape(-1), canvas.shape[1]
    red, green, blue = np.uint32(colour[0]), np.uint32(colour[1]), np.uint32(colour[2])
    half, byte = np.uint32(128), np.uint32(8)
    for n in range(len(found)):
        row = found[n]
        if row < 0:
            continue
        offset, wide, high = rows[row, 0], rows[row, 1], rows[row, 2]
        left, top = xs[n] + rows[row, 3], ys[n] + rows[row, 4]
        for y in range(high):
            mask = masks[offset + y * wide : offset + (y + 1) * wide]
            part = flat[((top + y) * width + left) * 3 : ((top + y) * width + left + wide) * 3]
            # Without a branch for empty pixels, which come out as they were: 20 % faster.
            for x in range(wide):
                share = np.uint32(mask[x])
                rest = np.uint32(255) - share
                # (v + (v >> 8)) >> 8 is (v - 128) / 255, rounded.
                v = np.uint32(part[3 * x]) * rest + red * share + half
                part[3 * x] = np.uint8((v + (v >> byte)) >> byte)
                v = np.uint32(part[3 * x + 1]) * rest + green * share + half
                part[3 * x + 1] = np.uint8((v + (v >> byte)) >> byte)
                v = np.uint32(part[3 * x + 2]) * rest + blue * share + half
                part[3 * x + 2] = np.uint8((v + (v >> byte)) >> byte)


@_compiled
def blend_linear(
    canvas: NDArray[np.uint8],
    masks: NDArray[np.uint8],
    rows: NDArray[np.int32],
    found: NDArray[np.int32],
    xs: NDArray[np.int32],
    ys: NDArray[np.int32],
    colour: NDArray[np.uint8],
    to_linear: NDArray[np.uint16],
    to_srgb: NDArray[np.uint8],
) -> None:
    """Blend glyphs as `blend_srgb` does, but in linear light, as optics does.

    `to_linear` (256,) and `to_srgb` (65536,) are the two tables of `ink.py`.
    """
    inks = np.empty(3, np.int64)
    for c in range(3):
        inks[c] = to_linear[colour[c]]
    for n in range(len(found)):
        row = found[n]
        if row < 0:
            continue
        offset, width, height = rows[row, 0], rows[row, 1], rows[row, 2]
        left, top = xs[n] + rows[row, 3], ys[n] + rows[row, 4]
        for y in range(height):
            for x in range(width):
                share = np.int64(masks[offset + y * width + x])
                if share == 0:
                    continue
                for c in range(3):
                    ground = np.int64(to_linear[canvas[top + y, left + x, c]])
                    v = (ground * (255 - share) + inks[c] * share + 127) // 255
                    canvas[top + y, left + x, c] = to_srgb[v]


@_compiled
def cover(
    coverage: NDArray[np.uint8],
    masks: NDArray[np.uint8],
    rows: NDArray[np.int32],
    found: NDArray[np.int32],
    xs: NDArray[np.int32],
    ys: NDArray[np.int32],
) -> None:
    """Put the masks of glyphs into `coverage` (h, w), the fuller one where two meet."""
    for n in range(len(found)):
        row = found[n]
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
    # 32 bits and one pattern for all rows: the processor then blends many bytes at once.
    add = np.empty(n, np.uint32)
    for at in range(n):
        add[at] = np.uint32(colour[at % 3]) * np.uint32(share) + np.uint32(128)
    rest = np.uint32(255 - share)
    flat, width = canvas.reshape(-1), canvas.shape[1]
    for y in range(top, bottom):
        row = flat[(y * width + left) * 3 : (y * width + right) * 3]
        for at in range(n):
            v = np.uint32(row[at]) * rest + add[at]
            row[at] = np.uint8((v + (v >> np.uint32(8))) >> np.uint32(8))


@_compiled
def blend_coverage(
    canvas: NDArray[np.uint8],
    coverage: NDArray[np.uint8],
    left: int,
    top: int,
    colour: NDArray[np.uint8],
) -> None:
    """Blend `colour` into `canvas` in place by `coverage` (h, w), whose corner is (left, top)."""
    for y in range(coverage.shape[0]):
        for x in range(coverage.shape[1]):
            share = np.int64(coverage[y, x])
            if share == 0:
                continue
            for c in range(3):
                v = canvas[top + y, left + x, c] * (255 - share) + colour[c] * share + 128
                canvas[top + y, left + x, c] = (v + (v >> 8)) >> 8


@_compiled
def measure_light(
    canvas: NDArray[np.uint8],
    luminance: NDArray[np.int32],
    means: NDArray[np.float32],
    squares: NDArray[np.float32],
    i0: int,
    j0: int,
    i1: int,
    j1: int,
) -> None:
    """Put the mean luminance and its mean square of cells [i0, i1) x [j0, j1) in place.

    `luminance` (3, 256) is what each value of each channel adds to the luminance in [0, 65535]:
    sums of integers are exact in any order, so the machine may do several at once.
    """
    height, width = canvas.shape[:2]
    flat = canvas.reshape(-1)
    x0, x1 = j0 * CELL_PX, min(width, j1 * CELL_PX)
    red, green, blue = luminance[0], luminance[1], luminance[2]
    light = np.zeros((j1 - j0) * CELL_PX, np.int32)  # beyond the edge of the page it stays 0
    totals = np.empty(j1 - j0, np.int64)
    powers = np.empty(j1 - j0, np.int64)
    for i in range(i0, i1):
        totals[:], powers[:] = 0, 0
        y0, y1 = i * CELL_PX, min(height, (i + 1) * CELL_PX)
        for y in range(y0, y1):
            row = flat[(y * width + x0) * 3 : (y * width + x1) * 3]
            for x in range(x1 - x0):
                light[x] = red[row[3 * x]] + green[row[3 * x + 1]] + blue[row[3 * x + 2]]
            for j in range(j1 - j0):
                total, power = np.int64(0), np.int64(0)
                for x in range(CELL_PX):
                    value = np.int64(light[CELL_PX * j + x])
                    total += value
                    power += value * value
                totals[j] += total
                powers[j] += power
        for j in range(j1 - j0):
            count = (y1 - y0) * (min(width, (j0 + j + 1) * CELL_PX) - (j0 + j) * CELL_PX)
            means[i, j0 + j] = totals[j] / (count * 65535.0)
            squares[i, j0 + j] = powers[j] / (count * 65535.0 * 65535.0)


@_compiled
def light_extremes(
    means: NDArray[np.float32],
    squares: NDArray[np.float32],
    side: int,
    boxes: NDArray[np.int32],
) -> NDArray[np.float64]:
    """Return the luminance of the darkest and the lightest window under each box, (l, 2).

    A window is `side` x `side` cells (fewer where the box is narrower); its darkness is its mean
    less one standard deviation, its lightness the mean plus one.
    """
    found = np.empty((len(boxes), 2), np.float64)
    rows, columns = means.shape
    for line in range(len(boxes)):
        j0, i0 = boxes[line, 0] // CELL_PX, boxes[line, 1] // CELL_PX
        j1 = min(columns, (boxes[line, 2] + CELL_PX - 1) // CELL_PX)
        i1 = min(rows, (boxes[line, 3] + CELL_PX - 1) // CELL_PX)
        high, wide = min(side, i1 - i0), min(side, j1 - j0)
        low, top = 1.0, 0.0
        for i in range(i0, i1 - high + 1):
            for j in range(j0, j1 - wide + 1):
                mean, square = 0.0, 0.0
                for y in range(i, i + high):
                    for x in range(j, j + wide):
                        mean += means[y, x]
                        square += squares[y, x]
                mean /= high * wide
                grain = np.sqrt(max(0.0, square / (high * wide) - mean * mean))
                low = min(low, mean - grain)
                top = max(top, mean + grain)
        found[line, 0], found[line, 1] = max(0.0, low), min(1.0, top)
    return found
