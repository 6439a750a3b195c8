"""Tars that others made: an index by scanning their headers, within bounds.

What WebDataset readers take for a sample is taken for one here: neighbouring files whose names
agree up to the first dot of the last part of the path. Nothing is ever extracted; a name is only
a key.
"""

import re
import tarfile
from collections.abc import Iterator
from contextlib import closing
from io import RawIOBase
from itertools import groupby
from typing import Any, NamedTuple, cast

from shards.ahead import ahead
from shards.errors import ShardError
from shards.image import READABLE
from shards.index import Index, Known
from shards.store import PARALLEL_READS, Bucket, RandomAccessFile, Store

MAX_MEMBERS = 4_000_000
"""Members of one tar (our choice: a million samples; img2dataset writes 30,000)."""

MAX_NAME = 1024
"""Characters of a member's name (our choice; Linux allows paths of 4,096 bytes)."""

MAX_HEADER = 2**20
"""Bytes of one extended header (our choice): it is read whole before it is understood."""

WINDOW = 2**18
"""Bytes read at once while scanning (our choice: ten photographs of 256 px)."""


class Member(NamedTuple):
    """A file in a tar: the sample it belongs to, its ending, and where it lies, in bytes."""

    key: str
    ending: str
    offset: int
    size: int


def scan(store: Store) -> Index:
    """Index every tar of a folder or bucket, in order of name.

    Raises:
        UserError: when there is no such folder.
        ShardError: at the first archive that is broken or hostile; it names archive and member.
    """

    def samples(name: str) -> tuple[str, int, list[Known]]:
        with closing(store.open(name)) as file:
            return name, file.size, list(_samples(f"{store}/{name}", file))

    index = Index()
    names = [name for name in store.names() if name.endswith(".tar")]
    for scanned in ahead(samples, names, PARALLEL_READS if isinstance(store, Bucket) else 0):
        index.add_tar(*scanned)
    return index


def _samples(tar: str, file: RandomAccessFile) -> Iterator[Known]:
    for key, members in groupby(_members(tar, file), key=lambda member: member.key):
        files: dict[str, tuple[int, int]] = {}
        for member in members:
            if member.ending in files:
                raise ShardError(f"{tar}: sample {key!r} has two files {member.ending}")
            files[member.ending] = member.offset, member.size
        yield key, files, 0, (0, 0)


def _members(tar: str, file: RandomAccessFile) -> Iterator[Member]:
    """Yield the files that belong to a sample; folders and files without ending do not."""
    try:
        archive = tarfile.open(fileobj=_Window(file), mode="r:")  # noqa: SIM115
        for number, member in enumerate(_headers(archive)):
            fault = _fault(member, file.size)
            if number == MAX_MEMBERS:
                fault = f"more than {MAX_MEMBERS:,} members"
            if fault:
                raise ShardError(f"{tar} is refused: {fault}")
            name = key_and_ending(member.name) if member.isfile() else None
            if name:
                yield Member(*name, member.offset_data, member.size)
    except (tarfile.TarError, RecursionError, ValueError, OverflowError) as error:
        raise ShardError(f"{tar} is not a whole tar: {error}; fetch it again") from error


def key_and_ending(name: str) -> tuple[str, str] | None:
    """Split the name of a file in a tar into its sample's key and its ending; None if it has none.

    The ending is in small letters, and ours where others write it in another way.
    """
    parts = re.fullmatch(r"((?:.*/)?[^./]+)\.([^/]+)", name)
    if parts is None:
        return None
    ending = parts[2].lower()
    return parts[1], READABLE.get(ending, ending)


def _headers(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        yield member
        cast(Any, archive).members.clear()  # tarfile keeps every header it has read
    # It also takes a broken header for the end, which is two blocks of zeros.
    file = archive.fileobj
    assert file is not None
    file.seek(archive.offset)
    if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError(f"broken header at byte {archive.offset:,}")


def _fault(member: tarfile.TarInfo, size: int) -> str:
    """Say why an archive with this member is not read, or return an empty string."""
    name = member.name
    short = ascii(name[:80])
    if len(name) > MAX_NAME:
        return f"the name {short}… is longer than {MAX_NAME:,} characters"
    if not name.isprintable() or "\\" in name:
        return f"the name {short} holds control characters, backslashes or is not UTF-8"
    if name.startswith("/") or ".." in name.split("/"):
        return f"{short} leads out of the archive"
    if member.isdir():
        return ""
    if not member.isfile() or member.issparse():
        return f"{short} is no plain file; links, devices and sparse files have no place here"
    if member.size < 0 or member.offset_data + member.size > size:
        return f"{short} ends beyond the archive; fetch it again"
    return ""


class _Window(RawIOBase):
    """A file for `tarfile` over positional reads; it refuses to read more than MAX_HEADER."""

    def __init__(self, file: RandomAccessFile) -> None:
        self._file, self._at = file, 0
        self._start, self._data = 0, b""

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence:
            raise ValueError("only seeks from the start")
        self._at = offset
        return offset

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER:
            raise ValueError(f"a header of {size:,} bytes exceeds {MAX_HEADER:,}")
        end = self._at + size
        if not self._start <= self._at <= end <= self._start + len(self._data):
            self._start, self._data = self._at, self._file.read(self._at, max(size, WINDOW))
        data = self._data[self._at - self._start : end - self._start]
        self._at += len(data)
        return data
