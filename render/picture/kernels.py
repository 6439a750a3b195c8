"""The compiled loops over pixels without glyphs: rectangles, and the light under text."""

import numpy as np
from numpy.typing import NDArray

from render.compiled import compiled, inner

CELL_PX = 4
"""Side of the squares in which light is measured: the smallest window, two thirds of an em at 6 px
(our choice: smaller ones would follow the grain of the picture)."""


@compiled("u1[:, :, ::1], i8, i8, i8, i8, u1[::1], i8")
def tint_rectangle(
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


@compiled("u1[:, :, ::1], u1[:, ::1], i8, i8, u1[::1]")
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
    # As in `tint_rectangle`, with a share for every value.
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


@inner
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


@inner
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
    lows, tops = np.empty(count, np.float64), np.empty(count, np.float64)
    for j in range(count):
        lows[j], tops[j] = 1.0, 0.0
    for i in range(i0, i1 - high + 1):
        for j in range(count):
            sums[j], powers[j] = 0.0, 0.0
        for y in range(i, i + high):
            for x in range(j0, j0 + wide):
                mean_row, square_row = means[y, x : x + count], squares[y, x : x + count]
                for j in range(count):
                    sums[j] += mean_row[j]
                    powers[j] += square_row[j]
        for j in range(count):
            mean = sums[j] / area
            grain = np.sqrt(max(0.0, powers[j] / area - mean * mean))
            lows[j] = min(lows[j], mean - grain)
            tops[j] = max(tops[j], mean + grain)
    low, top = 1.0, 0.0
    for j in range(count):
        low, top = min(low, lows[j]), max(top, tops[j])
    return max(0.0, low), min(1.0, top)


@compiled("u1[:, :, ::1], f8[:, ::1], i8, f8, i4[:, ::1], f8[:, ::1]")
def light_extremes(
    canvas: NDArray[np.uint8],
    luminance: NDArray[np.float64],
    side: int,
    floor: float,
    boxes: NDArray[np.int32],
    windows: NDArray[np.float64],
) -> int:
    """Put the luminance of the darkest and the lightest window under each box in `windows` (l, 2).

    Stops after the box with which neither black nor white ink has a contrast of `floor` with all
    windows so far, and returns the number of boxes that were measured.
    """
    height, width = canvas.shape[:2]
    left, top, right, bottom = width, height, 0, 0  # NumPy's min and max take seconds to compile
    for line in range(len(boxes)):
        left, top = min(left, boxes[line, 0]), min(top, boxes[line, 1])
        right, bottom = max(right, boxes[line, 2]), max(bottom, boxes[line, 3])
    j0, i0 = left // CELL_PX, top // CELL_PX
    j1 = (min(width, right) + CELL_PX - 1) // CELL_PX
    i1 = (min(height, bottom) + CELL_PX - 1) // CELL_PX
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
        windows[line, 0], windows[line, 1] = low, high
        darkest, lightest = min(darkest, low), max(lightest, high)
        if darkest + 0.05 < 0.05 * floor and floor * (lightest + 0.05) > 1.05:
            return line + 1
    return len(boxes)
