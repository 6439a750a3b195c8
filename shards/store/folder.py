"""Folder: a store on the local or a shared file system."""

import errno
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path
from urllib.parse import quote

from shards.errors import UserError
from shards.store.base import RandomAccessFile, Store, plain
from shards.store.commit import flush, name_if_free
from shards.store.staging import Useless, abandoned_in, hidden, naming


class Folder(Store):
    """A folder of the local or a shared file system."""

    def __init__(self, path: Path) -> None:
        """Name the folder; it need not exist yet."""
        self.path = path

    def __str__(self) -> str:
        """Return the path, written so that it cannot be taken for anything else."""
        path = str(self.path)
        try:
            path.encode()
        except UnicodeEncodeError:  # file names are bytes; what reads JSON wants text
            return f"file://{quote(os.fsencode(self.path.absolute()))}"
        return f"./{path}" if path[0] == "~" or ":" in path.partition("/")[0] else path

    def inside(self, name: str) -> "Folder":
        """Return a folder of this folder."""
        return Folder(self.path / plain(name))

    def above(self) -> "tuple[Folder, str]":
        """Split the path."""
        if self.path.name in ("", ".."):
            raise UserError(f"{self.path} is a folder; give the name of a file")
        return Folder(self.path.parent), self.path.name

    def make(self) -> None:
        """Make the folder and those above it."""
        if self.path.is_dir():
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            file = next(it for it in (self.path, *self.path.parents) if it.exists())
            raise UserError(f"{file} is a file; give a folder") from error
        _flush(self.path.parent)

    def move(self, name: str, to: str) -> None:
        """Rename the folder."""
        self.remove(to)
        (self.path / plain(name)).rename(self.path / to)

    def remove(self, name: str) -> None:
        """Remove the folder, its files first."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self.path / plain(name))

    def names(self) -> list[str]:
        """List the folder."""
        return sorted(entry.name for entry in self._entries())

    def sizes(self) -> Mapping[str, int]:
        """List the folder; a file is asked for its size when that is looked up."""
        return _Sizes(self._entries())

    def _entries(self) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.path) as entries:
                return [entry for entry in entries if not entry.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UserError(
                f"{self.path} is not a folder; give the --out of a render or filter run"
            ) from error

    def size(self, name: str) -> int:
        """Return the bytes of a file."""
        return (self.path / plain(name)).stat().st_size

    def open(self, name: str) -> RandomAccessFile:
        """Open a file for positional reads."""
        return _LocalFile(self.path / plain(name))

    def replace(self, name: str, data: bytes) -> None:
        """Write a file under a hidden name, flush it, rename it, and flush the folder."""
        temporary = self.staging(name)
        try:
            _write_durably(temporary, data)
            self.put(temporary, name)
        finally:
            temporary.unlink(missing_ok=True)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file under a hidden name, then give it its name if that is free."""
        temporary = self.staging(name)
        try:
            _write_durably(temporary, data)
            return name_if_free(temporary, self.path / name)
        finally:
            temporary.unlink(missing_ok=True)

    def staging(self, name: str) -> Path:
        """Return a hidden path in the folder itself, from which a rename is atomic."""
        return hidden(self.path / plain(name))

    def put(self, staged: Path, name: str) -> None:
        """Rename, and flush the folder, or a power cut could keep what is written next alone."""
        staged.replace(self.path / name)
        _flush(self.path)

    def delete(self, name: str) -> None:
        """Remove a file if it is there."""
        (self.path / plain(name)).unlink(missing_ok=True)

    def abandoned(self, useless: Useless | None = None) -> list[Path]:
        """List the hidden files that killed processes left in the folder."""
        return abandoned_in(self.path, useless)


class _Sizes(Mapping[str, int]):
    """Bytes by name, in order of name; asking costs more than listing, so it is put off."""

    def __init__(self, entries: Iterable[os.DirEntry[str]]) -> None:
        self._entries = {entry.name: entry for entry in entries}

    def __getitem__(self, name: str) -> int:
        try:
            return self._entries[name].stat().st_size
        except FileNotFoundError as error:
            raise KeyError(name) from error  # it is gone since

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries


class _LocalFile:
    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # of a pipe, do not wait
        status = os.fstat(self._handle)
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise OSError(errno.EINVAL, "no plain file", str(path))
        self.size = status.st_size

    def read(self, start: int, length: int) -> bytes:
        return os.pread(self._handle, length, start)

    def map(self) -> mmap | None:
        return mmap(self._handle, 0, access=ACCESS_READ) if self.size else None

    def close(self) -> None:
        os.close(self._handle)


def _write_durably(path: Path, data: bytes) -> None:
    with naming(path), path.open("wb") as file:
        file.write(data)
        flush(file.fileno())


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        flush(handle)
    finally:
        os.close(handle)
