"""Index: where the files of every sample lie, in flat arrays.

A million samples take 64 MB here and 1.6 GB as `Entry` objects. The arrays hold no Python objects,
so worker processes that are forked share them.
"""

import hashlib
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from struct import Struct
from typing import Annotated, Any, Literal, NamedTuple, NotRequired

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, TypeAdapter
from typing_extensions import TypedDict

from shards.errors import ShardError
from shards.sidecar import KEY, Ending, not_a_sidecar, require_own, sidecar_names
from shards.skipped import Skips
from shards.store import Store

MAX_SPAN = 2**32
"""The files of a sample lie within so many bytes: an offset takes four (our choice)."""

MAX_LAYOUTS = 2**16
"""Different lists of endings in one index: its number takes two bytes (our choice; ours have 6)."""

MAX_SIDE = 2**16 - 1
"""Sides of an image are kept in two bytes each, longer ones as this many px (our choice: nothing
is told apart beyond)."""

Files = Mapping[str, tuple[int, int]]
"""(offset in the tar, size) in bytes of each file of a sample, by ending, in order of offset."""

Known = tuple[str, Files, int, tuple[int, int]]
"""Of a sample its key, its files and their CRC-32, and (height, width) in px or (0, 0)."""

Cuts = tuple[tuple[str, int, int], ...]
"""Of each file its ending, and which of a sample's bounds are its first byte and its end."""


class Place(NamedTuple):
    """Where a sample lies: `length` bytes from byte `start` of tar number `tar`.

    `bounds` are where its files begin and end, in bytes from `start`; `cuts` says whose they are.
    """

    tar: int
    start: int
    length: int
    bounds: tuple[int, ...]
    cuts: Cuts


