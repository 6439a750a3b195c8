"""What a store can do, whatever it is: verbs on plain file names, without folders."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from functools import partial
from mmap import mmap
from pathlib import Path
from typing import Protocol

from shards.errors import UserError
from shards.store.staging import Useless

MAX_BYTES = 256 * 2**20
"""Largest file that is read whole, in bytes (our choice: far above any photograph)."""

PIECE = 8 * 2**20
"""Bytes of a large file that are held in memory at once."""


class RandomAccessFile(Protocol):
    """A file open for positional reads, from any thread."""

    size: int

    def read(self, start: int, length: int) -> bytes:
        """Return `length` bytes from `start`; fewer where the file ends."""
        ...

    def map(self) -> mmap | None:
        """Map the file into memory, which outlives `close`; None where it is remote or empty."""
        ...

    def close(self) -> None:
        """Let the file go."""
        ...


class Store(ABC):
    """Files with plain names; `inside` leads to a folder of more. `str()` opens it elsewhere."""

    @abstractmethod
    def inside(self, name: str) -> "Store":
        """Return the store of the folder `name` in this one, which need not be there yet."""

    @abstractmethod
    def above(self) -> "tuple[Store, str]":
        """Return the store that this one lies in, and its name there, which may be a file's.

        Raises:
            UserError: when it has no name: the root of a bucket, or `..`.
        """

    @abstractmethod
    def make(self) -> None:
        """Make the folder itself where it is missing; a bucket has nothing to make.

        Raises:
            UserError: when a file is in its place.
        """

    @abstractmethod
    def move(self, name: str, to: str) -> None:
        """Give the folder `name` another name, in place of what has that; not at once in a bucket.

        Raises:
            FileNotFoundError: when there is no such folder.
        """

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove the folder `name` with all that is in it; nothing happens when there is none."""

    @abstractmethod
    def names(self) -> list[str]:
        """Return the sorted names of all that lies here; hidden files are not counted.

        Raises:
            UserError: when there is no such folder.
        """

    @abstractmethod
    def sizes(self) -> Mapping[str, int]:
        """List the files as `names` does, in one go, with the bytes of each.

        Raises:
            UserError: when there is no such folder.
        """

    @abstractmethod
    def size(self, name: str) -> int:
        """Return the bytes of a file.

        Raises:
            FileNotFoundError: when there is none.
        """

    @abstractmethod
    def open(self, name: str) -> RandomAccessFile:
        """Open a file for positional reads.

        Raises:
            FileNotFoundError: when there is none.
        """

    @abstractmethod
    def replace(self, name: str, data: bytes) -> None:
        """Write a file, in place of an older one if there is."""

    @abstractmethod
    def create(self, name: str, data: bytes) -> bool:
        """Write a file only where none is, and say whether it was written.

        Of two processes that try, one gets True; the other leaves the file of the first as it is.
        """

    @abstractmethod
    def staging(self, name: str) -> Path:
        """Return the local path at which to build a large file; this thread's own."""

    @abstractmethod
    def put(self, staged: Path, name: str) -> None:
        """Move a file from staging to its name, in place of an older one if there is."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove a file; nothing happens when there is none."""

    @abstractmethod
    def abandoned(self, useless: Useless | None = None) -> list[Path]:
        """List the local files that killed processes left in staging.

        A file is abandoned when its process, one of this machine, is gone, or when nobody wrote
        to it for STALE_SECONDS. Others stay: a second run may be at work in the same store. In
        a folder, what is `useless` is listed too; where a bucket stages, other outputs do so.
        """

    def read(self, name: str) -> bytes:
        """Return a whole file.

        Raises:
            FileNotFoundError: when there is none.
        """
        with closing(self.open(name)) as file:
            return file.read(0, file.size)

    def sha256(self, name: str) -> str:
        """Return the SHA-256 of a file, read in pieces, in 64 hexadecimal digits.

        Raises:
            FileNotFoundError: when there is none.
        """
        state = hashlib.sha256()
        with closing(self.open(name)) as file:
            for start in range(0, file.size, PIECE):
                state.update(file.read(start, PIECE))
        return state.hexdigest()

    def exists(self, name: str) -> bool:
        """Is there a file of this name?"""
        try:
            self.size(name)
        except FileNotFoundError:
            return False
        return True

    def read_all(self, names: Iterable[str]) -> Iterator[bytes]:
        """Read many small files, in the order of `names`."""
        return map(self.read, names)

    def read_tails(
        self, names: Iterable[str], length: int, sizes: Mapping[str, int]
    ) -> Iterator[bytes]:
        """Read the last `length` bytes of many files, or all of a shorter one.

        `sizes` is what lists them; a bucket is not asked again for those.
        """
        del sizes
        return map(partial(self._tail, length=length), names)

    def _tail(self, name: str, *, length: int) -> bytes:
        file = self.open(name)
        try:
            return file.read(max(0, file.size - length), length)
        finally:
            file.close()

    def sweep(self, useless: Useless | None = None) -> list[Path]:
        """Remove what `abandoned` lists, and return it."""
        removed = self.abandoned(useless)
        for path in removed:
            path.unlink(missing_ok=True)
        return removed


def plain(name: str) -> str:
    """Return a name that leads to no other folder.

    Raises:
        UserError: when it is empty, or holds a slash.
    """
    if not name or "/" in name or "\\" in name or name in (".", ".."):
        raise UserError(f"{name!r} is not a plain file name")
    return name
