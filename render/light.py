"""Light: relative luminance, WCAG contrast, and the worst window under a line.

Contrast is the ratio of WCAG 2 (relative luminance, section 1.4.3), taken against the lightest
and the darkest window under a line, not against the mean of the picture.
"""

import numpy as np
from numpy.typing import NDArray

from render.kernels import CELL_PX, light_extremes, measure_light
from render.plan import Box, Colour
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
_LUMINANCE = np.rint([65535 * share * _linear() for share in _SHARES]).astype(np.int32)
_EXACT = [(share * _linear()).tolist() for share in _SHARES]


def luminance(colour: Colour) -> float:
    """Return the relative luminance of an sRGB colour, in [0, 1] (WCAG 2)."""
    return _EXACT[0][colour[0]] + _EXACT[1][colour[1]] + _EXACT[2][colour[2]]


def ratio(one: float, other: float) -> float:
    """Return the WCAG 2 contrast ratio of two luminances, in [1, 21]."""
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def worse(own: float, low: float, high: float) -> float:
    """Return the lower ratio of a luminance with two others; 1 when it lies between."""
    return 1.0 if low <= own <= high else min(ratio(own, low), ratio(own, high))


def contrast(colour: Colour, low: float, high: float) -> float:
    """Return the contrast of `colour` with the worse of two luminances; 1 when it lies between."""
    return worse(luminance(colour), low, high)


class Light:
    """The luminance of a canvas in cells of CELL_PX, kept as the canvas changes."""

    def __init__(self, canvas: RGB) -> None:
        """Measure (h, w, 3) uint8 sRGB; the array is kept, not copied."""
        self.canvas = canvas
        shape = (-(-canvas.shape[0] // CELL_PX), -(-canvas.shape[1] // CELL_PX))
        self._means = np.empty(shape, np.float32)
        self._squares = np.empty(shape, np.float32)
        self.measure((0, 0, canvas.shape[1], canvas.shape[0]))

    def measure(self, box: Box) -> None:
        """Measure again where the canvas has changed."""
        i1 = min(self._means.shape[0], -(-box[3] // CELL_PX))
        j1 = min(self._means.shape[1], -(-box[2] // CELL_PX))
        measure_light(
            self.canvas, _LUMINANCE, self._means, self._squares,
            box[1] // CELL_PX, box[0] // CELL_PX, i1, j1,
        )  # fmt: skip

    def extremes(self, boxes: NDArray[np.int32], size_px: int) -> NDArray[np.float64]:
        """Return the luminance of the darkest and of the lightest window under boxes, (l, 2).

        A window is about half an em square, made of whole cells. The grain inside it counts by
        one standard deviation, as gravel swallows text that its mean would carry.
        """
        side = max(1, (size_px + CELL_PX) // (2 * CELL_PX))
        found = np.empty((len(boxes), 2))
        light_extremes(self._means, self._squares, side, boxes, found)
        return found

    def mean(self, box: Box) -> float:
        """Return the mean luminance of the cells under a box."""
        i, j = slice(box[1] // CELL_PX, -(-box[3] // CELL_PX)), box[0] // CELL_PX
        return float(self._means[i, j : -(-box[2] // CELL_PX)].mean())
