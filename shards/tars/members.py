"""Members: the files inside a tar that anyone made, as its headers tell.

The one scanner of tars, whole files or streams, that we did not write ourselves. It trusts nothing:
behind a damaged header it goes on at the next block that is one, behind the end of an archive at
the next archive, as `cat a.tar b.tar` joins them, and what it cannot give it names. Nothing is ever
extracted. Time grows with the length of the file; memory holds one extended header and, of a file
with links in it, all names.
"""

import re
from collections.abc import Iterator
from posixpath import dirname, join, normpath
from typing import NamedTuple, Protocol

from shards.skipped import Skip
from shards.tars.headers import (
    BLOCK,
    CUT,
    EXTENDED,
    FOLDERS,
    Extended,
    damage_of,
    fault_of,
    header_of,
    may_be_header,
)

MAX_MEMBERS = 4_000_000
"""Members of one tar (our choice: a million samples; img2dataset writes 30,000)."""

MAX_LINKS = 40
"""Links from one to the next until a file is reached, as many as Linux follows."""

WINDOW = 2**18
"""Bytes read at once (our choice: ten photographs of 256 px)."""

NO_TARGET = "link without target"
COMPRESSED = "compressed tar"
TOO_MANY = "more members than we read"

_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_NOT_ZERO = re.compile(rb"[^\0]")


class Readable(Protocol):
    """Bytes by position. `size` may be far too large where nobody knows the end yet."""

    size: int

    def read(self, start: int, length: int) -> bytes:
        """Return `length` bytes from `start`; fewer where they end."""
        ...


class Member(NamedTuple):
    """A plain file in a tar: where its bytes lie, and in which of the archives joined to one."""

    name: str
    offset: int
    size: int
    archive: int


class Link(NamedTuple):
    """A link in a tar, and the name of the member that it stands for."""

    name: str
    target: str
    archive: int


def members(file: Readable) -> Iterator[Member | Skip]:
    """Yield the files of a tar, links as the files they lead to, and what was left out.

    Raises:
        OSError: when it cannot be read.
    """
    names: dict[tuple[int, str], Member | Link] = {}
    for entry in scan(file):
        if not isinstance(entry, Link):
            yield entry
            continue
        if not names:  # a second look, at tars with links alone
            held = (other for other in scan(file) if not isinstance(other, Skip))
            names = {(other.archive, normpath(other.name)): other for other in held}
        target: Member | Link | None = entry
        for _ in range(MAX_LINKS):
            if isinstance(target, Link):
                target = names.get((target.archive, target.target))
        if isinstance(target, Member):
            yield target._replace(name=entry.name)
        else:
            yield Skip(entry.name, NO_TARGET)


def scan(file: Readable) -> Iterator[Member | Link | Skip]:
    """Yield the files and links of a tar from front to back, and what was left out.

    Raises:
        OSError: when it cannot be read.
    """
    window, extended = _Window(file), Extended()
    at = archive = count = 0
    ended = complained = False
    while len(block := window.read(at, BLOCK)) == BLOCK:
        if not block.strip(b"\0"):
            ended, at = True, window.behind_zeros(at)
            continue
        header = header_of(block)
        begin = at + BLOCK
        if header and header.kind == b"S":
            begin = window.behind_map(block, begin)
        size = extended.size_of(header) if header else 0
        damage = damage_of(header, size, file.size - begin)
        if header is None or damage:
            if at == 0 and block.startswith(_PACKED):
                yield Skip("", COMPRESSED)
                return
            yield _at(at, damage)
            at, extended, complained = window.next_header(begin), Extended(), True
            continue
        archive, ended, complained = archive + ended, False, False
        at = begin + size + -size % BLOCK
        if header.kind in EXTENDED:
            extended.read(header.kind, window.read(begin, size))
            continue
        name, target = extended.name_of(header), extended.target or header.target
        fault, extended = extended.fault or fault_of(name, header.kind), Extended()
        if header.kind in FOLDERS or (name.endswith("/") and not size):
            continue
        count += 1
        if count > MAX_MEMBERS:
            yield Skip(name, TOO_MANY)
            return
        if fault:
            yield Skip(name, fault)
        elif header.kind == b"1":
            yield Link(name, normpath(target), archive)
        elif header.kind == b"2":
            yield Link(name, normpath(join(dirname(name), target)), archive)
        else:
            yield Member(name, begin, size, archive)
    if not ended and not complained:
        yield _at(at, CUT)


def _at(place: int, reason: str) -> Skip:
    return Skip(f"byte {place:,}", reason)


class _Window:
    """The file by blocks, read WINDOW bytes at a time."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._start, self._data = 0, b""

    def read(self, start: int, length: int) -> bytes:
        if not self._start <= start <= start + length <= self._start + len(self._data):
            self._start, self._data = start, self._file.read(start, max(length, WINDOW))
        return self._data[start - self._start : start - self._start + length]

    def behind_zeros(self, start: int) -> int:
        """Return where the next block lies that holds more than zeros, or the end."""
        while len(self.read(start, BLOCK)) == BLOCK:
            other = _NOT_ZERO.search(self._data, start - self._start)
            end = self._start + (other.start() if other else len(self._data))
            start = end - (end - start) % BLOCK
            if other:
                break
        return start

    def behind_map(self, block: bytes, start: int) -> int:
        """Return where the bytes of a sparse file begin: behind the blocks of its map."""
        more = block[482]
        while more and len(block := self.read(start, BLOCK)) == BLOCK:
            more, start = block[504], start + BLOCK
        return start

    def next_header(self, start: int) -> int:
        """Return where the next block lies that is a header, or the end."""
        while len(self.read(start, BLOCK)) == BLOCK:
            for at in range(start - self._start, len(self._data) - BLOCK + 1, BLOCK):
                if may_be_header(self._data, at) and header_of(self._data[at : at + BLOCK]):
                    return self._start + at
                start = self._start + at + BLOCK
        return start
