"""Training: one visible loop from streams of shards to a checkpoint.

What a run leaves is listed in vae/training/output.py. One that is stopped goes on from its newest
good checkpoint when it is started again, and ends with the same bits as one that was never stopped
(same machine, same number of threads).
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from shards.signals import asked_to_end
from shards.store import Where
from vae.model import VAE
from vae.objective.balance import Balance
from vae.objective.losses import Objective, build_objective
from vae.pixels import as_image
from vae.training.average import Average
from vae.training.check import check
from vae.training.checkpoint import Checkpoint
from vae.training.curriculum import Curriculum
from vae.training.dropped import Dropped
from vae.training.em import text_scores
from vae.training.guard import Guard
from vae.training.latents import measure
from vae.training.loader import Batches, open_streams, sizes_of
from vae.training.loading import announce, load, read_so_far
from vae.training.means import Means
from vae.training.output import Output
from vae.training.ranks import Ranks
from vae.training.record import SKIPPED, Record, settled
from vae.training.reductions import wrap
from vae.training.settings import TrainSettings
from vae.training.start import freeze, start_from
from vae.training.state import State
from vae.training.step import Step, take
from vae.training.watch import Score, Watch, flat

LOOK = 8
"""Steps after which ranks with GPUs ask each other whether one was told to end: they need not wait
for each other in between."""

log = logging.getLogger(__name__)


def fit(
    settings: TrainSettings,
    streams: Mapping[str, Where],
    out: Where,
    *,
    workers: int = 0,
    device: str = "cpu",
    progress: Callable[[Mapping[str, Any]], None] | None = None,
    from_scratch: bool = False,
    watched: Mapping[str, Where] | None = None,
    score: Score | None = None,
) -> Path | str:
    """Train, or go on training, and return the folder, or the URL, of the last checkpoint.

    `streams` maps the names used in the stages to folders or buckets of shards; `out` is a folder
    or a bucket, too. `progress` is called with every record that goes to metrics.jsonl. `device` is
    torch's name of where the model runs. Where checkpoints lie in `out` and none is good,
    `from_scratch` begins anew. `watched` are sets that the run never learns from, by name; `score`
    scores their reconstructions beside what vae/training/watch.py does.

    Raises:
        UserError: for streams or checkpoints that do not fit, an output of or in use by another
            run, or where the guard ends the run.
        KeyboardInterrupt: on SIGINT, after a checkpoint of the step in hand.
        SystemExit: with code 143 on SIGTERM, likewise.
    """
    ranks = Ranks(device)
    readers = open_streams(streams, settings.stages)
    announce(readers, workers, ranks)
    curriculum = settings.curriculum(sizes_of(readers))
    check(settings, curriculum, streams, readers, ranks.world)
    for line in curriculum.left_out():
        log.warning(line)
    batches = Batches(
        *(readers, curriculum),
        resized=settings.resized,
        em=settings.text_metrics,
        rank=ranks.rank,
        world=ranks.world,
    )
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

    with (
        Output(out, settings, batches.fingerprints(), ranks, from_scratch=from_scratch) as output,
        Record(output.local, output.n, writes=ranks.rank == 0) as record,
        asked_to_end() as asked,
    ):
        if output.last:
            state.load(Checkpoint(output.store.inside(output.last)))
        elif settings.init is not None:
            start_from(model, settings.init)
        elif settings.skip_start:
            places = _places(curriculum, range(curriculum.steps), settings.skip_start)
            model.skip.start_from(as_image(batches[at].images) for at in places)
        if not output.last and state.average is not None:
            state.average.begin(model)

        remaining = _places(curriculum, range(state.step, curriculum.steps))
        begun = batches.beginning(state.n)
        loaded = load(begun, remaining, loaders=workers, pinned=device != "cpu")
        dropped = Dropped.resumed(ranks, record)
        means = Means()
        images, clock = 0, time.perf_counter()
        for n in curriculum.starts(state.n):
            knobs = curriculum.at(n)
            part = dropped.noting(n, islice(loaded, knobs.micro_batches))
            drawn = state.drawn.noting(n, part)
            outcome = take(state.reduction, drawn, knobs, settings.seed, state.balance)
            bad = state.guard.judge(knobs, outcome.losses, outcome.gradient)
            state.update(knobs, outcome, settings.clip, bad)

            finished = state.n == curriculum.samples
            logged = finished or state.step % settings.log_every == 0
            images += knobs.samples
            means.add(outcome.values(), bad)
            # Free on a CPU; elsewhere the host would wait for the device.
            if logged or device == "cpu":
                _heed(state, batches, record, output)
            if logged:
                dropped.settle(ranks, record, state.n)
                row: dict[str, Any] = {"step": state.step, "n": state.n}
                row |= settled(knobs)
                row |= text_scores(means.read())
                row |= read_so_far(readers, curriculum, state.n, dropped.too_small)
                row["images_per_second"] = images / (time.perf_counter() - clock)
                row["seconds_left"] = (curriculum.samples - state.n) / row["images_per_second"]
                record.write(row)
                if progress is not None:
                    progress(row)
                images, clock = 0, time.perf_counter()
            if watch and (_passed(settings.watch_every, n, state.n) or finished):
                with state.shown():
                    scores, grids = watch.take(model)
                record.watch({"step": state.step, "n": state.n, "sets": scores}, grids)
                state.scores = flat(scores)
            end = (device == "cpu" or not state.step % LOOK) and ranks.any(asked.by is not None)
            if finished or end or _passed(settings.checkpoint_every, n, state.n):
                dropped.settle(ranks, record, state.n)
                _heed(state, batches, record, output)
                if settings.train != "decoder":
                    with state.shown():
                        measure(model, batches, knobs, settings.latent_batches, ranks)
                output.save(state)
            if end:
                output.finish()
                asked.end()
        output.finish()
        return output.place(output.last)


def _heed(state: State, batches: Batches, record: Record, output: Output) -> None:
    """Write down what the guard found since the last time; stop or roll back if it says so."""
    skipped = state.guard.read()
    for step in skipped:
        record.append(SKIPPED, step.line(batches.keys, state.reduction.ranks.world))
    state.guard.check(skipped)
    if state.guard.lost is not None:
        record.append(SKIPPED, state.roll_back(output.before(state.guard.lost)))
        # At once, so that a resumed run does not go through it again.
        output.save(state)


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
