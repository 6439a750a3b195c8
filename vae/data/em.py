"""The em of the text under each pixel: maps from labels, and what goes wrong inside text by size.

A map of the em is (h, w) uint8: the em in px of the line of text that a pixel belongs to, 0 where
there is none and 255 for all that is larger. Labels are those of rendered pages (docs/render.md):
`meta["lines"]`, each with `size_px`, a `box` and the boxes of its `characters`.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shards import ShardError

EmMap = NDArray[np.uint8]
"""(h, w) uint8 px of em, 0 where there is no text."""

LOWEST = (1, 8, 12, 20)
"""Smallest em in px of each class of sizes (our choice: the report's 5-20 px, cut where Latin and
then Han can be told apart, and all that is larger)."""

EXACT = 4e-10
"""Mean squared error in [-1, 1] that counts as none, which keeps PSNR to 100 dB (our choice)."""

CLASSES = ("under 8", "8-11", "12-19", "from 20")
"""What the classes are called, px of em."""

_WHAT = ("absolute", "squared", "pixels")

_SUMS = [f"text_sums/{name}/{what}" for name in CLASSES for what in _WHAT]


def size_class(em: float) -> str:
    """Name the class of an em in px."""
    return CLASSES[max(0, bisect_right(LOWEST, em) - 1)]


def em_map(meta: Mapping[str, Any], height: int, width: int, name: str) -> EmMap:
    """Draw the lines of a label into a map (height, width); all 0 for a label without lines.

    A line fills its box. On a warped page boxes still lie along the picture's sides while lines do
    not: there a line fills the convex hull of its characters. Where lines overlap the later one is
    on top, as it was drawn.

    Raises:
        ShardError: naming the sample, when a line has no size or box.
    """
    drawn = np.zeros((height, width), np.uint8)
    try:
        warped = bool(meta.get("warped"))
        for line in meta.get("lines", ()):
            em = min(255, max(1, round(line["size_px"])))
            if warped:
                hull = _hull(line["characters"])
                if len(hull):
                    cv2.fillConvexPoly(drawn, hull, em)
            else:
                left, top, right, bottom = (max(0, round(at)) for at in line["box"])
                drawn[top:bottom, left:right] = em
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ShardError(f"sample {name}: its lines are no lines of text with boxes") from error
    return drawn


def _hull(boxes: Sequence[Sequence[float]]) -> NDArray[np.int32]:
    """Return the convex hull (k, 1, 2) of the pixels in boxes; a space has none."""
    inked = np.array([box for box in boxes if box[0] < box[2] and box[1] < box[3]], np.int32)
    if not len(inked):
        return inked
    left, top, right, bottom = inked.T
    right, bottom = right - 1, bottom - 1
    corners = [(left, top), (right, top), (left, bottom), (right, bottom)]
    points = np.concatenate([np.stack(corner, 1) for corner in corners])
    return cv2.convexHull(points).astype(np.int32)


def text_sums(reconstruction: Tensor, image: Tensor, em: Tensor) -> dict[str, Tensor]:
    """Add up what is wrong inside text, by size; nothing is read back from the device.

    Args:
        reconstruction: (b, c, h, w) in [-1, 1].
        image: what it should be, the same.
        em: (b, h, w) uint8, the map of the em.

    Returns:
        Scalars named `text_sums/CLASS/WHAT`: of the pixels of each class the sums of `absolute` and
        `squared` errors, both the mean over colours, and `pixels`, their number.
    """
    error = (reconstruction - image).detach().float()
    measures = torch.stack([error.abs().mean(1), error.square().mean(1), torch.ones_like(em) * 1.0])
    # Compared with plain numbers: a tensor of the bounds would be copied, and the host would wait.
    above = [em >= lowest for lowest in LOWEST]
    inside = [*(here & ~larger for here, larger in pairwise(above)), above[-1]]
    sums = torch.stack([(measures * mask).sum((1, 2, 3)) for mask in inside])
    return dict(zip(_SUMS, sums.flatten(), strict=True))


def text_scores(row: Mapping[str, float]) -> dict[str, float]:
    """Return a row with scores in place of the sums: L1 and PSNR (dB) of images in [-1, 1].

    A row without sums stays as it is, and a class without pixels has no score. Sums may be added
    up or averaged over as many batches as are to count.
    """
    scores = {name: value for name, value in row.items() if name not in _SUMS}
    if scores.keys() == row.keys():
        return scores
    for name in CLASSES:
        absolute, squared, pixels = (row[f"text_sums/{name}/{what}"] for what in _WHAT)
        if pixels:
            scores[f"text_l1/{name}"] = absolute / pixels
            scores[f"text_psnr/{name}"] = 10 * math.log10(4 / max(squared / pixels, EXACT))
    return scores
