"""Training: one visible loop from streams of shards to a checkpoint.

What a run leaves in its folder:

    settings.json       what was asked for
    step-000500/        checkpoints, see vae/training/checkpoint.py
    metrics.jsonl ...   records, see vae/training/record.py

A run that is stopped goes on from its newest good checkpoint when it is started again, and ends
with the same bits as one that was never stopped (same machine, same number of threads).
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from shards.signals import answered
from shards.store import Where
from vae.inference.latents import measure_latents
from vae.model import VAE
from vae.objective.balance import Balance
from vae.objective.losses import Objective, build_objective
from vae.pixels import as_image
from vae.training.average import Average
from vae.training.checkpoint import resumed
from vae.training.curriculum import Curriculum
from vae.training.dropped import Dropped
from vae.training.guard import Guard
from vae.training.loader import Batches, open_streams, sizes_of
from vae.training.loading import announce, load, read_so_far
from vae.training.ranks import Ranks
from vae.training.record import SKIPPED, Record, settled
from vae.training.reductions import wrap
from vae.training.settings import TrainSettings
from vae.training.start import freeze, start_from
from vae.training.state import State
from vae.training.step import Step, take
from vae.training.watch import Score, Watch

log = logging.getLogger(__name__)


def fit(
    settings: TrainSettings,
    streams: Mapping[str, Where],
    out: Path,
    *,
    workers: int = 0,
    device: str = "cpu",
    progress: Callable[[Mapping[str, Any]], None] | None = None,
    from_scratch: bool = False,
    watched: Mapping[str, Where] | None = None,
    score: Score | None = None,
) -> Path:
    """Train, or go on training, and return the folder of the last checkpoint.

    `streams` maps the names used in the stages to folders or buckets of shards. `progress` is
    called with every record that goes to metrics.jsonl. `device` is torch's name of where the model
    runs. Where checkpoints lie in `out` and none is good, `from_scratch` begins anew. `watched`
    are sets that the run never learns from, by name; `score` scores their reconstructions beside
    what vae/training/watch.py does.

    Raises:
        UserError: for streams or checkpoints that do not fit, or where the guard ends the run.
        KeyboardInterrupt: on SIGINT, after a checkpoint of the step in hand.
    """
    ranks = Ranks(device)
    readers = open_streams(streams, settings.stages)
    announce(readers, workers, ranks)
    curriculum = settings.curriculum(sizes_of(readers))
    for line in curriculum.left_out():
        log.warning(line)
    batches = Batches(readers, curriculum, resized=settings.resized)
    state = begin(settings, device)
    model = state.model
    watch = Watch(
        watched or {},
        readers,
        model.settings,
        state.objective,
        ranks,
        images=settings.watch_images,
        side=settings.watch_side,
        score=score,
        read=settings.watch_read,
    )

    out.mkdir(parents=True, exist_ok=True)
    last = resumed(out, from_scratch=from_scratch)
    if last is not None:
        state.load(last)
    elif settings.init is not None:
        start_from(model, settings.init)
    elif settings.skip_start:
        places = _places(curriculum, range(curriculum.steps), settings.skip_start)
        model.skip.start_from(as_image(batches[at].images) for at in places)
    if last is None and state.average is not None:
        state.average.begin(model)
    (out / "settings.json").write_text(settings.model_dump_json(indent=1) + "\n")

    remaining = _places(curriculum, range(state.step, curriculum.steps))
    loaded = load(batches.beginning(state.n), remaining, loaders=workers, pinned=device != "cpu")
    with Record(out, state.n) as record, _interruptible() as interrupted:
        dropped = Dropped.resumed(ranks, record)
        values: dict[str, list[float]] = {}
        images, clock = 0, time.perf_counter()
        for n in curriculum.starts(state.n):
            knobs = curriculum.at(n)
            part = dropped.noting(n, islice(loaded, knobs.micro_batches))
            pixels = (batch.images for batch in part)
            outcome = take(state.reduction, pixels, knobs, settings.seed, state.balance)
            bad = state.guard.judge(knobs, outcome.losses, outcome.gradient)
            state.update(knobs, outcome, settings.clip, bad)

            finished = state.n == curriculum.samples
            logged = finished or state.step % settings.log_every == 0
            images += knobs.samples
            for name, value in outcome.values().items():
                if not bad:
                    values.setdefault(name, []).append(value.item())
            # Free on a CPU; elsewhere the host would wait for the device.
            if logged or device == "cpu":
                _heed(state, batches, record)
            due = finished or _passed(settings.checkpoint_every, n, state.n)
            if logged or due:
                dropped.settle(ranks, record, state.n)
            if logged:
                row: dict[str, Any] = {"step": state.step, "n": state.n}
                row |= settled(knobs)
                row |= {name: sum(column) / len(column) for name, column in values.items()}
                row |= read_so_far(readers, curriculum, state.n, dropped.too_small)
                row["images_per_second"] = images / (time.perf_counter() - clock)
                row["seconds_left"] = (curriculum.samples - state.n) / row["images_per_second"]
                record.write(row)
                if progress is not None:
                    progress(row)
                values, images, clock = {}, 0, time.perf_counter()
            if watch and (_passed(settings.watch_every, n, state.n) or finished):
                with state.shown():
                    scores, grids = watch.take(model)
                record.watch({"step": state.step, "n": state.n, "sets": scores}, grids)
            if finished and settings.train != "decoder":
                places = _places(curriculum, curriculum.stretches[-1], settings.latent_batches)
                with state.shown():
                    measure_latents(model, (as_image(batches[at].images) for at in places))
            if due or interrupted.is_set():
                _heed(state, batches, record)
                last = state.save(out)
            if interrupted.is_set():
                raise KeyboardInterrupt
    assert last is not None, "a curriculum has steps, and its last one is saved"
    return last


def _heed(state: State, batches: Batches, record: Record) -> None:
    """Write down what the guard found since the last time; stop or roll back if it says so."""
    skipped = state.guard.read()
    for step in skipped:
        record.append(SKIPPED, step.line(batches.keys))
    state.guard.check(skipped)
    if state.guard.lost is not None:
        record.append(SKIPPED, state.roll_back(record.folder))
        # At once, so that a resumed run does not go through it again.
        state.save(record.folder)


def begin(settings: TrainSettings, device: str = "cpu") -> State:
    """Build model, objective and optimizer as they are before the first step."""
    model = build(settings).to(device)
    freeze(model, settings.train)
    objective = build_objective(
        settings.largest_weights(), settings.alignment, model.settings, settings.vgg, settings.seed
    ).to(device)
    reduction = wrap("fast", Step(model, objective), Ranks(device))
    # Of a frozen encoder the alignment moves nothing that could be balanced.
    adaptive = settings.alignment.adaptive and settings.train != "decoder"
    return State(
        model,
        objective,
        reduction,
        build_optimizer(model, objective, settings),
        Balance(settings.alignment.cap, device) if adaptive and objective.alignment else None,
        Guard(settings.guard, device),
        Average(model, settings.average) if settings.average else None,
    )


def build(settings: TrainSettings) -> VAE:
    """Build the model; its start weights follow from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return VAE(settings.model())


