"""The canvas: a background and what is laid on it.

Everything is placed on a flat page. A warp, when there is one, maps that page to the picture:
rectangles become quadrilaterals here, glyphs are drawn through it at their final size.
"""

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from render.picture.kernels import blend_coverage, tint_rectangle
from render.plan import Box, Rect
from render.warp import Warp
from shards import RGB

SUBPIXEL_BITS = 4
"""Corners of warped rectangles lie on sixteenths of a pixel."""


class Canvas:
    """Pixels being painted: (h, w, 3) uint8 sRGB."""

    def __init__(self, ground: Callable[[], RGB], warp: Warp | None) -> None:
        """Start from what `ground` paints: a new array each time, the same pixels."""
        self._ground = ground
        self.pixels = ground()
        self.warp = warp

    @cached_property
    def background(self) -> RGB:
        """Return the ground as it was, painted again: few pages open a window to it."""
        return self._ground()

    def bounds(self, box: Box) -> Box:
        """Return the box of the picture that holds a box of the flat page."""
        if self.warp is None:
            return box
        xs, ys = self._corners(box)
        height, width = self.pixels.shape[:2]
        box = Box(int(xs.min()) - 1, int(ys.min()) - 1, int(xs.max()) + 2, int(ys.max()) + 2)
        return box.intersection(Box(0, 0, width, height))

    def lay(self, rect: Rect) -> None:
        """Paint a rectangle, the same integers every time."""
        bounds = self.bounds(rect.box)
        if self.warp is not None:
            self._lay_warped(rect, bounds)
        elif rect.colour is None:
            self.pixels[bounds.slices] = self.background[bounds.slices]
        else:
            colour, share = np.array(rect.colour, np.uint8), round(rect.opacity * 255)
            tint_rectangle(self.pixels, *bounds, colour, share)

    def _lay_warped(self, rect: Rect, bounds: Box) -> None:
        share = self._coverage(rect.box, bounds)
        if rect.opacity < 1:
            share = (share.astype(np.uint16) * round(rect.opacity * 255) // 255).astype(np.uint8)
        if rect.colour is not None:
            colour = np.array(rect.colour, np.uint8)
            blend_coverage(self.pixels, share, bounds.left, bounds.top, colour)
        else:
            part, seen = self.pixels[bounds.slices], share[..., None].astype(np.uint16)
            seen = part * (255 - seen) + self.background[bounds.slices] * seen
            part[...] = (seen + 127) // 255

    def _corners(self, box: Box) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        assert self.warp is not None
        left, top, right, bottom = box
        xs, ys = np.array([left, right, right, left]), np.array([top, top, bottom, bottom])
        return self.warp.points(xs.astype(float), ys.astype(float))

    def _coverage(self, box: Box, bounds: Box) -> NDArray[np.uint8]:
        """Return how far each pixel of `bounds` lies inside the warped `box`, in [0, 255]."""
        import cv2

        xs, ys = self._corners(box)
        # OpenCV's pixel centres are whole numbers, ours lie half a pixel further.
        corners = np.stack([xs - bounds.left - 0.5, ys - bounds.top - 0.5], axis=1)
        points = np.rint(corners * 2**SUBPIXEL_BITS).astype(np.int32)
        mask = np.zeros((bounds.height, bounds.width), np.uint8)
        cv2.fillConvexPoly(mask, points, 255, cv2.LINE_AA, SUBPIXEL_BITS)
        return mask
