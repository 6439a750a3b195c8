"""Decoded images with what a crop of them needs, and a bounded memory of them."""

from typing import NamedTuple

from cachetools import LRUCache

from shards import RGB, Sample
from vae.data.em import EmMap, em_map

CACHE_BYTES = 256 * 2**20
"""Decoded images each worker keeps, in bytes (our choice: 1,300 pages of 256 x 256)."""


class Picture(NamedTuple):
    """A decoded image, the map of the em where it is asked for, and whether it may be shrunk."""

    pixels: RGB
    em: EmMap | None
    may_shrink: bool

    def holds(self, shape: tuple[int, int]) -> bool:
        """Say whether a crop of `shape` (h, w) px can be cut without enlarging."""
        height, width = self.pixels.shape[:2]
        return height >= shape[0] and width >= shape[1]

    def smaller_than(self, shape: tuple[int, int]) -> str:
        """Say in a few words that it does not hold a shape."""
        height, width = self.pixels.shape[:2]
        return f"{width}x{height} px, smaller than {shape[1]}x{shape[0]}"

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it takes."""
        return self.pixels.nbytes + (0 if self.em is None else self.em.nbytes)


def picture_of(sample: Sample, *, em: bool, may_shrink: bool) -> Picture:
    """Decode a sample.

    Without `em` the label of a page, which takes half as long to parse as the page to decode, is
    not looked at.

    Raises:
        UnreadableImage: when its image is broken.
        ShardError: when its label is.
    """
    pixels = sample.pixels()
    height, width = pixels.shape[:2]
    return Picture(
        pixels,
        em_map(sample.meta, height, width, sample.key) if em else None,
        may_shrink,
    )


def is_photograph(sample: Sample) -> bool:
    """Say whether a sample is a photograph without text in it.

    Raises:
        ShardError: when its text or label is broken.
    """
    # The text first: a page has some, and then its label need not be parsed.
    return not sample.text and sample.meta.get("kind") == "photo"


class ImageCache:
    """Decoded images, the least recently used leaving first when `limit` bytes are exceeded."""

    def __init__(self, limit: int) -> None:
        self._held: LRUCache[tuple[str, int], Picture] = LRUCache(limit, lambda held: held.nbytes)

    @property
    def size(self) -> int:
        """Return the bytes held."""
        return int(self._held.currsize)

    def get(self, key: tuple[str, int]) -> Picture | None:
        """Return what was put under `key`, or None."""
        return self._held.get(key)

    def put(self, key: tuple[str, int], picture: Picture) -> None:
        """Keep an image, unless it alone exceeds the limit."""
        if picture.nbytes <= self._held.maxsize:
            self._held[key] = picture
