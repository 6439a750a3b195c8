"""Light: relative luminance, WCAG contrast, and the worst window under a line.

Contrast is the ratio of WCAG 2 (relative luminance, section 1.4.3), taken against the lightest
and the darkest window under a line, not against the mean of the picture.
"""

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from render.picture.kernels import CELL_PX, light_extremes
from render.plan import Colour
from shards import RGB


def _linear() -> NDArray[np.float64]:
    value = np.arange(256) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _srgb() -> NDArray[np.uint8]:
    light = np.arange(65536) / 65535
    value = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(255 * value).astype(np.uint8)


TO_LINEAR = np.rint(65535 * _linear()).astype(np.uint16)
"""Linear light in [0, 65535] of each sRGB value (IEC 61966-2-1)."""

TO_SRGB = _srgb()
"""The sRGB value of each linear light in [0, 65535]."""

_SHARES = (0.2126, 0.7152, 0.0722)
_LUMINANCE = np.stack([share * _linear() for share in _SHARES])
_OF_VALUE = _LUMINANCE.tolist()


def luminance(colour: Colour) -> float:
    """Return the relative luminance of an sRGB colour, in [0, 1] (WCAG 2)."""
    return _OF_VALUE[0][colour[0]] + _OF_VALUE[1][colour[1]] + _OF_VALUE[2][colour[2]]


def ratio(a: float, b: float) -> float:
    """Return the WCAG 2 contrast ratio of two luminances, in [1, 21]."""
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)


def worse(own: float, low: float, high: float) -> float:
    """Return the lower ratio of a luminance with `low` <= `high`; 1 when it lies between."""
    # The nearer of the two has the lower ratio. Asked for every ink and window of a page.
    if own < low:
        return (low + 0.05) / (own + 0.05)
    return (own + 0.05) / (high + 0.05) if own > high else 1.0


def contrast(colour: Colour, low: float, high: float) -> float:
    """Return the contrast of `colour` with the worse of two luminances; 1 when it lies between."""
    return worse(luminance(colour), low, high)


def extremes(
    pixels: RGB,
    boxes: NDArray[np.int32],
    size_px: int,
    floor: float = 1.0,
    *,
    under: tuple[Colour, float] | None = None,
) -> NDArray[np.float64]:
    """Return the luminance of the darkest and of the lightest window under boxes (l, 4), (l, 2).

    A window is about half an em square, made of whole cells. The grain inside it counts by
    one standard deviation, as gravel swallows text that its mean would carry. With `under` it is
    what would be there once this colour lay over all of it at this opacity.

    Boxes after the one with which no ink can hold the contrast `floor` any more are left out:
    on a photograph that is mostly the first.
    """
    side = max(1, (size_px + CELL_PX) // (2 * CELL_PX))
    windows = np.empty((len(boxes), 2))
    seen = _LUMINANCE if under is None else _under(*under)
    # A hair less than the floor, so that rounding never leaves out what may yet hold it.
    count = light_extremes(pixels, seen, side, floor * (1 - 1e-9), boxes, windows)
    return windows[:count]


@lru_cache(maxsize=64)  # all plates of a page are of one colour
def _under(colour: Colour, opacity: float) -> NDArray[np.float64]:
    """Return what each value of each channel adds to the luminance under a coloured rectangle."""
    share, inks = round(opacity * 255), np.array(colour)[:, None]
    # As `kernels.tint_rectangle` rounds: nothing lies halfway between two values, since 255 is odd.
    values = (np.arange(256) * (255 - share) + inks * share + 127) // 255
    return np.take_along_axis(_LUMINANCE, values, axis=1)


def readable(pixels: RGB, floor: float) -> float:
    """Return the part of a picture in [0, 1] on which black or white text holds a floor.

    Asked of lines a cell high, each across a third of the picture, at every fourth line (our
    choice: a page of text spreads over all of it, and its lines are as long as that or longer).
    """
    height, width = pixels.shape[:2]
    edges = [width * part // 3 for part in range(4)]
    held = total = 0
    for top in range(0, max(1, height - CELL_PX), 4 * CELL_PX):
        boxes = [(a, top, b, min(height, top + CELL_PX)) for a, b in pairwise(edges)]
        lows, highs = extremes(pixels, np.array(boxes, np.int32), CELL_PX).T
        white, black = 1.05 / (highs + 0.05), (lows + 0.05) / 0.05
        held += np.count_nonzero(np.maximum(white, black) >= floor)
        total += len(boxes)
    return float(held / total)


def mean(pixels: RGB) -> float:
    """Return the mean luminance of a picture, from about a thousand of its pixels."""
    step = max(1, min(pixels.shape[:2]) // 32)
    few = pixels[::step, ::step]
    return float(sum(_LUMINANCE[c][few[..., c]].mean() for c in range(3)))
