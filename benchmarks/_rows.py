"""What every benchmark returns, and how it is printed and stored."""

import json
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from shards.console import print_table, run_command


@dataclass(frozen=True)
class Row:
    """One figure. `target` is what it must reach; None where the figure only informs.

    A value of None could not be had, and the unit says why: it is printed as n/a.
    """

    name: str
    value: float | None
    unit: str
    target: float | None = None
    better: Literal["higher", "lower"] = "higher"


def main(measure: Callable[[bool], list[Row]]) -> None:
    """Run a benchmark as a command; `measure(quick)` returns its rows."""

    def command(
        *,
        quick: Annotated[
            bool, typer.Option("--quick", help="At most a minute on two cores: fewer rounds.")
        ] = False,
        out: Annotated[Path | None, typer.Option("--json", help="Write the rows here.")] = None,
    ) -> None:
        rows = measure(quick)
        print_rows(measure.__doc__ or "", rows, machine())
        if out:
            write_rows(out, rows, machine())

    command.__doc__ = measure.__doc__
    run_command(command)


def print_rows(title: str, rows: Sequence[Row], made_by: str) -> None:
    """Print rows as a table; `made_by` is the machine."""
    shown = [asdict(row) | {"value": "n/a" if row.value is None else row.value} for row in rows]
    print_table(title, shown, footer=made_by)


def write_rows(path: Path, rows: Sequence[Row], made_by: str) -> None:
    """Write rows to a file as `python -m benchmarks` reads them."""
    record = {"machine": made_by, "commit": commit(), "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(record, indent=1) + "\n")


def rate(work: Callable[[], int], *, seconds: float, rounds: int = 3) -> float:
    """Return the best units per second over `rounds`; `work` does some and says how many.

    The best round, not the mean: other programs on the machine can only make it slower.
    """
    work()
    best = 0.0
    for _ in range(rounds):
        units, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds / rounds or not units:
            units += work()
        best = max(best, units / elapsed)
    return best


def machine() -> str:
    """Name the processor and the number of cores this process may use."""
    import os

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    return f"{name}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"


def commit() -> str:
    """Return the commit, with a plus when the tree differs from it."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or "unknown"
