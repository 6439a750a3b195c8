"""Batches: from streams of shards to uint8 tensors, a pure function of (seed, n, m).

There is no iterator state: micro-batch m of the step at n is what it is on any worker, before or
after a resume.

Draw d of a stream is sample `Order(len(stream), seed)[d]`, as `shards.Stream` reads it: every
epoch of every stream holds each of its samples once. A sample that is broken or cut short is
replaced as there, by the one its draw has an epoch later, and reported in the batch. Streams that
nobody can index have no such order: see vae/data/unindexed.py.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, Self
from zlib import crc32

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from shards import ShardError, ShardReader, UnreadableImage
from shards.store import Places
from shards.stream import TRIES
from vae.curriculum.curriculum import Curriculum, Draw, Sizes
from vae.curriculum.stage import Stage, check_streams, streams_of
from vae.data.batch import Batch, Replaced
from vae.data.crops import Crop, Shape, native, shrunk
from vae.data.pictures import CACHE_BYTES, ImageCache, Picture, is_photograph, picture_of
from vae.data.unindexed import ANY_SIZE, Reading, Unindexed, open_stream

Place = tuple[int, int]
"""(n, m): micro-batch m of the step at n."""

Readers = Mapping[str, ShardReader | Unindexed]
"""The streams by name."""


def open_streams(
    streams: Mapping[str, Places], stages: Sequence[Stage]
) -> dict[str, ShardReader | Unindexed]:
    """Open the streams that the stages draw from.

    Raises:
        UserError: when a stream is missing or holds no finished shard.
    """
    check_streams(stages, streams)
    return {name: open_stream(streams[name]) for name in streams_of(stages)}


def sizes_of(readers: Readers) -> dict[str, Sizes]:
    """Return the sizes of the samples of every stream, as a curriculum takes them."""
    return {
        name: ANY_SIZE if isinstance(reader, Unindexed) else reader.sizes()
        for name, reader in readers.items()
    }


class Batches(Dataset[Batch]):
    """Micro-batches of the shape that the curriculum says, by their place.

    Text is cropped at its native scale and never resized: the size of a character in pixels is
    what the curriculum is about. Only photographs of the streams in `resized` may be shrunk.
    """

    def __init__(
        self,
        readers: Readers,
        curriculum: Curriculum,
        *,
        resized: Collection[str] = ("general",),
        em: bool = False,
        rank: int = 0,
        world: int = 1,
        start: int = 0,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Draw from the readers as the curriculum, made of their sizes, says.

        `em` asks for the map of the em of every image. The others matter to streams without an
        index alone: their tars are shared by the ranks, and what was drawn before `start` is
        skipped.
        """
        self._options: dict[str, Any] = {"resized": resized, "em": em, "rank": rank, "world": world}
        self._options |= {"start": start, "cache_bytes": cache_bytes}
        self.readers, self.curriculum, self.em = readers, curriculum, em
        self.resized = frozenset(resized)
        self._rank, self._world, self._start = rank, world, start
        self._cache = ImageCache(cache_bytes)
        self._readings: dict[str, Reading] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Begin anew in a worker process: decoded images do not travel."""
        return _anew, (type(self), self.readers, self.curriculum, self._options)

    def beginning(self, start: int) -> Self:
        """Return the same for a run that begins at n=`start`."""
        options = self._options.copy()
        options["start"] = start
        return type(self)(self.readers, self.curriculum, **options)

    def fingerprints(self) -> dict[str, str]:
        """Name the samples of each stream, wherever they lie, in 16 hexadecimal digits."""
        return {name: reader.fingerprint for name, reader in self.readers.items()}

    def __getitem__(self, place: Place) -> Batch:
        """Draw the micro-batch at a place.

        Raises:
            ShardError: when TRIES samples that one draw has in a row cannot be used.
        """
        n, m = place
        knobs = self.curriculum.at(n)
        draws = self.curriculum.draws(n)[m * knobs.micro : (m + 1) * knobs.micro]
        images = np.empty((len(draws), *knobs.shape, 3), np.uint8)
        em = np.empty((len(draws), *knobs.shape), np.uint8) if self.em else None
        keys: list[str] = []
        replaced: list[Replaced] = []
        before = self._too_small
        for k, draw in enumerate(draws):
            key, picture = self._picture(n, draw, knobs.shape, replaced)
            keys.append(f"{draw.stream}/{key}")
            crop = self._crop(draw, picture, knobs.shape)
            crop.cut(picture.pixels, images[k])
            if em is not None and picture.em is not None:
                crop.cut_em(picture.em, em[k])
        return Batch(
            torch.from_numpy(images).permute(0, 3, 1, 2),
            tuple(keys),
            None if em is None else torch.from_numpy(em),
            tuple(replaced),
            self._too_small - before,
        )

    def keys(self, n: int, m: int) -> list[str]:
        """Return what micro-batch m of the step at n draws, as STREAM/KEY.

        Where a stream has no index, the number of the draw stands for the key.
        """
        micro = self.curriculum.at(n).micro
        draws = self.curriculum.draws(n)[m * micro : (m + 1) * micro]
        return [f"{draw.stream}/{self._key(draw)}" for draw in draws]

    def _key(self, draw: Draw) -> str:
        reader = self.readers[draw.stream]
        if isinstance(reader, Unindexed):
            return f"draw {draw.number}"
        return reader.index.key(draw.sample)

    def _crop(self, draw: Draw, picture: Picture, shape: Shape) -> Crop:
        """Choose the part of an image that a draw takes; the seed and the draw decide."""
        rng = np.random.default_rng(
            [self.curriculum.seed, crc32(draw.stream.encode()), draw.number]
        )
        size = picture.pixels.shape[:2]
        return shrunk(size, shape, rng) if picture.may_shrink else native(size, shape, rng)

    def _picture(
        self, n: int, draw: Draw, shape: Shape, replaced: list[Replaced]
    ) -> tuple[str, Picture]:
        """Open the sample of a draw, or if it is broken the one that the draw has an epoch later.

        Returns its key, too; what could not be used is added to `replaced`.
        """
        reader = self.readers[draw.stream]
        if isinstance(reader, Unindexed):
            return self._reading(draw.stream, reader).take(shape, replaced)
        for epochs in range(TRIES):
            sample = self.curriculum.again(n, draw, epochs) if epochs else draw.sample
            key = reader.index.key(sample)
            try:
                picture = self._open(draw.stream, sample)
                if not picture.holds(shape):
                    raise UnreadableImage(key, picture.smaller_than(shape))
            except UnreadableImage as error:
                replaced.append(Replaced(draw.stream, key, error.reason))
            except ShardError as error:
                replaced.append(Replaced(draw.stream, key, str(error)))
            else:
                return key, picture
        raise ShardError(
            f"stream {draw.stream}: {TRIES} samples drawn in a row cannot be used, the last one "
            f"{replaced[-1].key} ({replaced[-1].reason}); filter or remake {reader.name}"
        )

    def _open(self, stream: str, number: int) -> Picture:
        """Return a sample, decoded once while it fits into memory."""
        picture = self._cache.get((stream, number))
        if picture is None:
            reader = self.readers[stream]
            assert isinstance(reader, ShardReader), "no sample of other streams has a number"
            sample = reader[number]
            shrink = stream in self.resized and is_photograph(sample)
            picture = picture_of(sample, em=self.em, may_shrink=shrink)
            self._cache.put((stream, number), picture)
        return picture

    def _reading(self, stream: str, reader: Unindexed) -> Reading:
        """Return where this process is in a stream without an index; begun when first drawn."""
        if stream not in self._readings:
            loader = get_worker_info()
            loaders = 1 if loader is None else loader.num_workers
            part = self._rank * loaders + (0 if loader is None else loader.id)
            parts = self._world * loaders
            skip = self.curriculum.drawn(self._start)[stream] // parts
            decode = partial(picture_of, em=self.em, may_shrink=stream in self.resized)
            samples = reader.read(part, parts, self.curriculum.seed, skip)
            self._readings[stream] = Reading(stream, samples, decode)
        return self._readings[stream]

    @property
    def _too_small(self) -> int:
        return sum(reading.too_small for reading in self._readings.values())


def _anew(
    kind: type[Batches], readers: Readers, curriculum: Curriculum, options: Mapping[str, Any]
) -> Batches:
    return kind(readers, curriculum, **options)
