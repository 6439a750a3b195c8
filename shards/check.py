"""Check finished shards: is what lies on disk what the sidecars promise?"""

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass

from shards.errors import ShardError, UserError
from shards.sidecar import SIDECAR_NAME, TAR_NAME, Sidecar, read_sidecar, shard_name
from shards.store import Store, Where, open_store

PIECE = 8 << 20
"""Bytes of a tar held in memory while its SHA-256 is taken."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with one shard: which file, what, and what to do."""

    file: str
    fault: str
    remedy: str

    def row(self) -> dict[str, str]:
        """Return the fields by name."""
        return asdict(self)


def faults(where: Where) -> Iterator[Fault]:
    """Yield every fault of the shards in a folder or bucket, in order of file name.

    Found: broken sidecars, tars without sidecar (unfinished) and the reverse, altered bytes,
    gaps in the shard numbers, recipes that differ, keys that occur twice.

    Raises:
        UserError: when the folder is missing or holds no shard at all.
    """
    store = open_store(where)
    names = store.names()
    tars = {name.removesuffix(".tar") for name in names if TAR_NAME.fullmatch(name)}
    notes = {name.removesuffix(".json") for name in names if SIDECAR_NAME.fullmatch(name)}
    if not tars | notes:
        raise UserError(f"{store} holds no shard (part-*.tar with part-*.json)")
    for stem in sorted(tars - notes):
        yield Fault(f"{stem}.tar", "no sidecar: unfinished", "run the same command again")
    good: list[Sidecar] = []
    for stem in sorted(notes):
        try:
            sidecar = read_sidecar(store, f"{stem}.json")
        except ShardError:
            yield Fault(f"{stem}.json", "broken sidecar", "delete it and run again")
            continue
        fault = tar_fault(store, sidecar)
        if fault:
            yield Fault(sidecar.tar, fault, f"delete {stem}.json and run again")
        good.append(sidecar)
    yield from _faults_between(good)


def tar_fault(store: Store, sidecar: Sidecar) -> str:
    """Say what is wrong with a tar, or return an empty string."""
    try:
        size = store.size(sidecar.tar)
    except FileNotFoundError:
        return "missing tar"
    if size != sidecar.bytes:
        return f"{size:,} bytes instead of {sidecar.bytes:,}"
    if sha256_of(store, sidecar.tar) != sidecar.sha256:
        return "sha256 differs: altered bytes"
    return ""


def sha256_of(store: Store, name: str) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    total = hashlib.sha256()
    with closing(store.open(name)) as file:
        for start in range(0, file.size, PIECE):
            total.update(file.read(start, PIECE))
    return total.hexdigest()


def _faults_between(good: list[Sidecar]) -> Iterator[Fault]:
    present = {sidecar.shard for sidecar in good}
    for index in sorted(set(range(max(present, default=-1) + 1)) - present):
        yield Fault(f"{shard_name(index)}.tar", "missing shard", "run the same command again")
    for recipe in sorted({sidecar.recipe for sidecar in good})[1:]:
        which = ", ".join(sidecar.tar for sidecar in good if sidecar.recipe == recipe)
        yield Fault(which, f"made by another recipe {recipe[:12]}", "keep one recipe a folder")
    seen: dict[str, str] = {}
    for sidecar in good:
        for entry in sidecar.entries:
            if entry.key in seen:
                where = f"key {entry.key} also in {seen[entry.key]}"
                yield Fault(sidecar.tar, where, "delete its sidecar and run again")
            seen[entry.key] = sidecar.tar
