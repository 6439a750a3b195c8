"""Boxes on a picture: windows to cut out of it, and outlines to draw over it.

A box is (left, top, right, bottom) in px, the last two outside, as the renderer stores them in
`meta["lines"]`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards.images.decoding import RGB
from shards.sample import Sample

Window = tuple[int, int, int, int]
"""A box within which something is cut or drawn: (left, top, right, bottom) px."""

BEFORE_PX = 4
"""How far before a corner its window begins, px."""

LINE, CHARACTER = 1, 2
"""What `outlines` writes where the outline of a line or of a character is."""

COLOURS = np.array([(0, 0, 0), (230, 30, 30), (40, 90, 255)], np.uint8)
"""The colour of each of these: lines are red, characters blue. That of 0 is not drawn."""


def window(pixels: RGB, corner: Sequence[float], width: int, height: int) -> Window:
    """Return the part of a picture, at most this large, that begins just before (x, y).

    It lies inside the picture. Of `corner` only two numbers are read, so that a box will do.
    """
    high, wide = pixels.shape[:2]
    left = min(max(0, round(corner[0]) - BEFORE_PX), max(0, wide - width))
    top = min(max(0, round(corner[1]) - BEFORE_PX), max(0, high - height))
    return left, top, min(wide, left + width), min(high, top + height)


def cut(pixels: RGB, corner: Sequence[float], width: int, height: int) -> RGB:
    """Cut that window out of (h, w, 3) uint8."""
    left, top, right, bottom = window(pixels, corner, width, height)
    return pixels[top:bottom, left:right]


def outlines(
    lines: Iterable[Mapping[str, Any]], within: Window, *, times: int = 1
) -> NDArray[np.uint8]:
    """Draw the boxes of lines and of their characters within a window, enlarged `times`.

    Outlines lie inside their boxes and stay one px wide, so that the ink they bound can be seen in
    an enlarged picture. Lines are drawn over characters; a space has no area and no outline.

    Returns:
        (h, w) of the enlarged window: LINE, CHARACTER, or 0 where nothing is drawn.
    """
    left, top, right, bottom = within
    drawn = np.zeros((times * (bottom - top), times * (right - left)), np.uint8)

    def frame(box: Sequence[float], mark: int) -> None:
        x0, y0, x1, y1 = (
            times * (round(at) - start) for at, start in zip(box, 2 * within[:2], strict=True)
        )
        rows, columns = slice(max(0, y0), max(0, y1)), slice(max(0, x0), max(0, x1))
        for x in (x0, x1 - 1):
            if 0 <= x < drawn.shape[1]:
                drawn[rows, x] = mark
        for y in (y0, y1 - 1):
            if 0 <= y < drawn.shape[0]:
                drawn[y, columns] = mark

    lines = list(lines)
    for line in lines:
        for box in line.get("characters", ()):
            if box[0] < box[2] and box[1] < box[3]:
                frame(box, CHARACTER)
    for line in lines:
        frame(line["box"], LINE)
    return drawn


def enlarged(pixels: RGB, times: int) -> RGB:
    """Return (h, w, 3) uint8 with every pixel as a square of `times` px."""
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def draw_boxes(sample: Sample, *, times: int = 1) -> RGB:
    """Return the picture of a sample, enlarged `times`, with the boxes of lines and characters.

    A sample without lines has no boxes.
    """
    pixels = sample.pixels()
    height, width = pixels.shape[:2]
    drawn = outlines(sample.meta.get("lines", []), (0, 0, width, height), times=times)
    return np.where(drawn[..., None] > 0, COLOURS[drawn], enlarged(pixels, times))
