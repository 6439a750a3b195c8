"""Tars as they arrive, from front to back and within bounds: nobody vouches for them.

Of a sample the picture, the text and the label are read, up to MAX_BYTES together; a larger one is
passed over. A long header, which tarfile reads whole, and a sparse file, whose map may have no end,
break the tar off. What a picture decodes to is bounded where it is opened (shards/sample.py).
"""

import tarfile
from collections.abc import Iterator
from itertools import groupby
from subprocess import TimeoutExpired
from typing import Any, Self, cast

from shards import Sample, UnreadableImage
from shards.foreign import key_and_ending
from shards.image import READABLE
from shards.store import MAX_BYTES

READ = {*READABLE.values(), "txt", "json"}
"""Endings of the files that make a sample."""

MAX_HEADER = 2**16
"""Bytes of a header that holds a long name or attributes (our choice: a path of Linux has 4,096;
tarfile may hold a thousand of them, one inside the other)."""

LONG = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)
"""Types of such headers."""

NAMED = 8
"""Endings of other files that are remembered, to say what is there in place of an image."""

Taken = Sample | UnreadableImage
"""A sample, or what is wrong with one or with the rest of a tar."""

File = tuple[str, str, tarfile.TarInfo]
"""The key of the sample that a file belongs to, its ending, its header."""


def unpacked(tar: str) -> Iterator[Taken]:
    """Yield the samples of one tar as it arrives; where it breaks off, why, and no more."""
    from webdataset.gopen import gopen

    stream: Any = None
    try:
        stream = gopen(tar)
        archive = tarfile.open(fileobj=stream, mode="r|*", tarinfo=_Header)  # noqa: SIM115
        for key, files in groupby(_files(archive), key=lambda file: file[0]):
            yield _sample(archive, key, files)
        # Only at its very end does a command tell whether it succeeded.
        while stream.read(2**20):
            pass
        stream.close()
    except Exception as error:  # webdataset passes on whatever happens
        yield UnreadableImage(_short(tar), _ended(stream) or _reason(error))


class _Header(tarfile.TarInfo):
    """A header that is refused before what belongs to it is read, if that may be too large."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.type in LONG and header.size > MAX_HEADER:
            raise tarfile.ReadError(f"a header of {header.size:,} bytes exceeds {MAX_HEADER:,}")
        if header.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a sparse file")
        return header

    def _proc_gnusparse_10(self, *_: object) -> None:  # tarfile's own name for reading such a map
        raise tarfile.ReadError("a sparse file")


def _files(archive: tarfile.TarFile) -> Iterator[File]:
    while (member := archive.next()) is not None:
        name = key_and_ending(member.name) if member.isfile() else None
        if name:
            yield *name, member
        cast(Any, archive).members.clear()  # tarfile keeps every header it has read


def _sample(archive: tarfile.TarFile, key: str, files: Iterator[File]) -> Taken:
    held: dict[str, bytes] = {}
    size = 0
    for _, ending, member in files:
        if ending not in READ:
            if len(held) < NAMED:
                held[ending] = b""
            continue
        if ending in held:
            return UnreadableImage(key, f"two files {ending}")
        size += member.size
        if size > MAX_BYTES:
            return UnreadableImage(key, f"{size:,} bytes exceed {MAX_BYTES:,}")
        file = archive.extractfile(member)
        assert file is not None, "a plain file has bytes"
        held[ending] = file.read()
    try:
        return Sample.of_files(key, held)
    except UnreadableImage as error:
        return error


def _short(tar: str) -> str:
    """Name a tar without what may be secret: the query of a URL, all but the word of a command."""
    return "pipe" if tar.startswith("pipe:") else tar.partition("?")[0].rpartition("/")[2]


def _ended(stream: Any) -> str:
    """Say how the command behind a stream failed, if it has ended and did."""
    process = getattr(stream, "proc", None)
    if process is None or stream.stream.closed or stream.stream.read(1):
        return ""
    try:
        status = process.wait(10)
    except TimeoutExpired:
        return ""
    return f"the command that fetches it ended with {status}" if status else ""


def _reason(error: Exception) -> str:
    """Say in a few words why a tar broke off; webdataset's message may hold a token."""
    said = str(error.args[0]) if error.args else type(error).__name__
    if isinstance(error, OSError) and not isinstance(error, tarfile.TarError):
        return f"cannot be fetched: {error.strerror or type(error).__name__}"
    return f"breaks off: {said.partition(' @ ')[0]}"
