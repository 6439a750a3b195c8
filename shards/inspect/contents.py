"""Contents: what a report tells of a dataset, from one pass over its sidecars in bounded memory.

No damage stops it: the whole shards are counted, and the faults noted that show without opening a
tar; `shards verify` finds the others.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from shards.ahead import ahead
from shards.dataset import Dataset
from shards.inspect.check import RERUN, Advance, Fault, unfinished
from shards.inspect.stats import Stats
from shards.sidecar import Dropped, Sidecar, shard_name, shard_number
from shards.skipped import Skipped
from shards.store import PARALLEL_READS, Store, Where
from shards.totals import Totals

REJECTS = 12
"""Rejected images kept of each reason (our choice: two rows of a contact sheet)."""

MAX_NOTE_BYTES = 2**24
"""Largest recipe.json or quarantine.json that is read, in bytes."""

ROWS = 200
"""Lines of a table (our choice: `shards ls` lists all shards)."""


@dataclass
class Contents:
    """What is in a dataset and what is wrong with it, as far as its sidecars tell.

    `stats` count the whole shards; `numbers` has the index of each, `ends` the samples up to its
    end, `rows` what a table says of the first ROWS. `faults` have the fields of `Fault.row`.
    `rejects` maps a reason to at most REJECTS images: those whose names have the smallest digests,
    which is a fair sample and the same every time. `skipped` is what lies beside
    the images where they come from, at most ROWS reasons.
    """

    store: Store
    stats: Stats = field(default_factory=Stats)
    numbers: list[int] = field(default_factory=list[int])
    ends: list[int] = field(default_factory=list[int])
    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    faults: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    skipped: list[Skipped] = field(default_factory=list[Skipped])
    rejects: dict[str, dict[bytes, Dropped]] = field(
        default_factory=dict[str, dict[bytes, Dropped]]
    )

    @classmethod
    def of(cls, where: Where, advance: Advance) -> "Contents":
        """Read every sidecar of a folder or bucket.

        Raises:
            UserError: when it is missing or holds no finished shard.
        """
        dataset = Dataset(where)
        contents = cls(dataset.store)
        contents.faults += [fault.row() for fault in (*unfinished(dataset), *gap(dataset))]
        # With the one in use PARALLEL_READS sidecars are held, each of which may be large.
        examined = ahead(dataset.examine, dataset.names, PARALLEL_READS - 1)
        for done, (name, (sidecar, damage)) in enumerate(
            zip(dataset.names, examined, strict=True), 1
        ):
            if damage:
                file = sidecar.tar if sidecar else name
                contents.faults.append(Fault(shard_number(name), file, *damage).row())
            elif sidecar:
                contents.add(sidecar)
            advance(done, len(dataset.names))
        if not contents.numbers:
            raise dataset.nothing()
        for recipe, shards in contents.stats.recipes.most_common()[1:]:
            fault = f"{shards} of the shards were made by another recipe, {recipe[:12]}"
            contents.faults.append(Fault(-1, "*.json", "mixed", fault).row())
        contents.faults += _given_up(contents.note("quarantine.json"))
        return contents

    def add(self, sidecar: Sidecar) -> None:
        """Count one shard."""
        self.stats.add(sidecar)
        self.numbers.append(sidecar.shard)
        self.ends.append(self.stats.totals.samples)
        if len(self.rows) < ROWS:
            named = {"shard": sidecar.shard, "tar": sidecar.tar, "sha256": sidecar.sha256}
            self.rows.append(Totals.of([sidecar]).row() | named)
        self.skipped += sidecar.skipped[: ROWS - len(self.skipped)]
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


def gap(dataset: Dataset) -> Iterator[Fault]:
    """Yield a fault where shards are missing. They are counted: there may be billions of them."""
    last = max(dataset.numbers, default=-1)
    if missing := last + 1 - len(dataset.numbers):
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
