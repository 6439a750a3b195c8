"""Estimate a job from one sample shard, made for real in a temporary folder."""

import math
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from pipelines.engine.jobs import Job
from pipelines.engine.run_options import RunOptions
from pipelines.engine.workers import cores
from shards.dataset import Dataset
from shards.errors import UserError
from shards.outputs import claimed
from shards.sidecar import Sidecar, sidecar_name
from shards.skipped import skipped_in_words
from shards.store import Folder, Where, open_store


@dataclass(frozen=True, slots=True)
class Estimate:
    """What making the missing shards would take, by the measure of shard `sampled`.

    `bytes` are those of tars and sidecars. `core_hours` hold the shards alone, at the speed of
    this machine with one process at work; `wall_seconds` divides them over `workers`. `cost` is
    in the currency of the price of a core-hour, None where no price was given. `skipped` counts
    what the sources hold and the run would leave out, if shard 0, which tells it, is to be made.
    `caution` is that of the job.
    """

    shards: int
    finished: int
    to_make: int
    sampled: int
    samples: int
    bytes: int
    seconds_per_shard: float
    workers: int
    core_hours: float
    wall_seconds: float
    price_per_core_hour: float | None
    cost: float | None
    skipped: dict[str, int]
    caution: str

    def row(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Write the plan for a person."""
        wall = timedelta(seconds=math.ceil(self.wall_seconds))
        text = [
            f"shards   {self.to_make:,} to make of {self.shards:,}, {self.finished:,} finished",
            f"samples  {self.samples:,}",
            f"bytes    {self.bytes / 1e6:,.1f} MB",
            f"time     {wall} with {self.workers} workers, {self.core_hours:,.3f} core-hours",
        ]
        if self.cost is not None:
            price = self.price_per_core_hour
            text.append(f"cost     {self.cost:,.2f}, in the currency of --price {price:g}")
        if self.skipped:
            count = sum(self.skipped.values())
            text.append(f"left out {count:,} ({skipped_in_words(self.skipped)})")
        if self.caution:
            text.append(f"note     {self.caution}")
        return [
            *text,
            f"by the measure of shard {self.sampled}, made here in {self.seconds_per_shard:.2f} s",
        ]


def estimate(
    job: Job,
    out: Where,
    options: RunOptions = RunOptions(),
    *,
    price: float | None = None,
) -> Estimate:
    """Measure one of the shards to make (the first) and multiply; `out` is only read.

    Args:
        job: what a run would make.
        out: where it would make it.
        options: of that run.
        price: of a core-hour, in any currency.

    Raises:
        UserError: when `out` belongs to another recipe, or the number of workers is not known.
        ShardError: when a sidecar is broken, at which a run would stop too.
    """
    if options.engine == "ray" and not options.workers:
        raise UserError("--dry-run --engine ray: give --workers, the cores that the cluster has")
    done = _finished(job, out)
    to_make = options.to_make(job.count(), done)
    sampled = to_make[0] if to_make else 0
    slots = 1 if options.engine == "inline" else options.workers or cores()
    slots = min(slots, max(1, len(to_make)))
    seconds, made, size = _measure(job, sampled)
    total = seconds * len(to_make)
    hours = total / 3600
    return Estimate(
        shards=len(done.union(range(job.count()))),
        finished=len(done),
        to_make=len(to_make),
        sampled=sampled,
        samples=made.sums.samples * len(to_make),
        bytes=size * len(to_make),
        seconds_per_shard=round(seconds, 3),
        workers=slots,
        core_hours=round(hours, 6),
        wall_seconds=round(seconds * math.ceil(len(to_make) / slots), 3),
        price_per_core_hour=price,
        cost=None if price is None else round(hours * price, 4),
        skipped=made.sums.skipped,
        caution=job.caution(),
    )


def _finished(job: Job, out: Where) -> set[int]:
    """List the shards that a run would find whole; nothing there is tidied."""
    store = open_store(out)
    if isinstance(store, Folder) and not store.path.exists():
        return set()
    claimed(store, job.identity())
    return {summary.shard for summary in Dataset(store).whole()}


def _measure(job: Job, shard: int) -> tuple[float, Sidecar, int]:
    """Make one shard and return its seconds, its sidecar, and bytes of tar and sidecar.

    What a worker does once (fonts, corpus, filters) is done before the clock starts.
    """
    job.inputs()
    with tempfile.TemporaryDirectory(prefix="nonpareil-") as name:
        place = Folder(Path(name))
        start = time.perf_counter()
        made = job.make_shard(shard, place)
        seconds = time.perf_counter() - start
        return seconds, made, made.bytes + place.size(sidecar_name(shard))
