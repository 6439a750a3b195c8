"""Images as files have them and as models see them: the one way between the two.

Pixels are uint8 in [0, 255] with the channels last, images float32 in [-1, 1] with the channels
before rows and columns.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_image(pixels: NDArray[np.uint8]) -> Tensor:
    """(..., h, w, c) uint8 -> (..., c, h, w) float32 in [-1, 1], in channels-last order.

    The leading axes may be any, also none; the result shares no memory with `pixels`.
    """
    # A copy: decoded images are read-only, which torch warns about.
    return as_image(torch.from_numpy(np.array(pixels)).movedim(-1, -3))


def as_image(pixels: Tensor) -> Tensor:
    """(..., c, h, w) uint8 -> the same float32 in [-1, 1]; an image of floats stays as it is."""
    return pixels if pixels.is_floating_point() else pixels.float().div_(127.5).sub_(1)


def to_pixels(image: Tensor) -> NDArray[np.uint8]:
    """(..., c, h, w) float in about [-1, 1] -> (..., h, w, c) uint8, clamped and rounded.

    The inverse of `to_image`: it gives back every pixel. The tensor may be on any device.
    """
    rounded = image.detach().clamp(-1, 1).add(1).mul(127.5).round().byte()
    values: NDArray[Any] = rounded.movedim(-3, -1).contiguous().cpu().numpy()
    return values
