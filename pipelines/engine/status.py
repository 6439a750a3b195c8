"""How far a shard job has come: the one thing that every view of a run shows."""

from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from shards.outputs import PROGRESS
from shards.settings import Settings
from shards.store import Store

RECENT_S = 30.0
"""A run whose `progress.json` is newer is at work (our choice: it is written every second, and
clocks differ)."""

State = Literal["running", "finished", "interrupted", "failed"]


class Status(Settings):
    """How far a job has come; what `progress.json` holds.

    `done`, `total` and `failed` count shards, of them `failed` given up by this run; `samples`,
    `bytes`, `dropped`, `unreadable` and `skipped` are the `Totals` of all finished shards; rates
    and `eta_seconds` (until this run ends) are from this run alone. `under_way` counts the samples
    in shards that are not finished, `workers` those that gave a sign of life within a minute, and
    `nodes` tells when each node gave its last one; all are of this run, and count in no other
    number but `samples_per_second`. `silent` has the seconds since the last sign of nodes that
    have a shard and gave none for a minute. `shunned` names the nodes of a
    cluster that get no more shards, each with the reason. Times are UTC, ISO 8601. A driver that
    was killed leaves `running` with an old `updated`.
    """

    state: State
    done: int
    total: int
    failed: int
    samples: int
    bytes: int
    dropped: dict[str, int]
    unreadable: int
    skipped: dict[str, int]
    samples_per_second: float
    bytes_per_second: float
    eta_seconds: float | None
    under_way: int = 0
    workers: int = 0
    nodes: dict[str, str] = Field(default={})
    silent: dict[str, int] = Field(default={})
    shunned: dict[str, str] = Field(default={})
    started: str
    updated: str

    @classmethod
    def at_work(cls, out: Store) -> bool:
        """Whether another run is at work in an output, as far as its `progress.json` tells."""
        try:
            status = cls.model_validate_json(out.read(PROGRESS))
            age = datetime.now(UTC) - datetime.fromisoformat(status.updated)
        except (FileNotFoundError, ValueError, TypeError):
            return False
        return status.state == "running" and abs(age.total_seconds()) < RECENT_S

    def note(self) -> str:
        """Write rates and drops for a person."""
        text = f"{self.samples_per_second:,.0f} samples/s  {self.bytes_per_second / 1e6:.1f} MB/s"
        if self.workers:
            text += f"  under way: {self.under_way:,} samples, {self.workers:,} workers"
        for node, seconds in self.silent.items():
            text += f"  no sign of {node} for {seconds} s"
        if self.dropped:
            text += "  dropped: " + ", ".join(f"{name} {n}" for name, n in self.dropped.items())
        if self.unreadable:
            text += f"  unreadable: {self.unreadable}"
        if self.failed:
            text += f"  failed: {self.failed}"
        return text + (f"  shunned: {', '.join(self.shunned)}" if self.shunned else "")
