"""`python -m benchmarks.ablation`: make runs until all are there or the hours are over."""

import fcntl
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from shards.console import run_command


def main(
    *,
    runs: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("docs/ablation"),
    scratch: Annotated[
        Path, typer.Option(help="Folder of the images and of runs under way.")
    ] = Path("runs/ablation"),
    hours: Annotated[float, typer.Option(min=0.0, help="Stop after this long.")] = 1.0,
) -> None:
    """Make the runs that are missing, one after the other on one thread.

    Stop it whenever you like; the same command goes on where it stopped. Started twice, two
    processes share the runs between them.
    """
    deadline = time.monotonic() + 3600 * hours
    # All modules are loaded here, so that a long run does not meet code that changed meanwhile.
    import cv2
    import torch

    from benchmarks.ablation.arms import Run, plan, search
    from benchmarks.ablation.codecs import measure_codecs
    from benchmarks.ablation.crops import Amounts, load
    from benchmarks.ablation.runs import Exam, Result, best_rate, finish
    from filters import Recognizer

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    scratch.mkdir(parents=True, exist_ok=True)
    runs.mkdir(parents=True, exist_ok=True)
    with held(scratch / "crops.lock"):
        crops = load(scratch / "crops", Amounts())
        exam = Exam(crops.pages, Recognizer())
        measure_codecs(runs / "codecs.json", crops, exam)

    def make(run: Run) -> Result:
        new = not (runs / f"{run.name}.json").exists()
        result = finish(run, crops, exam, results=runs, scratch=scratch, deadline=deadline)
        if result is None:
            print(f"the hours are over in {run.name}; the same command goes on with it")
            raise typer.Exit
        if new:
            scores = ", ".join(f"{kind} {db:.2f} dB" for kind, db in result.end.psnr.items())
            print(f"{run.name}: {scores}, {result.cpu_seconds:.0f} s of CPU", flush=True)
        return result

    def share(planned: list[Run]) -> list[Result]:
        """Make those that no other process is at, then wait for the others."""
        later: list[Run] = []
        for run in planned:
            with held(scratch / f"{run.name}.lock", wait=False) as mine:
                if mine:
                    make(run)
                else:
                    later.append(run)
        for run in later:
            with held(scratch / f"{run.name}.lock"):
                make(run)
        return [make(run) for run in planned]

    rate = best_rate(share(search()))
    print(f"learning rate {rate:g}", flush=True)
    share(list(plan(rate)))
    print("all runs are there")


@contextmanager
def held(path: Path, *, wait: bool = True) -> Generator[bool, None, None]:
    """Lock a file against other processes; say whether it was free, if not to wait for it."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


if __name__ == "__main__":
    run_command(main)
