"""What the loader hands to a step: a micro-batch, and what had to be left out of it."""

from typing import NamedTuple

from torch import Tensor


class Replaced(NamedTuple):
    """A sample that could not be used, for which another stands in: whose, and why."""

    stream: str
    key: str
    reason: str


class Batch(NamedTuple):
    """One micro-batch.

    images: (b, 3, h, w) uint8, in channels-last order.
    keys: "STREAM/KEY" of each image, of what was really loaded.
    em: (b, h, w) uint8 px of the em under each pixel, 0 where there is no text
        (vae/data/em.py); None where nobody asked.
    replaced: the broken samples that others stood in for.
    too_small: images of streams without an index that were passed over: they do not hold the shape.
    """

    images: Tensor
    keys: tuple[str, ...]
    em: Tensor | None
    replaced: tuple[Replaced, ...]
    too_small: int = 0
