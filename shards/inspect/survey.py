"""Survey: one pass over the sidecars of a dataset, in bounded memory, that no damage stops.

It counts, keeps some rejected images of every reason, and notes the faults that show without
opening a tar; `shards verify` finds the others.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson

from shards.ahead import ahead
from shards.errors import ShardError, UserError
from shards.inspect.check import RERUN, Advance, Fault
from shards.inspect.stats import Stats
from shards.sidecar import (
    TAR_NAME,
    Dropped,
    Sidecar,
    read_sidecar,
    shard_name,
    shard_number,
    sidecar_names,
)
from shards.store import PARALLEL_READS, Store, Where, open_store

REJECTS = 12
"""Rejected images kept of each reason (our choice: two rows of a contact sheet)."""

MAX_NOTE_BYTES = 2**24
"""Largest recipe.json or quarantine.json that is read, in bytes."""


@dataclass(frozen=True, slots=True)
class ShardRow:
    """What a table of shards says of one."""

    shard: int
    samples: int
    dropped: int
    bytes: int
    sha256: str

    @property
    def tar(self) -> str:
        """Return the name of its tar."""
        return f"{shard_name(self.shard)}.tar"


@dataclass
class Survey:
    """What a dataset holds and what is wrong with it.

    `versions` counts shards by (library, version). `faults` have the fields of `Fault.row`.
    `rejects` maps a reason to at most REJECTS images: those whose names have the smallest digests,
    which is a fair sample and the same every time.
    """

    store: Store
    stats: Stats = field(default_factory=Stats)
    shards: list[ShardRow] = field(default_factory=list[ShardRow])
    versions: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    faults: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    rejects: dict[str, dict[bytes, Dropped]] = field(
        default_factory=dict[str, dict[bytes, Dropped]]
    )

    @classmethod
    def of(cls, where: Where, advance: Advance | None = None) -> "Survey":
        """Survey a folder or bucket.

        Raises:
            UserError: when it is missing or holds no finished shard.
        """
        survey = cls(open_store(where))
        sizes = survey.store.sizes()
        names = sidecar_names(survey.store)
        survey.faults += [fault.row() for fault in _absent(sizes, names)]
        # With the one in use PARALLEL_READS sidecars are held, each of which may be large.
        found = ahead(partial(_read, survey.store), names, PARALLEL_READS - 1)
        for done, (name, sidecar) in enumerate(zip(names, found, strict=True), 1):
            if sidecar:
                survey.add(sidecar)
            survey.faults += [fault.row() for fault in _faults(name, sidecar, sizes)]
            if advance:
                advance(done, len(names))
        if not survey.shards:
            raise UserError(
                f"{survey.store} holds no finished shard (part-*.tar with its part-*.json); "
                "give the --out folder of a render or filter run"
            )
        for recipe, shards in survey.stats.recipes.most_common()[1:]:
            fault = f"{shards} of the shards were made by another recipe, {recipe[:12]}"
            survey.faults.append(Fault(-1, "*.json", "recipe", fault).row())
        survey.faults += _given_up(survey.note("quarantine.json"))
        return survey

    def add(self, sidecar: Sidecar) -> None:
        """Count one shard."""
        self.stats.add(sidecar)
        self.versions.update(sidecar.versions.items())
        samples, dropped = len(sidecar.entries), len(sidecar.dropped)
        self.shards.append(ShardRow(sidecar.shard, samples, dropped, sidecar.bytes, sidecar.sha256))
        for drop in sidecar.dropped:
            kept = self.rejects.setdefault(drop.reason, {})
            kept[hashlib.sha256(drop.source.encode()).digest()] = drop
            if len(kept) > REJECTS:
                del kept[max(kept)]

    def note(self, name: str) -> Any:
        """Read a JSON file beside the shards; None, and a fault, where it cannot be read."""
        try:
            size = self.store.size(name)
            if size > MAX_NOTE_BYTES:
                raise ValueError(f"{size:,} bytes exceed {MAX_NOTE_BYTES:,}")
            return orjson.loads(self.store.read(name))
        except FileNotFoundError:
            return None
        except ValueError as error:
            remedy = "move it away; the next run writes another"
            self.faults.append({"file": name, "fault": f"no JSON: {error}", "remedy": remedy})
            return None


def _read(store: Store, name: str) -> Sidecar | None:
    try:
        return read_sidecar(store, name)
    except (ShardError, OSError):
        return None


def _faults(name: str, sidecar: Sidecar | None, sizes: Mapping[str, int]) -> Iterator[Fault]:
    """Yield what is wrong with one shard as far as lengths tell."""
    if sidecar is None:
        yield Fault(shard_number(name), name, "sidecar", "broken sidecar")
    elif sidecar.tar not in sizes:
        yield Fault(sidecar.shard, sidecar.tar, "tar", "missing tar")
    elif sizes[sidecar.tar] != sidecar.bytes:
        fault = f"{sizes[sidecar.tar]:,} bytes instead of {sidecar.bytes:,}"
        yield Fault(sidecar.shard, sidecar.tar, "size", fault)


def _absent(names: Iterable[str], notes: Iterable[str]) -> Iterator[Fault]:
    """Yield the shards that are unfinished or missing, from the names of all files."""
    done = {shard_number(name) for name in notes}
    begun = {shard_number(name): name for name in names if TAR_NAME.fullmatch(name)}
    for shard in sorted(set(begun) - done):
        yield Fault(shard, begun[shard], "unfinished", "no sidecar: unfinished")
    known = done | set(begun)
    last = max(known, default=-1)
    # Counted, not listed: a file named part-999999999 must not make a billion lines.
    if missing := last + 1 - len(known):
        yield Fault(last, "part-*.tar", "gap", f"{missing:,} shards below {last} are missing")


def _given_up(quarantine: Any) -> list[dict[str, Any]]:
    """List the shards that a run gave up, from what its quarantine.json holds."""
    rows = quarantine if isinstance(quarantine, list) else []
    return [
        {
            "file": f"{shard_name(row['shard'])}.tar",
            "fault": f"given up after {row.get('attempts', '?')} attempts: {row.get('error', '?')}",
            "remedy": RERUN,
        }
        for row in rows
        if isinstance(row, dict) and isinstance(row.get("shard"), int)
    ]
