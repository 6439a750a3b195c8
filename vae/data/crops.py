"""Crops: which part of an image a draw takes, at native scale or shrunk, never enlarged.

Text is cropped at its native scale and never resized: the size of a character in pixels is what
the curriculum is about.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vae.data.em import EmMap

Shape = tuple[int, int]
"""Height and width, px."""


class Crop(NamedTuple):
    """The window (top, left, height, width) px of an image that becomes `shape` px."""

    top: int
    left: int
    height: int
    width: int
    shape: Shape

    @property
    def scale(self) -> float:
        """How many px of the crop one px of the image becomes: 1 or less."""
        return self.shape[0] / self.height

    def cut(self, pixels: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        """Write the crop of (h, w, 3) uint8 into `out`, (*shape, 3).

        Area interpolation neither rings nor aliases.
        """
        window = pixels[self.top : self.top + self.height, self.left : self.left + self.width]
        if window.shape == out.shape:
            out[:] = window
        else:
            out[:] = cv2.resize(window, self.shape[::-1], interpolation=cv2.INTER_AREA)

    def cut_em(self, em: EmMap, out: EmMap) -> None:
        """Write the crop of a map of the em (h, w) into `out`, `shape`: an em shrinks as well."""
        window = em[self.top : self.top + self.height, self.left : self.left + self.width]
        if window.shape == out.shape:
            out[:] = window
            return
        near = np.empty_like(out)
        cv2.resize(window, self.shape[::-1], near, interpolation=cv2.INTER_NEAREST_EXACT)
        sizes = np.rint(np.arange(256) * self.scale).astype(np.uint8)
        sizes[1:] = np.maximum(sizes[1:], 1)
        out[:] = sizes[near]


def native(size: Shape, shape: Shape, rng: np.random.Generator) -> Crop:
    """Choose a window of `shape` in an image of at least this `size`, each as likely."""
    top, left = (int(rng.integers(n - side + 1)) for n, side in zip(size, shape, strict=True))
    return Crop(top, left, *shape, shape)


def shrunk(size: Shape, shape: Shape, rng: np.random.Generator) -> Crop:
    """Choose a window of the aspect of `shape`, from its size up to the largest that fits.

    The scale is log-uniform, so each octave of it is as frequent.
    """
    most_shrunk = min(n / side for n, side in zip(size, shape, strict=True))
    times = most_shrunk ** rng.random()
    height, width = (min(n, round(side * times)) for n, side in zip(size, shape, strict=True))
    top, left = (
        int(rng.integers(n - side + 1)) for n, side in zip(size, (height, width), strict=True)
    )
    return Crop(top, left, height, width, shape)
