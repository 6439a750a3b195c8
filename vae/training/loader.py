"""Batches: from streams of shards to uint8 tensors, a pure function of (seed, n, m).

There is no iterator state: micro-batch m of the step at n is what it is on any worker, before or
after a resume. `load` yields those at given places, made by any number of loader processes.

Draw d of a stream is sample `Order(len(stream), seed)[d]`, as `shards.Stream` reads it: every
epoch of every stream holds each of its samples once. A sample that is broken or cut short is
replaced as there, by the one its draw has an epoch later, and reported in the batch.
"""

import signal
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from shards import ShardError, ShardReader, UnreadableImage, UserError
from shards.store import Bucket, Where
from shards.stream import TRIES
from vae.training.batch import Batch, Replaced
from vae.training.crops import Crop, Shape, native, shrunk
from vae.training.curriculum import Curriculum, Draw, Sizes
from vae.training.pictures import CACHE_BYTES, ImageCache, Picture, picture_of
from vae.training.stage import Stage, check_streams, streams_of

Place = tuple[int, int]
"""(n, m): micro-batch m of the step at n."""


def open_streams(streams: Mapping[str, Where], stages: Sequence[Stage]) -> dict[str, ShardReader]:
    """Open the streams that the stages draw from.

    Raises:
        UserError: when a stream is missing or holds no finished shard.
    """
    check_streams(stages, streams)
    return {name: ShardReader(streams[name]) for name in streams_of(stages)}


def sizes_of(readers: Mapping[str, ShardReader]) -> dict[str, Sizes]:
    """Return the sizes of the samples of every stream, as a curriculum takes them."""
    return {name: reader.index.sizes for name, reader in readers.items()}


class Batches(Dataset[Batch]):
    """Micro-batches of the shape that the curriculum says, by their place.

    Text is cropped at its native scale and never resized: the size of a character in pixels is
    what the curriculum is about. Only photographs of the streams in `resized` may be shrunk.
    """

    def __init__(
        self,
        readers: Mapping[str, ShardReader],
        curriculum: Curriculum,
        *,
        resized: Collection[str] = ("general",),
        em: bool = False,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Draw from the readers as the curriculum, made of their sizes, says.

        `em` asks for the map of the em of every image.
        """
        self._arguments = (readers, curriculum, resized, em, cache_bytes)
        self.readers, self.curriculum, self.em = readers, curriculum, em
        self.resized = frozenset(resized)
        self._cache = ImageCache(cache_bytes)

    def __reduce__(self) -> tuple[Any, ...]:
        """Begin anew in a worker process: decoded images do not travel."""
        return _anew, self._arguments

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
        )

    def keys(self, n: int, m: int) -> list[str]:
        """Return what micro-batch m of the step at n draws, as STREAM/KEY."""
        micro = self.curriculum.at(n).micro
        draws = self.curriculum.draws(n)[m * micro : (m + 1) * micro]
        return [f"{d.stream}/{self.readers[d.stream].index.key(d.sample)}" for d in draws]

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
        for epochs in range(TRIES):
            sample = self.curriculum.again(n, draw, epochs) if epochs else draw.sample
            key = reader.index.key(sample)
            try:
                picture = self._open(draw.stream, sample)
                height, width = picture.pixels.shape[:2]
                if height < shape[0] or width < shape[1]:
                    reason = f"{width}x{height} px, smaller than {shape[1]}x{shape[0]}"
                    raise UnreadableImage(key, reason)
            except UnreadableImage as error:
                replaced.append(Replaced(draw.stream, key, error.reason))
            except ShardError as error:
                replaced.append(Replaced(draw.stream, key, str(error)))
            else:
                return key, picture
        raise ShardError(
            f"stream {draw.stream}: {TRIES} samples drawn in a row cannot be used, the last one "
            f"{replaced[-1].key} ({replaced[-1].reason}); filter or remake {reader.store}"
        )

    def _open(self, stream: str, number: int) -> Picture:
        """Return a sample, decoded once while it fits into memory."""
        picture = self._cache.get((stream, number))
        if picture is None:
            sample = self.readers[stream][number]
            picture = picture_of(sample, em=self.em, resized=stream in self.resized)
            self._cache.put((stream, number), picture)
        return picture


def _anew(
    readers: Mapping[str, ShardReader],
    curriculum: Curriculum,
    resized: Collection[str],
    em: bool,
    cache_bytes: int,
) -> Batches:
    return Batches(readers, curriculum, resized=resized, em=em, cache_bytes=cache_bytes)


def load(
    batches: Batches, places: Iterable[Place], *, loaders: int = 0, pinned: bool = False
) -> Iterator[Batch]:
    """Yield the batches at `places`, in order, made by `loaders` processes or by this one (0).

    `pinned` ones can be copied to a GPU while it computes.

    Raises:
        UserError: what a batch raises, whoever made it; or when a loader process was killed.
    """
    remote = any(isinstance(reader.store, Bucket) for reader in batches.readers.values())
    loader: DataLoader[Batch | UserError] = DataLoader(
        _Attempts(batches),
        batch_size=None,
        sampler=places,
        num_workers=loaders,
        collate_fn=_as_it_is,
        pin_memory=pinned,
        worker_init_fn=_undisturbed,
        # Connections to a bucket do not survive a fork.
        multiprocessing_context="spawn" if loaders and remote else None,
    )
    try:
        for batch in loader:
            if isinstance(batch, UserError):
                raise batch
            # Pinning makes lists of tuples.
            yield batch._replace(keys=tuple(batch.keys), replaced=tuple(batch.replaced))
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise UserError(
            f"a loader process was killed ({str(error).splitlines()[0]}); give fewer --loaders or "
            "more memory, then run the same command again"
        ) from error


class _Attempts(Dataset["Batch | UserError"]):
    """Batches, or what came of trying: an error that crosses processes stays the line it is."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __getitem__(self, place: Place) -> Batch | UserError:
        try:
            return self._batches[place]
        except UserError as error:
            return error


def _as_it_is(value: Any) -> Any:
    return value


def _undisturbed(worker: int) -> None:
    """Leave signals to the process that trains, which finishes its step and may need batches.

    Ctrl-C reaches all processes of a terminal, and SIGTERM those of a job; asked a second time, as
    torch does at the end, a loader goes.
    """
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