class Index:
    """The samples of some tars, numbered from 0 in the order in which they were added."""

    def __init__(self) -> None:
        """Begin without tars. `skips` counts what in the tars of others is no sample."""
        self.skips = Skips()
        self.tars: list[str] = []
        self.stores = array("I")
        """Of each tar the number of the store that it lies in."""
        self._ends: list[int] = []
        self._starts, self._bounds, self._bound_ends = array("q"), array("I"), array("q", [0])
        self._layouts, self._layout_of = array("H"), dict[tuple[str, ...], int]()
        self._keys, self._key_ends = bytearray(), array("q", [0])
        self._crc32, self._sizes = array("I"), array("H")

    def __len__(self) -> int:
        """Count the samples."""
        return len(self._starts)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the arrays hold."""
        arrays = (self._starts, self._bounds, self._bound_ends, self._layouts, self._key_ends)
        arrays = (*arrays, self._crc32, self._sizes)
        return len(self._keys) + sum(len(a) * a.itemsize for a in arrays)

    @cached_property
    def fingerprint(self) -> int:
        """64 bits of the SHA-256 of all keys, lengths of files and CRC-32.

        Other samples, or the same in another order, have another; where they lie is not part of
        it. Tars without a sidecar have no CRC-32: there the lengths tell.
        """
        state = hashlib.sha256()
        for part in (self._keys, self._key_ends, self._bounds, self._crc32):
            state.update(part)
        return int.from_bytes(state.digest()[:8], "big")

    def add_tar(self, name: str, size: int, samples: Iterable[Known], store: int = 0) -> None:
        """Append a tar of `size` bytes in store number `store`, and what is known of each sample.

        Raises:
            ShardError: when files overlap or lie outside of the tar.
        """
        for key, files, crc32, (height, width) in samples:
            if not files:
                raise ShardError(f"{name}: sample {key} has no file")
            start = end = next(iter(files.values()))[0]
            for offset, length in files.values():
                if offset < end or offset + length > size:
                    raise ShardError(f"{name}: the files of sample {key} overlap or end outside")
                end = offset + length
                if end - start >= MAX_SPAN:
                    raise ShardError(f"{name}: sample {key} spans more than {MAX_SPAN:,} bytes")
                self._bounds.extend((offset - start, end - start))
            self._bound_ends.append(len(self._bounds))
            self._starts.append(start)
            self._layouts.append(self._layout(name, tuple(files)))
            self._crc32.append(crc32)
            self._sizes.extend((min(height, MAX_SIDE), min(width, MAX_SIDE)))
            self._keys += key.encode()
            self._key_ends.append(len(self._keys))
        self.tars.append(name)
        self.stores.append(store)
        self._ends.append(len(self))

    def _layout(self, name: str, endings: tuple[str, ...]) -> int:
        number = self._layout_of.setdefault(endings, len(self._layout_of))
        if number == MAX_LAYOUTS:
            raise ShardError(f"{name}: more than {MAX_LAYOUTS:,} different lists of endings")
        return number

    def tar_of(self, i: int) -> str:
        """Name the tar of sample `i`."""
        return self.tars[bisect_right(self._ends, i)]

    def key(self, i: int) -> str:
        """Return the key of sample `i`."""
        return self._keys[self._key_ends[i] : self._key_ends[i + 1]].decode()

    def crc32(self, i: int) -> int:
        """Return the CRC-32 of the files of sample `i`, one after the other."""
        return self._crc32[i]

    @property
    def sizes(self) -> NDArray[np.uint16]:
        """Height and width in px of every image, (samples, 2); 0 where the sidecars do not say."""
        return np.array(self._sizes, np.uint16).reshape(-1, 2)

    def place(self, i: int) -> Place:
        """Say where sample `i` lies."""
        unpack, cuts = self._cuts[self._layouts[i]]
        bounds = unpack(self._bounds, 4 * self._bound_ends[i])
        return Place(bisect_right(self._ends, i), self._starts[i], bounds[-1], bounds, cuts)

    @cached_property
    def _cuts(self) -> list[tuple[Callable[..., tuple[int, ...]], Cuts]]:
        """How to take bounds out of their array, and their meaning, for each list of endings."""
        return [
            (
                Struct(f"{2 * len(endings)}I").unpack_from,
                tuple((ending, 2 * k, 2 * k + 1) for k, ending in enumerate(endings)),
            )
            for endings in self._layout_of
        ]

    def find(self, key: str) -> int | None:
        """Return the number of the first sample with this key, or None.

        The first call sorts the hashes of all keys: 16 bytes a sample, a tenth of a dictionary.
        """
        hashes, numbers = self._by_hash
        wanted = hash(key)
        for at in range(int(np.searchsorted(hashes, wanted)), len(self)):
            if hashes[at] != wanted:
                break
            if self.key(number := int(numbers[at])) == key:
                return number
        return None

    @cached_property
    def _by_hash(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        hashes = np.fromiter((hash(self.key(i)) for i in range(len(self))), np.int64, len(self))
        numbers = np.argsort(hashes, kind="stable")
        return hashes[numbers], numbers

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what another process makes again: hashes differ there."""
        made_again = ("_by_hash", "_cuts")
        return {name: value for name, value in vars(self).items() if name not in made_again}


class _Entry(TypedDict):
    key: Annotated[str, Field(pattern=KEY)]
    files: dict[Ending, tuple[NonNegativeInt, NonNegativeInt]]
    crc32: Annotated[int, Field(ge=0, lt=2**32)]
    width: NotRequired[NonNegativeInt]
    height: NotRequired[NonNegativeInt]


class _Sidecar(TypedDict):
    """What a reader needs of `Sidecar`, a third of the time and none of the objects."""

    version: Literal[2]
    tar: str
    shard: int
    bytes: Annotated[int, Field(ge=0, lt=2**63)]
    entries: list[_Entry]


_SIDECAR = TypeAdapter(_Sidecar)


def read_index(store: Store, index: Index | None = None, number: int = 0) -> Index:
    """Read the sidecars of a folder or bucket, in order of shard index.

    With `index` they are appended to that, as of its store `number`.

    Raises:
        UserError: when there is no such folder.
        ShardError: when a sidecar is broken or one of another shard.
    """
    index = Index() if index is None else index
    names = sidecar_names(store.names())
    for name, data in zip(names, store.read_all(names), strict=True):
        try:
            sidecar = _SIDECAR.validate_json(data)
        except ValueError as error:
            raise not_a_sidecar(store, name) from error
        require_own(store, name, sidecar["shard"], sidecar["tar"])
        samples = _samples(sidecar["entries"])
        index.add_tar(sidecar["tar"], sidecar["bytes"], samples, number)
    return index


def _samples(entries: list[_Entry]) -> Iterator[Known]:
    for entry in entries:
        size = entry.get("height", 0), entry.get("width", 0)
        yield entry["key"], entry["files"], entry["crc32"], size
