"""Listing: the images in a folder, a bucket, a list or a tar that other people filled.

Each image gets a `Place`; everything else is counted, with its reason. Only plain files are ever
opened. What is listed, and how it is called, does not depend on the order of a file system.
"""

import os
import stat
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from heapq import heappop, heappush
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from shards.ahead import ahead
from shards.errors import OUR_HOST, UserError
from shards.images.formats import READABLE
from shards.skipped import Skip, Skips, by_ending, is_hidden, readable
from shards.store import MAX_BYTES, PARALLEL_READS, Bucket, Object
from shards.tars.headers import SPECIAL
from shards.tars.members import Member, members
from shards.text import plain_text

HIDDEN = "hidden"
"""What begins with a dot is passed over, as shells do: `.cache/`, or `._a.jpg` of macOS."""

BROKEN_LINK = "broken link"
MET_BEFORE = "linked folder met before"
NOT_THERE = "listed but not there"
LISTED_TWICE = "listed twice"
LISTED_FOLDER = "listed folder"


class Place(NamedTuple):
    """Where one image lies: a file or an object, or `size` bytes at `offset` of a tar."""

    name: str
    file: Path | Object
    offset: int = 0
    size: int | None = None

    def bytes(self) -> int:
        """Return the size of the image in bytes, -1 when its file is gone."""
        if self.size is not None:
            return self.size
        if isinstance(self.file, Object):
            return self.file.size
        return self.file.stat().st_size if self.file.exists() else -1


def in_folder(root: Path, skips: Skips) -> Iterator[Place]:
    """Yield the images below a folder, and those inside its tars."""
    for name, path, kind in all_below(root, skips.add):
        if not stat.S_ISDIR(kind):
            yield from _in_file(name, path, kind, skips)


def all_below(root: Path, skip: Callable[[Skip], object]) -> Iterator[tuple[str, Path, int]]:
    """Yield what lies below a folder, folders too: its name there, path and mode, 0 for none.

    Tell `skip` of what is hidden or cannot be entered. Linked folders come behind all others, each
    once: a link renames nothing that is there without it, and a circle of links ends. They are told
    apart by their real paths, as the inodes of mounted buckets may all be 0.
    """
    real, linked, met = [("", root)], list[tuple[str, Path]](), set[str]()
    while real or linked:
        prefix, folder = real.pop() if real else heappop(linked)
        where = os.path.realpath(folder)
        if where in met:
            skip(Skip(prefix, MET_BEFORE))
            continue
        met.add(where)
        try:
            with os.scandir(folder) as listed:
                entries = sorted(listed, key=attrgetter("name"))
        except OSError as error:
            skip(_unreadable(prefix or str(root), error))
            continue
        for entry in entries:
            name, path, kind = prefix + readable(entry.name), Path(entry.path), _kind_of(entry)
            if is_hidden(readable(entry.name)):
                skip(Skip(name, HIDDEN))
                continue
            yield name, path, kind
            if stat.S_ISDIR(kind) and entry.is_symlink():
                heappush(linked, (f"{name}/", path))
            elif stat.S_ISDIR(kind):
                real.append((f"{name}/", path))


def in_bucket(bucket: Bucket, skips: Skips) -> Iterator[Place]:
    """Yield the images below a prefix, and those inside its tars, of which many are read at once.

    What a name says is as in a folder; a hidden one counts once for each object below it.
    """

    def inside(tar: Object) -> tuple[list[Place], Skips]:
        beside = Skips()
        return list(in_tar(tar, tar.path, beside)), beside

    tars = list[Object]()
    for entry in bucket.all_objects():
        if is_hidden(entry.path):
            skips.add(Skip(entry.path, HIDDEN))
        elif entry.path.lower().endswith(".tar"):
            tars.append(entry)
        elif _is_image(entry.path):
            yield Place(entry.path, entry)
        else:
            skips.add(by_ending(entry.path))
    for places, beside in ahead(inside, tars, PARALLEL_READS):
        yield from places
        skips.merge(beside)


