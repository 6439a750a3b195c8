"""`python -m benchmarks.gpu`: all parts in the order of their worth, within so many minutes.

Every row is written as soon as it is there: whatever ends the time, what was measured stays.
"""

import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks._rows import Row, machine, print_rows, write_rows
from benchmarks.gpu.bench import ON_CPU, ON_GPU, Bench, why
from benchmarks.gpu.decode import decode
from benchmarks.gpu.steps import Speeds, correctness, count, timings
from benchmarks.gpu.training import make_data, training
from shards.console import run_command
from vae.training.ranks import Ranks

SHARES = {"correctness": 0.08, "timings": 0.55, "decode": 0.07}
"""Of the minutes, at most; what remains is for training (our choice)."""

ENDING = 60.0
"""Seconds that training may take to end, save and draw, after the time is over."""


def main(
    *,
    out: Annotated[Path, typer.Option(help="Folder of rows, curves and weights.")] = Path(
        "runs/gpu"
    ),
    minutes: Annotated[float, typer.Option(min=0.0, help="For all parts together.")] = 8.0,
    device: Annotated[str, typer.Option(help="cuda, or cpu to try it in miniature.")] = "cuda",
    teacher: Annotated[
        str, typer.Option(help="Folder of a DINOv2, for steps with the alignment.")
    ] = "",
) -> None:
    """Check a step, time steps, decode by tiles and train on the GPU of this machine.

    `python -m benchmarks runs/gpu docs/*.md` makes docs/measured/gpu.md of what it writes. A try on
    a CPU writes trial.json, of which no page is made.
    """
    end = time.monotonic() + 60 * minutes
    bench = Bench(Ranks(device), ON_CPU if device == "cpu" else ON_GPU, teacher)
    loss = " and ".join(bench.weights)
    made_by = f"{bench.card}, torch {torch.__version__}, loss of {loss}, {machine()}"
    out.mkdir(parents=True, exist_ok=True)
    path = out / ("gpu.json" if bench.on_gpu else "trial.json")
    rows: list[Row] = []

    def add(row: Row) -> None:
        rows.append(row)
        write_rows(path, rows, made_by)

    measure(bench, out, end, add)
    print_rows("The trainer on a GPU", rows, made_by)


def measure(bench: Bench, out: Path, end: float, add: Callable[[Row], None]) -> None:
    """Add the rows of all parts until `end`, of time.monotonic()."""
    # An alarm in the middle of an import would leave half of a module: torch has this one later.
    import_module("torch._dynamo")
    whole = end - time.monotonic()
    speeds: Speeds = {}
    cases = [*product(bench.size.presets, bench.size.sides)]
    # Beside the work of the GPU: counting takes seconds a step, and rendering longer.
    with (
        tempfile.TemporaryDirectory(prefix="nonpareil-") as name,
        get_context("spawn").Pool(2) as pool,
    ):
        folder = Path(name)
        made = pool.apply_async(make_data, (folder, bench.size))
        counted = {case: pool.apply_async(count, (bench.settings(*case),)) for case in cases}
        parts: dict[str, Callable[[], Iterator[Row]]] = {
            "correctness": lambda: correctness(bench),
            "timings": lambda: timings(bench, counted, speeds),
            "decode": lambda: decode(bench),
            "training": lambda: training(bench, folder, out, made, speeds, end),
        }
        for part, work in parts.items():
            left = end - time.monotonic()
            seconds = min(left, SHARES[part] * whole) if part in SHARES else left + ENDING
            try:
                with at_most(seconds):
                    for row in work():
                        add(row)
            except OutOfTime:
                add(Row(f"{part}: the rest", None, "out of time"))
            except Exception as error:  # no other part needs this one
                traceback.print_exc()
                add(Row(f"{part}: the rest", None, why(error)))
            bench.forget()


class OutOfTime(BaseException):
    """The seconds are over. No Exception, which torch.compile would take for a fault of its own."""


@contextmanager
def at_most(seconds: float) -> Generator[None]:
    """Raise OutOfTime within a `with` after so many seconds; in the main thread."""

    def over(*_: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    run_command(main)
