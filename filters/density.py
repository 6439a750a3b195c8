"""How much text an image holds, from where its lines are: reading them all would be too slow.

A line of width w and height h holds about k w/h characters, and k follows from the script: about
2.1 for Latin and 1.15 for Chinese letters, measured on detected boxes of drawn pages. Reading
the start of two lines settles k: on 32 crops of real documents, 256 px, the estimate was 0.83 to
1.20 times the truth.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import cv2
import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt

from filters.ocr import LIMIT_SIDE, Detector, Quadrilateral, Recognizer, box_size, cut_line
from shards import RGB, Settings

MEAN_PITCH = 1.55
"""Characters per line height when no line is read: the geometric mean of 2.1 and 1.15, so that
either script is off by a third at most."""

SAMPLE_ASPECT = 12.0
"""Line heights of a sampled line that are read: 14 Chinese or 25 Latin letters."""

COLUMN = 1.5
"""Boxes taller than this many widths are lines written downwards."""


class Density(Settings):
    """Drop images that hold little text for their size.

    Report arXiv 2605.13565 keeps real images of high character density and does not give its
    threshold. Our choice of `minimum`, 1,000 characters per megapixel: a little below a page
    filled with 20 px letters (1,300 Chinese, 1,700 English), the largest that still count as
    small text, and what an image has with a fifth of its area in 12 px letters. Photographs with
    a sign have 5 to 20. `maximum`, if given, drops what is more crowded, for instance text too
    small to be read (8 px: 9,000 and more).

    Images are reduced to `max_side` px for finding lines only (letters below about 6 px after
    that are missed); scores are in px of the image as it is.
    """

    kind: Literal["density"] = "density"
    minimum: float = Field(default=1000, ge=0)
    maximum: float | None = Field(default=None, gt=0)
    sampled_lines: NonNegativeInt = 2
    max_side: int = Field(default=1536, ge=256, le=2000)
    limit_side: PositiveInt = LIMIT_SIDE
    threads: PositiveInt = 1

    @cached_property
    def detector(self) -> Detector:
        """Build the engine that finds lines, once per process."""
        return Detector(limit_side=self.limit_side, threads=self.threads)

    @cached_property
    def recognizer(self) -> Recognizer:
        """Build the engine that reads the sampled lines, once per process."""
        return Recognizer(limit_side=self.limit_side, threads=self.threads)

    def score(self, pixels: RGB) -> dict[str, float]:
        """Return `characters`, `characters_per_megapixel` and `line_height_px`.

        The last is the median height of the boxes, left out where no character is found.

        Raises:
            UserError: when no OCR engine is installed.
        """
        height, width = pixels.shape[:2]
        shrink = min(1.0, self.max_side / max(height, width))
        small = _reduced(pixels, shrink)
        boxes = [box / np.float32(shrink) for box in self.detector.boxes(small)]
        count = characters(boxes, self._pitch(pixels, boxes))
        scores = {
            "characters": round(count, 1),
            "characters_per_megapixel": round(1e6 * count / (height * width), 1),
        }
        if count >= 1:
            scores["line_height_px"] = round(line_height(boxes), 1)
        return scores

    def reason(self, scores: dict[str, float]) -> str | None:
        """Decide from scores: `few_characters`, `many_characters` or None."""
        density = scores["characters_per_megapixel"]
        if density < self.minimum:
            return "few_characters"
        if self.maximum is not None and density > self.maximum:
            return "many_characters"
        return None

    def _pitch(self, pixels: RGB, boxes: Sequence[Quadrilateral]) -> float:
        """Count the characters per line height in a few lines; texture reads as none."""
        lines = sampled(boxes, self.sampled_lines)
        if not lines:
            return MEAN_PITCH
        read, heights = 0, 0.0
        for box in lines:
            line = cut_line(pixels, box, aspect=SAMPLE_ASPECT)
            read += len("".join(self.recognizer.read_line(line).split()))
            heights += line.shape[1] / line.shape[0]
        return read / heights


def characters(boxes: Sequence[Quadrilateral], pitch: float) -> float:
    """Estimate the number of characters, spaces not counted, as pitch · sum(length / height).

    `pitch` is in characters per line height. Our choice of formula.
    """
    return pitch * sum(length / max(1.0, height) for length, height in map(_along_first, boxes))


def line_height(boxes: Sequence[Quadrilateral]) -> float:
    """Return the median height of the lines in px, measured across the writing."""
    return float(np.median([_along_first(box)[1] for box in boxes]))


def sampled(boxes: Sequence[Quadrilateral], count: int) -> list[Quadrilateral]:
    """Choose up to `count` level lines, spread from top to bottom, of at least median length.

    Lines written downwards are never chosen: the engine cannot read their upright letters.
    """
    level = [box for box in boxes if box_size(box)[1] <= COLUMN * box_size(box)[0]]
    if not level or not count:
        return []
    aspects = [width / max(1.0, height) for width, height in map(box_size, level)]
    middle = np.median(aspects)
    long = [box for box, aspect in zip(level, aspects, strict=True) if aspect >= middle]
    places = (np.arange(min(count, len(long))) + 0.5) / min(count, len(long)) * len(long)
    return [long[int(place)] for place in places]


def _along_first(box: Quadrilateral) -> tuple[float, float]:
    width, height = box_size(box)
    return (height, width) if height > COLUMN * width else (width, height)


def _reduced(pixels: RGB, shrink: float) -> RGB:
    if shrink >= 1:
        return pixels
    height, width = pixels.shape[:2]
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
