"""Headers of tars: what one block of 512 bytes says, and the long names before it.

The layout is that of POSIX (IEEE Std 1003.1, pax, "Extended Description") and of GNU tar (manual,
"Basic Tar Format"). Global extended headers are passed over: they say nothing of single members.
"""

import re
from typing import NamedTuple

from shards.skipped import readable

BLOCK = 512
"""Bytes of a header; everything in a tar begins at a multiple of them."""

MAX_NAME = 1024
"""Characters of a member's name (our choice; Linux allows paths of 4,096 bytes)."""

MAX_HEADER = 2**20
"""Bytes of one extended header (our choice): it is read whole before it is understood."""

BROKEN = "broken header"
CUT = "cut short"
LONG = f"name longer than {MAX_NAME:,} characters"
LONG_HEADER = f"header longer than {MAX_HEADER:,} bytes"
OUTSIDE = "name that leads out of the tar"
SPARSE = "sparse file"
SPECIAL = "pipe, socket or device"

FOLDERS, SPECIALS, LINKS = (b"5", b"D", b"V"), (b"3", b"4", b"6"), (b"1", b"2")
WITHOUT_BYTES = (b"5", *SPECIALS, *LINKS)
EXTENDED = (b"x", b"X", b"g", b"L", b"K")
"""Kinds of members, by the letter of their headers; all others are plain files."""

_CHECKSUM = re.compile(rb"[ \0]*([0-7]+)[ \0]*")
_OCTAL = re.compile(rb"[ \0]*([0-7]*)[ \0]*")
_RECORD = re.compile(rb"([0-9]{1,19}) ([^=\n]+)=")
_SIZE = re.compile(rb"[0-9]{1,19}")


class Header(NamedTuple):
    """What a header says of a member: its kind, name, what it is a link to, and its bytes."""

    kind: bytes
    name: str
    target: str
    size: int


def may_be_header(data: bytes, at: int) -> bool:
    """Say at once of most blocks that they are no header."""
    return _CHECKSUM.fullmatch(data, at + 148, at + 156) is not None


def header_of(block: bytes) -> Header | None:
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
    return Header(kind, name, _text(block[157:257]), size)


def _text(field: bytes) -> str:
    return readable(field.partition(b"\0")[0])


def _number(field: bytes) -> int | None:
    """Read an octal number, or GNU's base 256; None when it is neither, or negative."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    octal = _OCTAL.fullmatch(field)
    return int(octal[1] or b"0", 8) if octal else None


def damage_of(header: Header | None, size: int, left: int) -> str:
    """Say why what lies behind a block is not where it says, or return an empty string."""
    if header is None:
        return BROKEN
    if header.kind in EXTENDED and size > MAX_HEADER:
        return LONG_HEADER
    return CUT if size > left else ""


def fault_of(name: str, kind: bytes) -> str:
    """Say why a member is left out, or return an empty string."""
    if kind == b"S":
        return SPARSE
    if kind in SPECIALS:
        return SPECIAL
    if kind == b"M":  # the rest of a file that begins on another tape
        return CUT
    return OUTSIDE if name.startswith("/") or ".." in name.split("/") else ""


class Extended:
    """What extended headers say of the member behind them."""

    def __init__(self) -> None:
        self.name = self.target = self.fault = ""
        self.size: int | None = None

    def name_of(self, header: Header) -> str:
        """Return a member's name, as far as it is read."""
        return self.name or header.name

    def size_of(self, header: Header) -> int:
        """Return the bytes that lie behind a header."""
        if header.kind in WITHOUT_BYTES:
            return 0
        return header.size if self.size is None or header.kind in EXTENDED else self.size

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
