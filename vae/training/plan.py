"""What a run will take, before its first step: by stage, in samples, FLOP, bytes, hours and money.

Nothing is trained and no weights are read. What is counted and what is assumed:
vae/training/count.py, vae/training/budget.py.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from shards import UserError
from vae.curriculum.curriculum import Curriculum
from vae.curriculum.stage import Stage
from vae.objective.losses import Weights
from vae.training.budget import GPU, RESERVE, Memory, Pace, pace, rank_memory
from vae.training.count import Numbers, Outline, Work
from vae.training.reductions import Reduce
from vae.training.settings import TrainSettings

Shape = tuple[int, int]


class Mode(NamedTuple):
    """How a rank works: the type of autocast, whether blocks are recomputed, the reduction."""

    dtype: torch.dtype
    recompute: bool
    reduce: Reduce


def modes_of(dtype: torch.dtype) -> tuple[Mode, ...]:
    """Return every way to work in a type."""
    reductions: tuple[Reduce, ...] = ("fast", "exact", "shard")
    return tuple(Mode(dtype, again, reduce) for again in (False, True) for reduce in reductions)


class Seen(NamedTuple):
    """What a stage draws from a stream, and how many of its images are large enough for it."""

    drawn: int
    held: int
    images: int

    @property
    def epochs(self) -> float:
        """How often the stage sees each image that is large enough."""
        return self.drawn / self.held


class Stretch(NamedTuple):
    """What a stage takes.

    `shapes` (h, w) px map to steps; `parts` micro-batches of each step are a rank's; `work` is that
    of a micro-batch, what it computes in the mean over the steps and what it holds at the most;
    `flop` that of all ranks for the whole stage. `memory` is of one rank, in every mode; `paces` of
    a step on the GPU, if there is one.
    """

    stage: Stage
    steps: int
    shapes: dict[Shape, int]
    parts: int
    streams: dict[str, Seen]
    work: dict[Mode, Work]
    memory: dict[Mode, Memory]
    paces: dict[Mode, Pace]

    def flop(self, mode: Mode) -> float:
        """FLOP of the whole stage, over all ranks."""
        micro_batches = self.stage.batch // self.stage.micro
        return float(self.steps * micro_batches * self.work[mode].flop)

    def seconds(self, mode: Mode) -> float:
        """Seconds that the ranks are at it."""
        return self.steps * self.paces[mode].seconds


class Plan(NamedTuple):
    """A run, stage by stage, on `world` ranks."""

    curriculum: Curriculum
    world: int
    numbers: Numbers
    stretches: tuple[Stretch, ...]

    def hours(self, modes: Sequence[Mode]) -> float:
        """GPU-hours of the stages, each in its mode."""
        seconds = [s.seconds(mode) for s, mode in zip(self.stretches, modes, strict=True)]
        return self.world * sum(seconds) / 3600


def plan(
    settings: TrainSettings,
    curriculum: Curriculum,
    *,
    world: int = 1,
    gpu: GPU | None = None,
    utilisation: float = 0.5,
) -> Plan:
    """Count every stage in every mode, in the precision of the settings.

    Raises:
        UserError: when `world` ranks cannot share the steps.
    """
    curriculum.check_world(world)
    outline = Outline(
        *(settings.model(), settings.largest_weights(), settings.alignment, settings.train),
        settings.lpips_side,
    )
    numbers = outline.numbers()
    modes = modes_of(getattr(torch, settings.precision))
    stretches: list[Stretch] = []
    for stage, steps in zip(curriculum.stages, curriculum.stretches, strict=True):
        parts = stage.batch // stage.micro // world
        shapes = curriculum.shapes(steps)
        works: dict[tuple[torch.dtype, bool], Work] = {}
        for dtype, recompute, _ in modes:
            if (dtype, recompute) not in works:
                works[dtype, recompute] = _work(outline, stage, shapes, settings, recompute, dtype)
        work = {mode: works[mode.dtype, mode.recompute] for mode in modes}
        paces: dict[Mode, Pace] = {}
        memory: dict[Mode, Memory] = {}
        for mode in modes:
            memory[mode] = rank_memory(
                numbers,
                work[mode],
                reduce=mode.reduce,
                world=world,
                parts=parts,
                average=settings.average > 0,
            )
            if gpu is not None:
                paces[mode] = pace(
                    numbers,
                    work[mode],
                    gpu,
                    utilisation=utilisation,
                    dtype=mode.dtype,
                    reduce=mode.reduce,
                    world=world,
                    parts=parts,
                )
        streams = _streams(curriculum, stage, steps)
        counts = {shape: count for shape, (count, _) in shapes.items()}
        stretches.append(Stretch(stage, len(steps), counts, parts, streams, work, memory, paces))
    return Plan(curriculum, world, numbers, tuple(stretches))


def chosen(stretch: Stretch, memory: float | None, reduce: Reduce = "fast") -> Mode:
    """Return the mode in which `train` takes a stage on GPUs of `memory` bytes, reduced like this.

    Where the stage leaves it open, blocks are recomputed if the step does not fit otherwise, and
    never where nobody knows the memory.
    """
    kept, again = (mode for mode in stretch.memory if mode.reduce == reduce)
    if stretch.stage.recompute == "auto":
        tight = memory is not None and stretch.memory[kept].total > memory - RESERVE
        return again if tight else kept
    return again if stretch.stage.recompute == "on" else kept


def check_fits(stretch: Stretch, mode: Mode, memory: float) -> None:
    """Raise UserError when a step of a stage takes more than GPUs of `memory` bytes have."""
    taken, free = stretch.memory[mode].total, memory - RESERVE
    if taken > free:
        raise UserError(
            f"stage {stretch.stage.name} takes {taken / 2**30:.1f} GiB of a rank with blocks "
            f"{'recomputed' if mode.recompute else 'kept'}, of {free / 2**30:.1f} GiB free; "
            f"lower its micro{'' if mode.recompute else ' or set recompute to auto'}"
        )


def epochs(curriculum: Curriculum) -> dict[str, float]:
    """How often a run sees the images of each stream that it sees most."""
    seen: dict[str, float] = dict.fromkeys(curriculum.streams, 0.0)
    for stage, steps in zip(curriculum.stages, curriculum.stretches, strict=True):
        for name, stream in _streams(curriculum, stage, steps).items():
            seen[name] += stream.epochs
    return seen


def largest_weights(stage: Stage, of_the_run: Weights) -> Weights:
    """Return each weight of a stage at its largest."""
    ends = [stage.weights_at(at, of_the_run).model_dump() for at in (0.0, 1.0)]
    return Weights.model_validate({name: max(end[name] for end in ends) for name in ends[0]})


def _streams(curriculum: Curriculum, stage: Stage, steps: range) -> dict[str, Seen]:
    before, after = (curriculum.drawn(curriculum.start(at)) for at in (steps.start, steps.stop))
    streams: dict[str, Seen] = {}
    for fit in curriculum.fits:
        if fit.stage == stage.name and fit.resolution == stage.resolution:
            drawn = after[fit.stream] - before[fit.stream]
            streams[fit.stream] = Seen(drawn, fit.held, fit.images)
    return streams


def _work(
    outline: Outline,
    stage: Stage,
    shapes: Mapping[Shape, tuple[int, int]],
    settings: TrainSettings,
    recompute: bool,
    dtype: torch.dtype,
) -> Work:
    """Count the micro-batches of a stage, of each of its resolutions the largest shape.

    Shapes of a resolution have nearly equal areas. LPIPS sees more of some than of others, and more
    of many small images than of a large one: it takes crops.
    """

    def size(shape: Shape) -> int:
        crop = [min(side, settings.lpips_side or side) for side in shape]
        return shape[0] * shape[1] + crop[0] * crop[1]

    weights = largest_weights(stage, settings.weights)
    works: list[tuple[int, Work]] = []
    for at_once in sorted({at_once for _, at_once in shapes.values()}):
        steps = {shape: count for shape, (count, images) in shapes.items() if images == at_once}
        largest = max(steps, key=lambda shape: (size(shape), shape))
        work = outline.work(largest, at_once, weights, recompute=recompute, dtype=dtype)
        works.append((sum(steps.values()), work))
    total = sum(count for count, _ in works)
    fullest = max((work for _, work in works), key=lambda work: work.peak)
    return fullest._replace(
        flop=round(sum(count * work.flop for count, work in works) / total),
        forward=round(sum(count * work.forward for count, work in works) / total),
        traffic=round(sum(count * work.traffic for count, work in works) / total),
    )
