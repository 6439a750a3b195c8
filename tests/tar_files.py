"""Tars as others make them, whole and damaged."""

import io
import tarfile


def member(name, data=b"", kind=tarfile.REGTYPE, **fields):
    """Describe a member for `write`."""
    info = tarfile.TarInfo(name)
    info.size, info.type = len(data), kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def write(path, *members, layout=tarfile.PAX_FORMAT):
    """Write a tar and return its path."""
    path.write_bytes(packed(*members, layout=layout))
    return path


def packed(*members, layout=tarfile.PAX_FORMAT):
    """Return the bytes of a tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=layout) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def header(name=b"a.png", kind=b"0", size=b"00000000010\0", **fields):
    """Return a header with a good checksum, whatever it says; `fields` are bytes by their place."""
    block = bytearray(512)
    block[: len(name)], block[156:157], block[124:136] = name, kind, size
    for place, data in fields.items():
        block[int(place[1:]) : int(place[1:]) + len(data)] = data
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


class Bytes:
    """A tar in memory that notes how much of it is read."""

    def __init__(self, data):
        self.data, self.size, self.read_in_all, self.longest = data, len(data), 0, 0

    def read(self, start, length):
        self.longest = max(self.longest, length)
        found = self.data[start : start + length]
        self.read_in_all += len(found)
        return found


def with_checksums(tar):
    """Correct the checksum of every block that looks like a header."""
    data = bytearray(tar)
    for at in range(0, len(data) - 511, 512):
        if data[at + 257 : at + 262] == b"ustar":
            data[at + 148 : at + 156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
    return bytes(data)
