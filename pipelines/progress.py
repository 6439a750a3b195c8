"""Show a shard job while it runs, and say what came of it."""

import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from shards import Sidecar
from shards.sidecar import sidecar_names, sidecars
from shards.store import Where


def progress_bar() -> Progress:
    """Make the bar that every long step shows on standard error."""
    return Progress(
        SpinnerColumn(),
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
    )


def follow(title: str, total: int, finished: Iterable[Sidecar], out: Where) -> dict[str, Any]:
    """Show each shard as it is finished and return the totals of the whole output.

    Args:
        title: what the bar is called.
        total: shards in the whole job, those of earlier runs included.
        finished: the shards of this run.
        out: where the shards are.

    Returns:
        shards, samples, bytes, dropped by reason, and the seconds and samples per second of
        this run alone.
    """
    start, samples, size = time.monotonic(), 0, 0
    drops = Counter[str]()
    with progress_bar() as bar:
        done = len(sidecar_names(out))
        task = bar.add_task(title, total=total, completed=done, note="")
        for sidecar in finished:
            samples += len(sidecar.entries)
            size += sidecar.bytes
            drops.update(sidecar.drops())
            seconds = time.monotonic() - start
            note = f"{samples / seconds:,.0f} samples/s  {size / seconds / 1e6:.1f} MB/s"
            if drops:
                note += "  dropped: " + ", ".join(f"{name} {n}" for name, n in drops.items())
            bar.update(task, advance=1, note=note)
    seconds = time.monotonic() - start
    return {
        **totals(out),
        "seconds": round(seconds, 2),
        "samples_per_second": round(samples / seconds, 1) if samples else 0.0,
    }


def totals(out: Where) -> dict[str, Any]:
    """Add up the sidecars of an output; an image dropped by several shards counts once."""
    dropped: set[tuple[str, str]] = set()
    shards = samples = size = characters = 0
    for sidecar in sidecars(out):
        shards += 1
        samples += len(sidecar.entries)
        size += sidecar.bytes
        characters += sum(entry.characters for entry in sidecar.entries)
        dropped.update((drop.source, drop.reason) for drop in sidecar.dropped)
    drops = Counter(reason for _, reason in dropped)
    return {
        "shards": shards,
        "samples": samples,
        "bytes": size,
        "characters": characters,
        "dropped": dict(drops.most_common()),
    }


def describe(summary: dict[str, Any]) -> str:
    """Write totals as one line for a person."""
    dropped = ", ".join(f"{reason} {count}" for reason, count in summary["dropped"].items())
    return (
        f"{summary['samples']:,} samples in {summary['shards']} shards, "
        f"{summary['bytes'] / 1e6:,.1f} MB, {summary['samples_per_second']:,.0f} samples/s, "
        f"dropped: {dropped or 'none'}"
    )
