"""Members: the files inside a tar that anyone made, as its headers tell.

The one scanner of tars, whole files or streams, that we did not write ourselves. It trusts nothing:
behind a damaged header it goes on at the next block that is one, behind the end of an archive at
the next archive, as `cat a.tar b.tar` joins them, and what it cannot give it names. Nothing is ever
extracted. Time grows with the length of the file; memory holds one extended header and, of a file
with links in it, all names.

The layout is that of POSIX (IEEE Std 1003.1, pax, "Extended Description") and of GNU tar (manual,
"Basic Tar Format"). Global extended headers are passed over: they say nothing of single members.
"""

import re
from collections.abc import Iterator
from posixpath import dirname, join, normpath
from typing import NamedTuple, Protocol

from shards.skipped import Skip, readable

BLOCK = 512
"""Bytes of a header; everything in a tar begins at a multiple of them."""

MAX_MEMBERS = 4_000_000
"""Members of one tar (our choice: a million samples; img2dataset writes 30,000)."""

MAX_NAME = 1024
"""Characters of a member's name (our choice; Linux allows paths of 4,096 bytes)."""

MAX_HEADER = 2**20
"""Bytes of one extended header (our choice): it is read whole before it is understood."""

MAX_LINKS = 40
"""Links from one to the next until a file is reached, as many as Linux follows."""

WINDOW = 2**18
"""Bytes read at once (our choice: ten photographs of 256 px)."""

BROKEN = "broken header"
CUT = "cut short"
LONG = f"name longer than {MAX_NAME:,} characters"
LONG_HEADER = f"header longer than {MAX_HEADER:,} bytes"
OUTSIDE = "name that leads out of the tar"
NO_TARGET = "link without target"
SPARSE = "sparse file"
SPECIAL = "pipe, socket or device"
COMPRESSED = "compressed tar"
TOO_MANY = "more members than we read"

_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_CHECKSUM = re.compile(rb"[ \0]*([0-7]+)[ \0]*")
_NOT_ZERO = re.compile(rb"[^\0]")
_OCTAL = re.compile(rb"[ \0]*([0-7]*)[ \0]*")
_RECORD = re.compile(rb"([0-9]{1,19}) ([^=\n]+)=")
_SIZE = re.compile(rb"[0-9]{1,19}")

_FOLDERS, _SPECIALS, _LINKS = (b"5", b"D", b"V"), (b"3", b"4", b"6"), (b"1", b"2")
_WITHOUT_BYTES = (b"5", *_SPECIALS, *_LINKS)
_EXTENDED = (b"x", b"X", b"g", b"L", b"K")


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
    window, extended = _Window(file), _Extended()
    at = archive = count = 0
    ended = complained = False
    while len(block := window.read(at, BLOCK)) == BLOCK:
        if not block.strip(b"\0"):
            ended, at = True, window.behind_zeros(at)
            continue
        header = _header(block)
        begin = at + BLOCK
        if header and header.kind == b"S":
            begin = window.behind_map(block, begin)
        size = extended.size_of(header) if header else 0
        damage = _damage(header, size, file.size - begin)
        if header is None or damage:
            if at == 0 and block.startswith(_PACKED):
                yield Skip("", COMPRESSED)
                return
            yield _at(at, damage)
            at, extended, complained = window.next_header(at + BLOCK), _Extended(), True
            continue
        archive, ended, complained = archive + ended, False, False
        at = begin + size + -size % BLOCK
        if header.kind in _EXTENDED:
            extended.read(header.kind, window.read(begin, size))
            continue
        name, target = extended.name_of(header), extended.target or header.target
        fault, extended = extended.fault or _fault(name, header.kind), _Extended()
        if header.kind in _FOLDERS or (name.endswith("/") and not size):
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


def _damage(header: "_Header | None", size: int, left: int) -> str:
    """Say why what lies behind a block is not where it says, or return an empty string."""
    if header is None:
        return BROKEN
    if header.kind in _EXTENDED and size > MAX_HEADER:
        return LONG_HEADER
    return CUT if size > left else ""


def _fault(name: str, kind: bytes) -> str:
    """Say why a member is left out, or return an empty string."""
    if kind == b"S":
        return SPARSE
    if kind in _SPECIALS:
        return SPECIAL
    if kind == b"M":  # the rest of a file that begins on another tape
        return CUT
    return OUTSIDE if name.startswith("/") or ".." in name.split("/") else ""


class _Header(NamedTuple):
    kind: bytes
    name: str
    target: str
    size: int


def _header(block: bytes) -> _Header | None:
    """Understand a block, or return None when it is no header or a damaged one."""
    checksum = _CHECKSUM.fullmatch(block, 148, 156)
    if checksum is None:
        return None
    rest, told = block[:148] + block[156:], int(checksum[1], 8) - 8 * ord(" ")
    if told != sum(rest) and told != sum(rest) - 256 * sum(byte > 127 for byte in rest):
        return None  # the second as old tars summed, by signed bytes
    size = _number(block[124:136])
    if size is None:
        return None
    kind, name = block[156:157], _text(block[:100])
    # Old GNU tar keeps other things where POSIX has the beginning of a long name.
    if block[257:263] == b"ustar\0" and (prefix := _text(block[345:500])):
        name = f"{prefix}/{name}"
    return _Header(kind, name, _text(block[157:257]), size)


def _text(field: bytes) -> str:
    return readable(field.partition(b"\0")[0])


def _number(field: bytes) -> int | None:
    """Read an octal number, or GNU's base 256; None when it is neither, or negative."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    octal = _OCTAL.fullmatch(field)
    return int(octal[1] or b"0", 8) if octal else None


class _Extended:
    """What extended headers say of the member behind them."""

    def __init__(self) -> None:
        self.name = self.target = self.fault = ""
        self.size: int | None = None

    def name_of(self, header: _Header) -> str:
        """Return a member's name, as far as it is read."""
        return self.name or header.name

    def size_of(self, header: _Header) -> int:
        """Return the bytes that lie behind a header."""
        if header.kind in _WITHOUT_BYTES:
            return 0
        return header.size if self.size is None or header.kind in _EXTENDED else self.size

    def read(self, kind: bytes, data: bytes) -> None:
        """Read one; a later one takes the place of an earlier."""
        if kind == b"L":
            self._call(data)
        elif kind == b"K":
            self.target = _text(data)
        elif kind != b"g":
            self._read_records(data)

    def _read_records(self, data: bytes) -> None:
        data, at = data.rstrip(b"\0"), 0
        while at < len(data):
            record = _RECORD.match(data, at)
            end = at + int(record[1]) if record else 0
            if record is None or not record.end() < end <= len(data) or data[end - 1] != 10:
                self.fault = BROKEN
                return
            self._take(record[2], data[record.end() : end - 1])
            at = end

    def _take(self, word: bytes, value: bytes) -> None:
        if word == b"path":
            self._call(value)
        elif word == b"linkpath":
            self.target = _text(value)
        elif word == b"size":
            self.size = int(value) if _SIZE.fullmatch(value) else None
            self.fault = self.fault if _SIZE.fullmatch(value) else BROKEN
        elif word.startswith(b"GNU.sparse."):
            self.fault = SPARSE

    def _call(self, name: bytes) -> None:
        self.name = _text(name)
        if len(self.name) > MAX_NAME:
            self.name, self.fault = f"{self.name[:80]}…", LONG


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
                if _CHECKSUM.fullmatch(self._data, at + 148, at + 156) and _header(
                    self._data[at : at + BLOCK]
                ):
                    return self._start + at
                start = self._start + at + BLOCK
        return start
