"""What a run will take, before its first step: by stage, in samples, FLOP, bytes, hours and money.

Nothing is trained and no weights are read. What is counted and what is assumed:
vae/training/count.py, vae/training/budget.py.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

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
    of the micro-batch that holds most; `flop` that of all ranks for the whole stage. `memory` is
    of one rank, in every mode; `paces` of a step on the GPU, if there is one.
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
        settings.model(), settings.largest_weights(), settings.alignment, settings.train
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
                works[dtype, recompute] = _largest(
                    outline, stage, shapes, settings.weights, recompute, dtype
                )
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


def chosen(stretch: Stretch, gpu: GPU | None) -> Mode:
    """Return the mode in which `train` takes a stage, reduced as it does on GPUs.

    Where the stage leaves it open, blocks are recomputed if the step does not fit into the GPU
    otherwise, and never without one.
    """
    kept, again = (mode for mode in stretch.memory if mode.reduce == "fast")
    if stretch.stage.recompute == "auto":
        tight = gpu is not None and stretch.memory[kept].total > gpu.memory - RESERVE
        return again if tight else kept
    return again if stretch.stage.recompute == "on" else kept


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


def _largest(
    outline: Outline,
    stage: Stage,
    shapes: Mapping[Shape, tuple[int, int]],
    of_the_run: Weights,
    recompute: bool,
    dtype: torch.dtype,
) -> Work:
    """Count the micro-batch that holds most: shapes of a stage have nearly equal areas."""
    (h, w), (_, micro) = max(
        shapes.items(), key=lambda item: (item[0][0] * item[0][1] * item[1][1], item[0])
    )
    weights = largest_weights(stage, of_the_run)
    return outline.work((h, w), micro, weights, recompute=recompute, dtype=dtype)
