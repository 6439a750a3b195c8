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

from shards.signals import Asked, asked_to_end
from shards.store import Places, Where
from vae.curriculum.curriculum import Curriculum
from vae.data.batches import Batches, open_streams, sizes_of
from vae.data.em import text_scores
from vae.data.loader import announce, check_room, load, read_so_far
from vae.inference.memory import checkpoint_blocks
from vae.pixels import as_image
from vae.training.begin import begin
from vae.training.check import check, check_apart
from vae.training.checkpoint import Checkpoint, checkpoints
from vae.training.dropped import Dropped
from vae.training.execution import check_shared, recomputed, reduce_on
from vae.training.latents import measure
from vae.training.means import Means
from vae.training.output import Output
from vae.training.ranks import ALONE, Ranks
from vae.training.record import SKIPPED, Record, settled
from vae.training.reductions import Reduce
from vae.training.settings import TrainSettings
from vae.training.start import start_from, start_skip
from vae.training.state import State
from vae.training.step import take
from vae.training.watch import Score, Watch, flat

LOOK = 8
"""Steps after which ranks with GPUs ask each other whether one was told to end: they need not wait
for each other in between."""

log = logging.getLogger(__name__)


def fit(
    settings: TrainSettings,
    streams: Mapping[str, Places],
    out: Where,
    *,
    ranks: Ranks = ALONE,
    reduce: Reduce | None = None,
    loaders: int = 0,
    progress: Callable[[Mapping[str, Any]], None] | None = None,
    from_scratch: bool = False,
    watched: Mapping[str, Places] | None = None,
    score: Score | None = None,
    asked: Asked | None = None,
) -> Path | str:
    """Train, or go on training, and return the folder, or the URL, of the last checkpoint.

    `streams` maps the names used in the stages to folders or buckets of shards, one or several that
    are read as one; `out` is a folder or a bucket, too. Each of `ranks` calls this with the same
    arguments; only the first one writes, and calls `progress` with every record that goes to
    metrics.jsonl. `reduce` says how they add up gradients (vae/training/reductions.py): by default
    "exact" on CPUs and "fast" on GPUs. `loaders` processes of each rank load batches. Where
    checkpoints lie in `out` and none is good, `from_scratch` begins anew. `watched` are sets that
    the run never learns from, by name; `score` scores their reconstructions beside what
    vae/training/watch.py does. `asked` lets another thread end the run as a signal does.

    Raises:
        UserError: for streams or checkpoints that do not fit, an output of or in use by another
            run, or where the guard ends the run.
        KeyboardInterrupt: on SIGINT, after a checkpoint of the step in hand.
        SystemExit: with code 143 on SIGTERM, likewise.
    """
    reduce = reduce_on(ranks.device.type) if reduce is None else reduce
    check_shared(settings.stages, ranks.world, reduce)
    check_apart(out, {**streams, **(watched or {})})
    readers = open_streams(streams, settings.stages)
    announce(readers, loaders, rank=ranks.rank, world=ranks.world)
    check_room(settings.stages, loaders, em=settings.text_metrics)
    curriculum = settings.curriculum(sizes_of(readers))
    check(settings, curriculum, streams, readers, ranks.world)
    again = recomputed(settings, curriculum, ranks, reduce)
    for line in curriculum.left_out() if ranks.rank == 0 else ():
        log.warning(line)
    batches = Batches(
        *(readers, curriculum),
        resized=settings.resized,
        em=settings.text_metrics,
        rank=ranks.rank,
        world=ranks.world,
    )
    state = begin(settings, ranks, reduce)
    on_gpu = ranks.device.type != "cpu"
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

    if settings.init is not None and not checkpoints(out):
        start_from(model, settings.init, ranks)
    with (
        Output(out, settings, batches.fingerprints(), ranks, from_scratch=from_scratch) as output,
        Record(output.local, output.n, writes=ranks.rank == 0) as record,
        asked_to_end(asked) as asked,
    ):
        if output.last:
            state.load(Checkpoint(output.store.inside(output.last)))
        elif settings.init is None and settings.skip_start:
            places = _places(curriculum, range(curriculum.steps), settings.skip_start)
            start_skip(model, (as_image(batches[at].images) for at in places), ranks)
        if not output.last and state.average is not None:
            state.average.begin(model)

        remaining = _places(curriculum, range(state.step, curriculum.steps), ranks=ranks)
        begun = batches.beginning(state.n)
        loaded = load(begun, remaining, loaders=loaders, pinned=on_gpu)
        dropped = Dropped.resumed(ranks, record)
        means = Means()
        images, clock = 0, time.perf_counter()
        for n in curriculum.starts(state.n):
            knobs = curriculum.at(n)
            checkpoint_blocks(model, knobs.stage.name in again)
            part = dropped.noting(n, islice(loaded, len(ranks.part(knobs.micro_batches))))
            drawn = state.drawn.noting(n, part)
            outcome = take(state.reduction, drawn, knobs, settings.seed, state.balance)
            bad = state.guard.judge(knobs, outcome.losses, outcome.gradient)
            state.update(knobs, outcome, settings.clip, bad)

            finished = state.n == curriculum.samples
            logged = finished or state.step % settings.log_every == 0
            images += knobs.samples
            means.add(outcome.values(), bad)
            # Free on a CPU; elsewhere the host would wait for the device.
            if logged or not on_gpu:
                _heed(state, batches, record, output)
            if logged:
                dropped.settle(ranks, record, state.n)
                row: dict[str, Any] = {"step": state.step, "n": state.n}
                row |= settled(knobs)
                row |= (read := text_scores(means.read()))
                state.measured = read or state.measured
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
            end = (not on_gpu or not state.step % LOOK) and ranks.any(asked.by is not None)
            if finished or end or _passed(settings.checkpoint_every, n, state.n):
                dropped.settle(ranks, record, state.n)
                _heed(state, batches, record, output)
                if settings.train != "decoder":
                    with state.shown():
                        spanned = measure(model, batches, knobs, settings.latent_batches, ranks)
                    state.measured = state.measured | {"effective_rank": spanned}
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


def _places(
    curriculum: Curriculum, steps: range, count: int | None = None, ranks: Ranks = ALONE
) -> Iterator[tuple[int, int]]:
    """Yield (n, m) of micro-batches of the steps, or of `count` of them, evenly over all.

    They are all of each step, or the part of this one of `ranks`.
    """
    count = len(steps) if count is None else min(count, len(steps))
    for k in range(count):
        knobs = curriculum.at(curriculum.start(steps[k * len(steps) // count]))
        yield from ((knobs.n, m) for m in ranks.part(knobs.micro_batches))


def _passed(interval: int, before: int, after: int) -> bool:
    """Say whether a multiple of `interval` samples was passed from n=`before` to n=`after`."""
    return before // interval != after // interval
