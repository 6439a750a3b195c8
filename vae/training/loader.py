"""Batches: from streams of shards to tensors, a pure function of (seed, n, m).

There is no iterator state: micro-batch m of the step at n is what it is on any worker, before or
after a resume. Use it as DataLoader(batches, batch_size=None, sampler=pairs of n and m,
num_workers=...).

Draw d of a stream is sample `Order(len(stream), seed)[d]`, as `shards.Stream` reads it: every
epoch of every stream holds each of its samples once.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from zlib import crc32

import cv2
import numpy as np
from cachetools import LRUCache
from torch import Tensor
from torch.utils.data import Dataset

from shards import RGB, Sample, ShardError, ShardReader, UnreadableImage
from shards.store import Where
from vae.pixels import to_image
from vae.training.curriculum import Curriculum, Draw, Sizes
from vae.training.stage import Stage, check_streams, streams_of

CACHE_BYTES = 256 * 2**20
"""Decoded images each worker keeps, in bytes (our choice: 1,300 pages of 256 x 256)."""

TRIES = 4
"""Samples tried for one draw before broken images stop the run (our choice)."""


def open_streams(streams: Mapping[str, Where], stages: Sequence[Stage]) -> dict[str, ShardReader]:
    """Open the streams that the stages draw from.

    Raises:
        UserError: when a stream is missing or its folder holds no finished shard.
    """
    check_streams(stages, streams)
    return {name: ShardReader(streams[name]) for name in streams_of(stages)}


def sizes_of(readers: Mapping[str, ShardReader]) -> dict[str, Sizes]:
    """Return the sizes of the samples of every stream, as a curriculum takes them."""
    return {name: reader.index.sizes for name, reader in readers.items()}


class Batches(Dataset[Tensor]):
    """Micro-batches (b, 3, h, w), float in [-1, 1], of the shape that the curriculum says.

    Text is cropped at its native scale and never resized: the size of a character in pixels is
    what the curriculum is about. Only photographs of the streams in `resized` are resized.
    """

    def __init__(
        self,
        readers: Mapping[str, ShardReader],
        curriculum: Curriculum,
        *,
        resized: Collection[str] = ("general",),
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Draw from the readers as the curriculum, made of their sizes, says."""
        self._arguments = (readers, curriculum, resized, cache_bytes)
        self.readers, self.curriculum = readers, curriculum
        self.resized = frozenset(resized)
        self._cache = ImageCache(cache_bytes)

    def __reduce__(self) -> tuple[Any, ...]:
        """Begin anew in a worker process: decoded images do not travel."""
        return _anew, self._arguments

    def __getitem__(self, place: tuple[int, int]) -> Tensor:
        """Draw micro-batch m of the step at n, given as (n, m).

        Raises:
            ShardError: when a shard is damaged or TRIES images in a row cannot be opened.
        """
        n, m = place
        knobs = self.curriculum.at(n)
        draws = self.curriculum.draws(n)[m * knobs.micro : (m + 1) * knobs.micro]
        return to_image(np.stack([self._crop(draw, knobs.shape[0]) for draw in draws]))

    def keys(self, n: int, m: int) -> list[str]:
        """Return what micro-batch m of the step at n draws, as STREAM/KEY."""
        micro = self.curriculum.at(n).micro
        draws = self.curriculum.draws(n)[m * micro : (m + 1) * micro]
        return [f"{d.stream}/{self.readers[d.stream].index.key(d.sample)}" for d in draws]

    def _crop(self, draw: Draw, side: int) -> RGB:
        """Cut a square from the sample of a draw, at a place that the seed and the draw decide."""
        pixels, photograph = self._sample(draw)
        seed = self.curriculum.seed
        rng = np.random.default_rng([seed, crc32(draw.stream.encode()), draw.number])
        if photograph and draw.stream in self.resized:
            return resized_crop(pixels, side, rng)
        return native_crop(pixels, side, rng)

    def _sample(self, draw: Draw) -> tuple[RGB, bool]:
        """Open the sample of a draw, or if it is broken the one the draw has an epoch later."""
        order = self.curriculum.orders[draw.stream]
        cause: UnreadableImage | None = None
        for epoch in range(TRIES):
            try:
                return self._open(draw.stream, order[draw.number + epoch * order.samples])
            except UnreadableImage as error:
                cause = error
        raise ShardError(
            f"stream {draw.stream}: {TRIES} images in a row cannot be opened, the last one "
            f"{cause}; filter or remake {self.readers[draw.stream].store}"
        ) from cause

    def _open(self, stream: str, index: int) -> tuple[RGB, bool]:
        """Return (pixels, whether it is a photograph) of a sample, decoded once while it fits."""
        image = self._cache.get((stream, index))
        if image is None:
            sample = self.readers[stream][index]
            image = sample.pixels(), _is_photograph(sample)
            self._cache.put((stream, index), image)
        return image


def _anew(
    readers: Mapping[str, ShardReader],
    curriculum: Curriculum,
    resized: Collection[str],
    cache_bytes: int,
) -> Batches:
    return Batches(readers, curriculum, resized=resized, cache_bytes=cache_bytes)


def _is_photograph(sample: Sample) -> bool:
    return sample.meta.get("kind") == "photo" and not sample.text


class ImageCache:
    """Decoded images, the least recently used leaving first when `limit` bytes are exceeded."""

    def __init__(self, limit: int) -> None:
        self._held: LRUCache[tuple[str, int], tuple[RGB, bool]] = LRUCache(
            limit, lambda value: value[0].nbytes
        )

    @property
    def size(self) -> int:
        """Return the bytes held."""
        return int(self._held.currsize)

    def get(self, key: tuple[str, int]) -> tuple[RGB, bool] | None:
        """Return what was put under `key`, or None."""
        return self._held.get(key)

    def put(self, key: tuple[str, int], value: tuple[RGB, bool]) -> None:
        """Keep `value`, unless it alone exceeds the limit."""
        if value[0].nbytes <= self._held.maxsize:
            self._held[key] = value


def resized_crop(pixels: RGB, side: int, rng: np.random.Generator) -> RGB:
    """Crop a random square, from `side` up to the whole short side, and shrink it to `side`.

    Its side is log-uniform, so each octave of scale is as frequent; never enlarged; half are
    flipped. Area interpolation neither rings nor aliases.
    """
    short = min(pixels.shape[:2])
    if short <= side:
        return native_crop(pixels, side, rng)
    cut = round(side * (short / side) ** rng.random())
    crop = native_crop(pixels, cut, rng)
    small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small[:, ::-1] if rng.random() < 0.5 else small).astype(np.uint8)


def native_crop(pixels: RGB, side: int, rng: np.random.Generator) -> RGB:
    """Crop a random (side, side) square at native scale, reflected where the image is smaller."""
    h, w = pixels.shape[:2]
    down, right = max(0, side - h), max(0, side - w)
    if down or right:
        # "symmetric" repeats the border pixel, so an image of one row can be padded too.
        pixels = np.pad(pixels, ((0, down), (0, right), (0, 0)), mode="symmetric")
        h, w = pixels.shape[:2]
    y, x = (int(rng.integers(n - side + 1)) for n in (h, w))
    return pixels[y : y + side, x : x + side]
