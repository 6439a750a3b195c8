"""`python -m benchmarks.ablation`: make runs until all are there or the hours are over."""

import fcntl
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from shards import UserError
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

    Stop it whenever you like; the same command goes on where it stopped.
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
    with alone(scratch):
        crops = load(scratch / "crops", Amounts())
        exam = Exam(crops.pages, Recognizer())
        measure_codecs(runs / "codecs.json", crops, exam)

        def made(run: Run) -> Result:
            new = not (runs / f"{run.name}.json").exists()
            result = finish(run, crops, exam, results=runs, scratch=scratch, deadline=deadline)
            if result is None:
                print(f"the hours are over in {run.name}; the same command goes on with it")
                raise typer.Exit
            if new:
                scores = ", ".join(f"{kind} {db:.2f} dB" for kind, db in result.end.psnr.items())
                print(f"{run.name}: {scores}, {result.cpu_seconds:.0f} s of CPU", flush=True)
            return result

        rate = best_rate([made(run) for run in search()])
        print(f"learning rate {rate:g}", flush=True)
        for run in plan(rate):
            made(run)
        print("all runs are there")


@contextmanager
def alone(scratch: Path) -> Generator[None, None, None]:
    """Hold the scratch folder; a second process there would write the same files.

    Raises:
        UserError: when another process holds it.
    """
    with (scratch / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"scratch: another process is making runs in {scratch}; wait for it, or give "
                "another --scratch and --runs"
            ) from error
        yield


if __name__ == "__main__":
    run_command(main)
