"""The trainer: what guards, averages and watches a run, beside the steps themselves."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks._rows import Row, main
from pipelines.engine.jobs import RenderJob
from pipelines.engine.workers import Run
from pipelines.recipe import load
from vae import TrainSettings
from vae.curriculum.stage import streams_of
from vae.data.batches import Batches, open_streams, sizes_of
from vae.training.ranks import ALONE
from vae.training.step import take
from vae.training.train import begin
from vae.training.watch import Watch

BESIDE = 5.0
"""Most per cent of a step that guard, average and watching may take together."""


def measure(quick: bool) -> list[Row]:
    """Parts of the training of nano, on one core."""
    torch.set_num_threads(1)
    return _beside(quick)


def _beside(quick: bool) -> list[Row]:
    """Time what stands beside a step, in a step of the last stage of train_nano."""
    settings = load(TrainSettings, "train_nano")
    state = begin(settings)
    assert state.average is not None, "train_nano keeps an average"
    average = state.average
    with tempfile.TemporaryDirectory() as folder:
        pages = RenderJob.model_validate({"shards": 1, "samples_per_shard": settings.watch_images})
        list(Run(pages, Path(folder)))
        names = streams_of(settings.stages)
        readers = open_streams(dict.fromkeys(names, Path(folder)), settings.stages)
        curriculum = settings.curriculum(sizes_of(readers))
        knobs = curriculum.at(curriculum.start(curriculum.stretches[-1][0]))
        batches = Batches(readers, curriculum)
        drawn = [batches[knobs.n, m] for m in range(knobs.micro_batches)]
        watch = Watch(
            {"pages": Path(folder)},
            {},
            settings.model(),
            state.objective,
            ALONE,
            images=settings.watch_images,
            side=settings.watch_side,
        )

    def step() -> None:
        outcome = take(state.reduction, drawn, knobs, settings.seed, state.balance)
        state.reduction.clip(outcome.norm, settings.clip)
        state.optimizer.step()

    outcome = take(state.reduction, drawn, knobs, settings.seed, state.balance)
    good = torch.zeros(())

    def guard() -> None:
        state.guard.judge(knobs, outcome.losses, outcome.gradient)
        state.guard.read()

    rounds = 5 if quick else 30
    whole = _best(step, rounds)
    steps = settings.watch_every / knobs.samples
    parts = {
        "guard": _best(guard, 10 * rounds),
        "average": _best(lambda: average.update(state.model, 1, 1, good), 10 * rounds),
        f"watching {settings.watch_images} images every {settings.watch_every:,} samples": _best(
            lambda: watch.take(state.model), max(2, rounds // 10)
        )
        / steps,
    }
    height, width = knobs.shape
    title = f"nano, {knobs.samples} x {height} x {width} px"
    together = 100 * sum(parts.values()) / whole
    return [
        Row(f"{title}: step", 1000 * whole, "CPU ms"),
        *(Row(f"{title}: {name}", 100 * s / whole, "% of a step") for name, s in parts.items()),
        Row(f"{title}: all of these", together, "% of a step", target=BESIDE, better="lower"),
    ]


def _best(work: Callable[[], object], rounds: int) -> float:
    """Return the CPU seconds of the best round: other programs can only make it slower."""
    best = float("inf")
    for _ in range(rounds + 1):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


if __name__ == "__main__":
    main(measure)
