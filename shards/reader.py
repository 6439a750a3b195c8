"""ShardReader: random access to the samples of tars, by number and by key.

An index says where each file lies, so a sample is one positional read and "sample i" is the same
on every worker. Only shards with a sidecar exist for a reader; tars that others made are read by
`ShardReader.foreign`.

The tars of a folder are mapped into memory: once its pages are mapped, a sample is copied in half
the time that `pread` takes. Pages that are not in memory are asked of the kernel some samples
ahead, which from a cold disk in shuffled order beats threads that call `pread`. No file may be cut
short while it is read, or the system ends the process; shards are replaced whole, never rewritten.
From a bucket, a sample is one range, and threads fetch some samples ahead.
"""

import os
import resource
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from mmap import MADV_WILLNEED, PAGESIZE, mmap
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from shards.ahead import ahead, announced
from shards.dataset import Dataset
from shards.errors import ShardError, StoreError, UnreadableImage, UserError
from shards.images.decoding import open_bounded, oriented_size
from shards.index import MAX_SIDE, Index, Place, read_index
from shards.sample import Sample
from shards.store import (
    Bucket,
    Folder,
    Places,
    RandomAccessFile,
    Store,
    Where,
    each_of,
    open_store,
)

MAX_OPEN = min(8192, resource.getrlimit(resource.RLIMIT_NOFILE)[0] % 2**31 // 4)
"""Tars a reader holds open, the one opened first being closed (our choice: a quarter of what
`ulimit -n` allows, as a trainer has a reader for each stream). Reading at random from more tars is
six times slower: each sample then maps its tar anew."""

WINDOW = 32
"""Samples under way ahead of the one in use (our choice: from a bucket that answers in 20 ms, up to
1,600 samples a second)."""

OnError = Literal["raise", "skip"]


class ShardReader:
    """The samples of every finished shard in a folder or bucket, or in several, numbered from 0.

    Those of several places are numbered on from one place to the next: it is the reader of one
    folder that holds all of their shards.

    It may be used from several threads, and sent to other processes, each of which keeps its own
    `skipped`: what was wrong with each sample that was left out, by number.
    """

    def __init__(
        self,
        where: Places,
        *,
        on_error: OnError = "raise",
        check: bool = False,
        index: Index | None = None,
    ) -> None:
        """Read the sidecars of a folder or bucket, or take their `index` as read before.

        Args:
            where: the folder or bucket, or several.
            on_error: what iteration does at a sample that cannot be read: stop with its name, or
                note it in `skipped` and go on. Asking for one sample always raises.
            check: compare the CRC-32 of each sample read with its sidecar's.
            index: where the samples lie; read from the sidecars when left out.

        Raises:
            UserError: when a folder is missing, holds no finished shard or is given twice.
            ShardError: when a sidecar is broken.
        """
        if on_error not in ("raise", "skip"):
            raise UserError(f"on_error={on_error!r}; give raise or skip")
        self.stores = tuple(map(open_store, each_of(where)))
        self.remote = any(isinstance(store, Bucket) for store in self.stores)
        self.on_error: OnError = on_error
        self.check = check
        self.skipped: dict[int, str] = {}
        self.index = _read_all(self.stores) if index is None else index
        self._samples = len(self.index)
        if not self._samples:
            raise Dataset(self.stores[0]).nothing()
        self._begin()

    @classmethod
    def foreign(cls, where: Where, *, on_error: OnError = "raise") -> Self:
        """Open WebDataset tars that others made, without sidecars, by scanning their headers.

        What cannot be read (a damaged header, a link that leads nowhere, a device, a path that
        leads out) raises, or is counted in `index.skips` where `on_error` is skip. Files that
        belong to no sample are always counted there.

        Raises:
            UserError: when the folder is missing or holds no sample.
            ShardError: at the first thing that cannot be read, unless `on_error` is skip.
        """
        from shards.foreign import scan

        store = open_store(where)
        return cls(store, on_error=on_error, index=scan(store, strict=on_error == "raise"))

    def __len__(self) -> int:
        """Count the samples."""
        return self._samples

    @property
    def name(self) -> str:
        """Where the samples lie, for messages."""
        return ", ".join(map(str, self.stores))

    @property
    def fingerprint(self) -> str:
        """Name the samples, wherever they lie, in 16 hexadecimal digits."""
        return f"{self.index.fingerprint:016x}"

    def find(self, key: str) -> int:
        """Return the number of the sample with this key, the first if there are several.

        Raises:
            UserError: when there is none.
        """
        number = self.index.find(key)
        if number is None:
            raise UserError(f"no sample {key!r} in {self.name}; list them with shards ls --keys")
        return number

    def sizes(self) -> NDArray[np.uint16]:
        """Return height and width in px of every image, (samples, 2), as a viewer shows it.

        An image of which the sidecar does not say is opened; 0 stands for one that cannot be.
        """
        sizes = self.index.sizes
        for i in np.flatnonzero(sizes.min(1) == 0).tolist():
            with suppress(UnreadableImage, ShardError):
                sample = self[i]
                image = open_bounded(sample.image, sample.key)
                width, height = oriented_size(image)
                sizes[i] = min(height, MAX_SIDE), min(width, MAX_SIDE)
        return sizes

    def __getitem__(self, i: int) -> Sample:
        """Read sample `i`.

        Raises:
            IndexError: when there is no such number.
            ShardError: when the tar is missing, shorter than its sidecar says, or altered (found
                with `check` only).
            UnreadableImage: when the sample has no image.
        """
        if not 0 <= i < self._samples:
            raise IndexError(f"sample {i} of {len(self)}")
        place = self.index.place(i)
        data, start = self._holding(i, place)
        bounds = place.bounds
        files = {ending: data[start + bounds[a] : start + bounds[b]] for ending, a, b in place.cuts}
        if self.check:
            self._compare(i, files)
        return Sample.of_files(self.index.key(i), files)

    def __iter__(self) -> Iterator[Sample]:
        """Read every sample in order."""
        # From a folder the kernel reads ahead of that by itself.
        return self.read(range(len(self)), window=WINDOW if self.remote else 0)

    def __getitems__(self, numbers: Iterable[int]) -> list[Sample]:
        """Read a batch at once, shorter by what is skipped; torch's DataLoader asks for them so."""
        return list(self.read(numbers))

    def read(self, numbers: Iterable[int], *, window: int = WINDOW) -> Iterator[Sample]:
        """Read samples in the order given, which may have no end.

        `window` samples are under way while one is used: fetched by as many threads from a bucket,
        by the kernel from a folder.

        Raises:
            ShardError: at a sample that cannot be read, unless `on_error` is skip.
        """
        return (sample for sample in self.outcomes(numbers, window=window) if sample is not None)

    def outcomes(self, numbers: Iterable[int], *, window: int = WINDOW) -> Iterator[Sample | None]:
        """Read as `read` does; None stands for each sample that was skipped."""
        if self.remote:
            return ahead(self.get, numbers, window)
        return map(self.get, announced(self._announce, numbers, window) if window else numbers)

    def _announce(self, i: int) -> None:
        """Ask the kernel for the pages of sample `i`; what is wrong shows when it is read."""
        if not 0 <= i < self._samples:
            return
        place = self.index.place(i)
        with suppress(UserError):
            tar, start = self._holding(i, place)
            if isinstance(tar, mmap):
                first = start - start % PAGESIZE
                tar.madvise(MADV_WILLNEED, first, start - first + place.length)

    def get(self, i: int) -> Sample | None:
        """Read sample `i`; None, and a note in `skipped`, where `on_error` lets it be skipped.

        Raises:
            ShardError: when it cannot be read and `on_error` is raise.
        """
        try:
            sample = self[i]
            if self.on_error == "skip":
                _ = sample.text  # captions of others may be in any encoding
            return sample
        except (ShardError, UnreadableImage) as error:
            if self.on_error == "raise":
                raise
            self.skipped[i] = str(error)
            return None

    def _holding(self, i: int, place: Place) -> tuple[bytes | mmap, int]:
        """Return something that holds the bytes of sample `i`, and where in it they begin."""
        if self.remote and os.getpid() != self._process:
            raise UserError(
                f"{self.name} was opened before this process was forked, and its connections do "
                "not survive that; give the DataLoader multiprocessing_context='spawn'"
            )
        tar = self._open.get(place.tar) or self._opened(place.tar)
        if isinstance(tar, mmap):
            if place.start + place.length <= len(tar):
                return tar, place.start
        # Asked first, so that a false sidecar cannot make us allocate what is not there.
        elif place.start + place.length <= tar.size:
            data = tar.read(place.start, place.length)
            if len(data) == place.length:
                return data, 0
        raise ShardError(
            f"{self._name(place.tar)} ends inside sample {self.index.key(i)}; remake it or fetch "
            "it again"
        )

    def _compare(self, i: int, files: dict[str, bytes]) -> None:
        crc = 0
        for data in files.values():
            crc = zlib.crc32(data, crc)
        if crc != self.index.crc32(i):
            raise ShardError(
                f"{self._name(self.index.place(i).tar)}: the bytes of sample {self.index.key(i)} "
                "are not those written; remake this shard"
            )

    def _name(self, tar: int) -> str:
        return f"{self._store(tar)}/{self.index.tars[tar]}"

    def _store(self, tar: int) -> Store:
        return self.stores[self.index.stores[tar]]

    def _opened(self, number: int) -> mmap | RandomAccessFile:
        """Open a tar. One that is let go closes when the last thread that reads it is done."""
        try:
            tar = self._store(number).open(self.index.tars[number])
        except FileNotFoundError as error:
            raise ShardError(
                f"{self._name(number)} cannot be opened: it is gone; remake it or fetch it again"
            ) from error
        except OSError as error:  # no fault of the shard, so never skipped
            raise StoreError(f"{self._name(number)} cannot be opened: {error.strerror}") from error
        held = tar.map() or tar
        if held is not tar or not tar.size:
            tar.close()
        with self._lock:
            self._open[number] = held
            while len(self._open) > MAX_OPEN:
                del self._open[next(iter(self._open))]
        return held

    def close(self) -> None:
        """Close the open tars."""
        self._open.clear()

    def __getstate__(self) -> dict[str, Any]:
        """Send the index along, but no open file."""
        return {name: value for name, value in vars(self).items() if name not in _OF_A_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open files again when they are read."""
        vars(self).update(state)
        self._begin()

    def _begin(self) -> None:
        self._open: dict[int, mmap | RandomAccessFile] = {}
        self._lock = threading.Lock()
        self._process = os.getpid()

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the open tars."""
        self.close()


def _read_all(stores: Sequence[Store]) -> Index:
    """Read the sidecars of every store, one after the other."""
    index, known = Index(), set[str]()
    for number, store in enumerate(stores):
        place = str(store.path.resolve()) if isinstance(store, Folder) else str(store)
        if place in known:
            raise UserError(f"{store} is given twice; give each folder or bucket once")
        known.add(place)
        before = len(index)
        read_index(store, index, number)
        if len(index) == before:
            raise Dataset(store).nothing()
    return index


_OF_A_PROCESS = ("_open", "_lock", "_process")