def build_optimizer(model: VAE, objective: Objective, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW in groups: the network, the skip at `skip_rate`, what the objective learns.

    What is frozen is in none of them and has no moments.
    """
    scaled = [
        ([*model.encoder.parameters(), *model.decoder.parameters()], 1.0),
        ([*model.skip.parameters()], settings.skip_rate),
        ([*objective.learned().values()], 1.0),
    ]
    groups = [
        {"params": [p for p in parameters if p.requires_grad], "scale": scale}
        for parameters, scale in scaled
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.rate.peak,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def _places(
    curriculum: Curriculum, steps: range, count: int | None = None
) -> Iterator[tuple[int, int]]:
    """Yield (n, m) of every micro-batch of the steps, or of `count` of them, evenly over all."""
    count = len(steps) if count is None else min(count, len(steps))
    for k in range(count):
        knobs = curriculum.at(curriculum.start(steps[k * len(steps) // count]))
        yield from ((knobs.n, m) for m in range(knobs.micro_batches))


def _passed(interval: int, before: int, after: int) -> bool:
    """Say whether a multiple of `interval` samples was passed from n=`before` to n=`after`."""
    return before // interval != after // interval


@contextmanager
def _interruptible() -> Generator[threading.Event, None, None]:
    """Turn the first SIGINT into an event, so that a step is never cut in two; a second one raises.

    Outside the main thread the event is never set.
    """
    event, before = threading.Event(), signal.getsignal(signal.SIGINT)

    def note(number: int, frame: object) -> None:
        del number, frame
        event.set()
        signal.signal(signal.SIGINT, before)

    with answered(signal.SIGINT, note):
        yield event