def in_list(path: Path, skips: Skips) -> Iterator[Place]:
    """Yield the images that a text file lists, one a line, and those inside the tars it lists.

    Paths are relative to its folder, and bytes as on a disk; a byte order mark is dropped. What a
    line names is taken for an image, whatever its ending.

    Raises:
        UserError: when it is no text, too large, or nothing that it lists is there.
    """
    lines = [line.strip(b" \t\r") for line in _text(path).split(b"\n")]
    times, missing = Counter(line for line in lines if line), list[str]()
    for line, count in times.items():
        name, file = readable(line), path.parent / os.fsdecode(line)
        skips.extend(Skip(name, LISTED_TWICE) for _ in range(count - 1))
        kind = _kind(file)
        if not kind:
            missing.append(name)
            skips.add(Skip(name, NOT_THERE))
        elif stat.S_ISDIR(kind):
            skips.add(Skip(name, LISTED_FOLDER))
        elif stat.S_ISREG(kind) and file.suffix.lower() != ".tar":
            yield Place(name, file)
        else:
            yield from _in_file(name, file, kind, skips)
    if missing and len(missing) == len(times):
        raise UserError(
            f"images: {path} lists {missing[0]}, which does not exist (all of {len(missing):,} are "
            "missing); list paths relative to its folder, one a line"
        )


def in_tar(tar: Path | Object, name: str, skips: Skips) -> Iterator[Place]:
    """Yield the images inside a plain tar, as WebDataset and img2dataset write them."""
    try:
        with closing(tar.open() if isinstance(tar, Object) else _Bytes(tar)) as file:
            for entry in members(file):
                inside = f"{name}/{entry.name}" if entry.name else name
                if not isinstance(entry, Member):
                    skips.add(Skip(inside, entry.reason))
                elif is_hidden(entry.name):
                    skips.add(Skip(inside, HIDDEN))
                elif _is_image(entry.name):
                    yield Place(inside, tar, entry.offset, entry.size)
                else:
                    skips.add(by_ending(inside))
    except OSError as error:
        skips.add(_unreadable(name, error))


def _in_file(name: str, path: Path, kind: int, skips: Skips) -> Iterator[Place]:
    """Yield the images of a file of `kind`, which may be none, as its ending says."""
    if not stat.S_ISREG(kind):
        skips.add(Skip(name, SPECIAL if kind else BROKEN_LINK))
    elif path.suffix.lower() == ".tar":
        yield from in_tar(path, name, skips)
    elif _is_image(name):
        yield Place(name, path)
    else:
        skips.add(by_ending(name))


def _kind(path: Path) -> int:
    """Return the mode of what a path leads to, 0 when that is nothing."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):  # the second for a name with a zero byte
        return 0


def _kind_of(entry: os.DirEntry[str]) -> int:
    """Return the same without asking for each file, which a mounted bucket takes long to answer."""
    if entry.is_file(follow_symlinks=False):
        return stat.S_IFREG
    return stat.S_IFDIR if entry.is_dir(follow_symlinks=False) else _kind(Path(entry.path))


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower().removeprefix(".") in READABLE


def _unreadable(name: str, error: OSError) -> Skip:
    """Skip what the system does not let us read.

    Raises:
        OSError: as given, when it tells of our host.
    """
    if error.errno in OUR_HOST:
        raise error
    return Skip(name, (error.strerror or "cannot be read").lower())


def _text(path: Path) -> bytes:
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"images: {path} is larger than {MAX_BYTES:,} bytes; split the list")
    data = path.read_bytes()
    with suppress(UnicodeDecodeError):  # names need not be UTF-8
        data = plain_text(data).encode()
    if b"\0" in data:
        raise UserError(f"images: {path} is no UTF-8 text, it holds zero bytes; save it as such")
    return data.removeprefix(BOM_UTF8)


class _Bytes:
    """A file of this machine for the scanner of tars."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self.size = path.stat().st_size

    def read(self, start: int, length: int) -> bytes:
        return os.pread(self._file.fileno(), length, start)

    def close(self) -> None:
        self._file.close()
