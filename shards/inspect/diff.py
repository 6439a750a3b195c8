"""What differs between two datasets, down to the files of single samples."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from shards.dataset import Dataset, read_files
from shards.errors import UnreadableImage
from shards.sample import Sample
from shards.sidecar import Entry, Sidecar, read_sidecar
from shards.store import RandomAccessFile, Where


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two datasets differ: a shard or one of its samples, in what, and how."""

    file: str
    key: str
    what: str
    how: str

    def row(self) -> dict[str, str]:
        """Return the fields by name."""
        return asdict(self)


Differs = tuple[str, str]
"""In what, and how."""


def differences(a: Where, b: Where) -> Iterator[Difference]:
    """Yield what differs between two folders or buckets: shards of one alone, then shard by shard.

    Shards are compared with those of the same number, and tars opened only where their SHA-256
    differ. What sidecars say of a whole shard (recipe, versions) is named the first time only.

    Raises:
        UserError: when a folder is missing or holds no finished shard.
        ShardError: when a shard is not what its sidecar says.
    """
    datasets = Dataset(a), Dataset(b)
    for dataset in datasets:
        if not dataset.names:
            raise dataset.nothing()
    (first, here), (second, there) = ((dataset.store, {*dataset.names}) for dataset in datasets)
    for name in sorted(here ^ there, key=_by_shard):
        yield Difference(name, "", "shard", f"only in {first if name in here else second}")
    said: set[Differs] = set()
    for name in sorted(here & there, key=_by_shard):
        ours, theirs = read_sidecar(first, name), read_sidecar(second, name)
        for what, how in _shard_differences(ours, theirs):
            if (what, how) not in said:
                said.add((what, how))
                yield Difference(name, "", what, how)
        if ours.sha256 == theirs.sha256 and ours.entries == theirs.entries:
            continue
        with closing(first.open(ours.tar)) as mine, closing(second.open(theirs.tar)) as other:
            yield from _samples(ours, mine, theirs, other)


def _by_shard(name: str) -> tuple[int, str]:
    return len(name), name


def _shard_differences(ours: Sidecar, theirs: Sidecar) -> Iterator[Differs]:
    if ours.recipe != theirs.recipe:
        yield "recipe", f"{ours.recipe[:12]} → {theirs.recipe[:12]}"
    for name in sorted(ours.versions.keys() | theirs.versions.keys()):
        old, new = ours.versions.get(name, "none"), theirs.versions.get(name, "none")
        if old != new:
            yield "version", f"{name} {old} → {new}"
    if ours.dropped != theirs.dropped:
        yield "dropped", f"{len(ours.dropped)} → {len(theirs.dropped)}, or others"


def _samples(
    ours: Sidecar, mine: RandomAccessFile, theirs: Sidecar, other: RandomAccessFile
) -> Iterator[Difference]:
    there = {entry.key: entry for entry in theirs.entries}
    here = {entry.key for entry in ours.entries}
    for entry in ours.entries:
        match = there.get(entry.key)
        if match is None:
            yield Difference(ours.name, entry.key, "sample", "only in the first")
        elif not _alike(entry, match):
            old, new = read_files(mine, entry), read_files(other, match)
            for what, how in _file_differences(entry.key, old, new) or [
                ("sidecar", _fields(entry, match))
            ]:
                yield Difference(ours.name, entry.key, what, how)
    for key in there:
        if key not in here:
            yield Difference(ours.name, key, "sample", "only in the second")


def _alike(a: Entry, b: Entry) -> bool:
    """Whether two entries describe the same bytes; where these lie does not matter."""
    sizes = ([(ending, size) for ending, (_, size) in entry.files.items()] for entry in (a, b))
    return next(sizes) == next(sizes) and _described(a) == _described(b)


def _described(entry: Entry) -> dict[str, Any]:
    return entry.model_dump(mode="json", exclude={"files"})


def _fields(a: Entry, b: Entry) -> str:
    return _changes(_described(a), _described(b)) or "order or offsets of the files"


def _file_differences(key: str, old: dict[str, bytes], new: dict[str, bytes]) -> list[Differs]:
    """Compare the files of a sample: the picture by its pixels, text and metadata by content."""
    differences: list[Differs] = []
    if old == new:
        return differences
    a, b = Sample.of_files(key, old), Sample.of_files(key, new)
    if (a.format, a.image) != (b.format, b.image):
        differences.append(("picture", _pixel_difference(a, b)))
    if a.text != b.text:
        differences.append(("text", f"{a.text[:60]!r} → {b.text[:60]!r}"))
    if a.meta != b.meta:
        differences.append(("json", _changes(a.meta, b.meta)))
    return differences or [("bytes", "written differently, the same content")]


def _pixel_difference(a: Sample, b: Sample) -> str:
    try:
        first, second = a.pixels().astype(np.int16), b.pixels().astype(np.int16)
    except UnreadableImage as error:
        return f"cannot be decoded: {error.reason}"
    if first.shape != second.shape:
        return f"{first.shape[1]}x{first.shape[0]} → {second.shape[1]}x{second.shape[0]}"
    apart = np.abs(first - second).max(axis=2)
    if not apart.any():
        return "other bytes, the same pixels"
    return f"{(apart > 0).mean():.1%} of the pixels, by up to {apart.max()} of 255"


def _changes(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Name the fields that differ, with their values where these are short."""
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return ", ".join(f"{name} {_short(old.get(name))} → {_short(new.get(name))}" for name in names)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:23]}…"
