"""Batches: from streams of shards to tensors, a pure function of (seed, step).

There is no iterator state: batch s is what it is on any worker, before or after a resume. Use it
as DataLoader(batches, batch_size=None, sampler=range(start, end), num_workers=n).

Draw d of a stream is sample `Order(len(stream), seed)[d]`, as `shards.Stream` reads it: every
epoch of every stream holds each of its samples once.
"""

from collections.abc import Collection, Mapping
from typing import Any
from zlib import crc32

import cv2
import numpy as np
from cachetools import LRUCache
from torch import Tensor
from torch.utils.data import Dataset

from shards import RGB, Order, Sample, ShardError, ShardReader, UnreadableImage
from shards.store import Where
from vae.pixels import to_image
from vae.training.curriculum import Curriculum, Draw

CACHE_BYTES = 256 * 2**20
"""Decoded images each worker keeps, in bytes (our choice: 1,300 pages of 256 x 256)."""

TRIES = 4
"""Samples tried for one draw before broken images stop the run (our choice)."""


class Batches(Dataset[Tensor]):
    """Float batches (b, 3, r, r) in [-1, 1], r the resolution of the stage at that step.

    Text is cropped at its native scale and never resized: the size of a character in pixels is
    what the curriculum is about. Only photographs of the streams in `resized` are resized.
    """

    def __init__(
        self,
        streams: Mapping[str, Where],
        curriculum: Curriculum,
        seed: int,
        *,
        resized: Collection[str] = ("general",),
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Open the streams the curriculum draws from.

        Raises:
            UserError: when a stream is missing or holds no finished shard.
        """
        curriculum.check_streams(streams)
        self._arguments = (streams, curriculum, seed, resized, cache_bytes)
        self.curriculum, self.seed = curriculum, seed
        self.resized = frozenset(resized)
        self.readers = {name: ShardReader(streams[name]) for name in curriculum.streams}
        self.orders = {name: Order(len(reader), seed) for name, reader in self.readers.items()}
        self._cache = ImageCache(cache_bytes)

    def __reduce__(self) -> tuple[Any, ...]:
        """Reopen in a worker process: file handles and decoded images do not travel."""
        return _reopened, self._arguments

    def __len__(self) -> int:
        """Count the steps of the curriculum."""
        return self.curriculum.steps

    def __getitem__(self, step: int) -> Tensor:
        """Draw the batch of `step`.

        Raises:
            ShardError: when a shard is damaged or TRIES images in a row cannot be opened.
        """
        stage, _ = self.curriculum.at(step)
        crops = [self._crop(draw, stage.resolution) for draw in self.curriculum.draws(step)]
        return to_image(np.stack(crops))

    def _crop(self, draw: Draw, side: int) -> RGB:
        """Cut a square from the sample of a draw, at a place that the seed and the draw decide."""
        pixels, photograph = self._sample(draw)
        rng = np.random.default_rng([self.seed, crc32(draw.stream.encode()), draw.number])
        if photograph and draw.stream in self.resized:
            return resized_crop(pixels, side, rng)
        return native_crop(pixels, side, rng)

    def _sample(self, draw: Draw) -> tuple[RGB, bool]:
        """Open the sample of a draw, or if it is broken the one the draw has an epoch later."""
        order = self.orders[draw.stream]
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


def _reopened(
    streams: Mapping[str, Where],
    curriculum: Curriculum,
    seed: int,
    resized: Collection[str],
    cache_bytes: int,
) -> Batches:
    return Batches(streams, curriculum, seed, resized=resized, cache_bytes=cache_bytes)


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
