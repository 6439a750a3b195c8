"""Training steps: held against float64, and timed in every mode."""

import math
import re
import time
import traceback
from collections.abc import Iterator, Mapping
from itertools import product
from multiprocessing.pool import AsyncResult
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks._rows import Row
from benchmarks.gpu.bench import GIB, Bench, first_step, gradient, photographs, step, why
from vae import TrainSettings
from vae.data.unindexed import ANY_SIZE
from vae.inference.memory import checkpoint_blocks
from vae.pixels import as_image
from vae.training.begin import begin
from vae.training.budget import GPUS
from vae.training.plan import plan
from vae.training.ranks import Ranks
from vae.training.state import State

TIMED = 1.0
"""Seconds that a timing takes about, once it is warm."""

MODES = ((False, (False, True)), (True, (False,)), (True, (True,)))
"""Whether steps are compiled, and whether they recompute, in the order in which they are timed: to
compile takes minutes."""

STRICT = (10.0, 1000.0)
"""How many millionths loss and gradient of a float32 step may be from float64 (our choice)."""

Speeds = dict[tuple[str, int, bool], float]
"""Images a second by preset, side in px, and whether it is compiled."""


class Counts(NamedTuple):
    """What `plan` says of a step: FLOP without recomputing, bytes by whether it recomputes."""

    flop: int
    memory: dict[bool, int]


def count(settings: TrainSettings) -> Counts:
    """Ask `plan` about the one stage of a run; seconds of a core."""
    planned = plan(settings, settings.curriculum({"photographs": ANY_SIZE}))
    modes = {mode.recompute: mode for mode in planned.stretches[0].memory if mode.reduce == "fast"}
    stretch = planned.stretches[0]
    memory = {again: stretch.memory[mode].total for again, mode in modes.items()}
    return Counts(stretch.work[modes[False]].flop, memory)


def correctness(bench: Bench) -> Iterator[Row]:
    """Hold loss and gradient of one step against float64 on the CPU."""
    preset, side = bench.size.presets[0], bench.size.side
    images = photographs(2, side)
    exact, exactly = _gradient(bench, Ranks(), as_image(images).double(), "float32")
    ways = {"float32": (False, "float32"), "bfloat16": (True, "bfloat16")}
    if bench.on_gpu:  # what torch does with float32 there unless it is told otherwise
        ways["float32, TF32 in convs"] = (True, "float32")
    for way, (tf32, precision) in ways.items():
        if bench.on_gpu:
            torch.backends.cudnn.allow_tf32 = tf32
        loss, nearly = _gradient(bench, bench.ranks, images, precision)
        apart = [float((a - b).norm()) for a, b in zip(nearly, exactly, strict=True)]
        norms = [float(b.norm()) for b in exactly]
        worst = max(a / b for a, b in zip(apart, norms, strict=True) if b)
        whole = math.hypot(*apart) / math.hypot(*norms)
        of = f"{preset}, {side} px, {way}"
        of_loss, of_gradient = STRICT if way == "float32" else (None, None)
        yield Row(f"loss apart: {of}", 1e6 * abs(loss / exact - 1), "1e-6", of_loss, "lower")
        yield Row(f"gradient apart: {of}", 1e6 * whole, "1e-6", of_gradient, "lower")
        yield Row(f"gradient apart, worst tensor: {of}", 1e6 * worst, "1e-6")


def _gradient(
    bench: Bench, ranks: Ranks, images: Tensor, precision: str
) -> tuple[float, list[Tensor]]:
    settings = bench.settings(bench.size.presets[0], bench.size.side, precision=precision)
    state = begin(settings, ranks, "fast")
    if images.is_floating_point():
        state.model.double()
        state.objective.double()
        if state.objective.alignment is not None:
            state.objective.alignment.float()  # as it is in any precision
    outcome = gradient(state, settings, first_step(settings), images)
    gradients = [p.grad for p in state.reduction.parameters if p.grad is not None]
    return float(outcome.losses[0]), [values.double().cpu() for values in gradients]


def timings(
    bench: Bench, counted: "Mapping[tuple[str, int], AsyncResult[Counts]]", speeds: Speeds
) -> Iterator[Row]:
    """Time steps of every preset, side and mode, also into `speeds`; one that fails is a row."""
    size, losses = bench.size, dict[tuple[str, int], float]()
    modes = MODES if size.compiles else MODES[:1]
    for (compiled, ways), preset in product(modes, size.presets):
        torch.compiler.reset()
        settings = bench.settings(preset, size.sides[0], compile=compiled)
        state = begin(settings, bench.ranks, "fast")
        for recompute, side in product(ways, size.sides):
            of = f"{preset}, {side} px, {'compiled' if compiled else 'eager'}"
            of += ", recomputed" if recompute else ", kept"
            checkpoint_blocks(state.model, recompute)
            try:
                timing = _time(bench, state, preset, side)
            except Exception as error:  # above all, memory is short
                traceback.print_exc(limit=3)
                yield Row(f"speed: {of}", None, why(error))
                bench.forget()
                continue
            speeds.setdefault((preset, side, compiled), timing.speed)
            yield Row(f"speed: {of}", timing.speed, "images/s")
            yield Row(f"first step: {of}", timing.first, "s")
            eager = losses.setdefault((preset, side), timing.loss)
            yield Row(
                f"loss apart from eager, kept: {of}", 1e6 * abs(timing.loss / eager - 1), "1e-6"
            )
            counts = counted[preset, side].get()
            yield utilisation(of, bench.card, timing.speed * counts.flop / size.micro(side))
            if bench.on_gpu:
                planned = counts.memory[recompute]
                yield Row(f"memory: {of}", timing.peak / GIB, "GiB")
                yield Row(f"memory by plan: {of}", planned / GIB, "GiB")
                yield Row(f"memory, measured / by plan: {of}", timing.peak / planned, "ratio")
        del state
        bench.forget()


class Timing(NamedTuple):
    """Images a second, seconds and loss of the first step, most bytes of the later ones."""

    speed: float
    first: float
    loss: float
    peak: int


def _time(bench: Bench, state: State, preset: str, side: int) -> Timing:
    """Take steps of images that lie in memory, the first one apart: it may compile."""
    settings, images = bench.settings(preset, side), photographs(bench.size.micro(side), side)
    images = images.pin_memory() if bench.on_gpu else images
    knobs = first_step(settings)

    def steps(number: int) -> tuple[float, float]:
        start = time.perf_counter()
        outcomes = [step(state, settings, knobs, images) for _ in range(number)]
        bench.wait()
        seconds = time.perf_counter() - start
        state.guard.read()
        return seconds, float(outcomes[0].losses[0])

    bench.wait()
    first, loss = steps(1)
    warm, _ = steps(2)
    bench.watch_memory()
    number = min(50, max(2, round(2 * TIMED / warm)))
    seconds, _ = steps(number)
    return Timing(number * len(images) / seconds, first, loss, bench.peak())


def utilisation(of: str, card: str, flop: float) -> Row:
    """Compare FLOP a second in bfloat16 with the peak of a card of this name."""
    name = re.sub(r"[^a-z0-9]", "", card.lower())
    # Slower ones, as those for PCIe or laptops, have more to their name.
    known = [GPUS[kind] for kind in GPUS if re.search(rf"{kind}(sxm\d?)?(\d+gb)?(hbm3)?$", name)]
    if not known:
        return Row(f"utilisation: {of}", None, "peak not known")
    return Row(f"utilisation: {of}", 100 * flop / known[0].flop(torch.bfloat16), "%")
