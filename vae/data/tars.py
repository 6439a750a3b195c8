"""Tars as they arrive, from front to back and within bounds: nobody vouches for them.

They are read by the one scanner of tars (shards/tars/members.py), which goes on behind damage. A
stream never goes back, so a link in it is left out. Of a sample the picture, the text and the label
are read, up to MAX_BYTES together; a larger one is passed over. What a picture decodes to is
bounded where it is opened (shards/images/decoding.py).
"""

from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from subprocess import TimeoutExpired
from typing import Any

from shards import Sample, UnreadableImage
from shards.errors import foreign
from shards.foreign import NO_SAMPLE, TWICE, File, files_of
from shards.images.formats import READABLE
from shards.skipped import Skip
from shards.store import MAX_BYTES
from shards.tars.headers import CUT
from shards.tars.members import WINDOW, Link, scan

READ = {*READABLE.values(), "txt", "json"}
"""Endings of the files that make a sample."""

NAMED = 8
"""Endings of other files that are remembered, to say what is there in place of an image."""

LINK = "link, which a stream cannot follow"

Taken = Sample | UnreadableImage
"""A sample, or what is wrong with one or with the rest of a tar."""


def unpacked(tar: str) -> Iterator[Taken]:
    """Yield the samples of one tar as it arrives, and what is wrong with it or with one of them."""
    from webdataset.gopen import gopen

    name, stream, is_cut = _short(tar), None, False
    try:
        with foreign(name, "cannot be fetched"):  # webdataset passes on whatever happens
            stream = gopen(tar)
            for taken in read_stream(name, Forward(stream)):
                if isinstance(taken, UnreadableImage) and taken.reason == CUT:
                    is_cut = True  # perhaps by the command, which tells at its very end
                else:
                    yield taken
            failure = _ended(stream)
            if failure or is_cut:
                yield UnreadableImage(name, failure or CUT)
            if not failure:  # or webdataset raises it
                stream.close()
    except UnreadableImage as error:
        yield UnreadableImage(name, _ended(stream) or _reason(error))


class Forward:
    """A stream as the scanner of tars reads it: by position, but never back.

    A position that lies behind is an error of ours, and raises ValueError.
    """

    size = 2**63 - 1

    def __init__(self, stream: Any) -> None:
        # webdataset's own `read` of a command raises at its failure, before what it printed.
        self._stream = getattr(stream, "stream", stream)
        self._start, self._data, self._ended = 0, b"", False

    def read(self, start: int, length: int) -> bytes:
        """Return `length` bytes from `start`, passing over what lies before; fewer at the end."""
        if start < self._start:
            raise ValueError("a stream does not go back")
        while not self._ended and start > self._start + len(self._data):
            self._start += len(self._data)
            self._data = self._next(min(WINDOW, start - self._start))
        begin = start - self._start
        if begin + length > len(self._data):
            parts, missing = [self._data[begin:]], length
            while (missing := missing - len(parts[-1])) and not self._ended:
                parts.append(self._next(missing))
            self._start, self._data, begin = start, b"".join(parts), 0
        return self._data[begin : begin + length]

    def _next(self, length: int) -> bytes:
        data: bytes = self._stream.read(length)
        self._ended = not data
        return data


def read_stream(tar: str, file: Forward) -> Iterator[Taken]:
    """Yield the samples of a stream called `tar`, and what is wrong with it or with one of them."""
    wrong: list[UnreadableImage] = []

    def note(skip: Skip) -> None:
        if skip.reason != NO_SAMPLE:
            wrong.append(UnreadableImage(f"{tar}/{skip.name}", skip.reason))

    entries = (Skip(it.name, LINK) if isinstance(it, Link) else it for it in scan(file))
    for (_, key), files in groupby(files_of(entries, note), attrgetter("sample")):
        yield _sample(file, key, files)
        yield from wrong
        wrong.clear()
    yield from wrong


def _sample(stream: Forward, key: str, files: Iterator[File]) -> Taken:
    held: dict[str, bytes] = {}
    size = 0
    for _, ending, member in files:
        if ending not in READ:
            if len(held) < NAMED:
                held[ending] = b""
            continue
        if ending in held:
            return UnreadableImage(key, f"{TWICE}: {ending}")
        size += member.size
        if size > MAX_BYTES:
            return UnreadableImage(key, f"{size:,} bytes exceed {MAX_BYTES:,}")
        held[ending] = stream.read(member.offset, member.size)
        if len(held[ending]) < member.size:
            return UnreadableImage(key, CUT)
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
    failed = status not in stream.ignore_status
    return f"the command that fetches it ended with {status}" if failed else ""


def _reason(error: UnreadableImage) -> str:
    """Say in a few words why a tar broke off; webdataset's own message may hold a token."""
    cause = error.__cause__
    said = cause.strerror if isinstance(cause, OSError) else ""
    return f"{error.reason}: {said or type(cause).__name__}"
