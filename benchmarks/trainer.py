"""The trainer: a step beside diffusers', what stands beside a step, and how well a plan counts."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._rows import Row, main
from benchmarks.vae import FORMATS, TYPES, WIDTH, autoencode, peers
from pipelines.engine.jobs import RenderJob
from pipelines.engine.workers import Run
from pipelines.recipe import load
from vae import PRESETS, VAE, Stage, TrainSettings, Weights
from vae.curriculum.curriculum import Knobs
from vae.curriculum.schedule import Ramp
from vae.curriculum.stage import streams_of
from vae.data.batch import Batch
from vae.data.batches import Batches, open_streams, sizes_of
from vae.inference.memory import SavedTensors
from vae.objective.losses import Objective, l1
from vae.pixels import as_image
from vae.training.begin import begin
from vae.training.budget import rank_memory
from vae.training.count import Ledger, Outline
from vae.training.ranks import ALONE
from vae.training.step import Precision, Step, take
from vae.training.watch import Watch

BESIDE = 5.0
"""Most per cent of a step that guard, average and watching may take together."""

SIZES = ((1, 256), (8, 64), (1, 64))
"""Images of a step and their side in px: the maps are most of the work, or the weights are."""


def measure(quick: bool) -> list[Row]:
    """A step beside diffusers', what stands beside a step, and plans against what is real."""
    torch.set_num_threads(1)
    return [*_against(quick), *_beside(quick), *_counted()]


class _Loop(NamedTuple):
    """A training loop over one batch: `step` is an optimizer step, `model` what it trains."""

    step: Callable[[], object]
    model: torch.nn.Module


def _against(quick: bool) -> list[Row]:
    """Time an optimizer step of our trainer and of a loop around diffusers' AutoencoderKL.

    Both models have the report's layout at a quarter of its encoder's width: equally many
    parameters but for norms, and the same convs, of which ours takes those after a doubling in
    fewer products (vae/ops.py). Each takes L1 alone, clips the gradient and steps by the fused
    AdamW, in the type and the memory format that are fastest for it. Steps are taken in turns, on
    one thread; each figure is a median.
    """
    rows: list[Row] = []
    for count, side in SIZES:
        images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)
        images = images.contiguous(memory_format=torch.channels_last)
        ours = [_ours(images, precision) for precision in ("float32", "bfloat16")]
        theirs = [
            _theirs(images, layout, dtype)
            for layout in FORMATS.values()
            for dtype in TYPES.values()
        ]
        loops = {"ours": ours, "AutoencoderKL": theirs}
        if not rows:
            for name, (loop, *_) in loops.items():
                millions = sum(p.numel() for p in loop.model.parameters()) / 1e6
                rows.append(Row(f"{name}: parameters", millions, "million"))
        title = f"{count} x {side} px"
        work: dict[str, float] = {}
        for name, (loop, *_) in loops.items():
            with FlopCounterMode(display=False) as counter:
                loop.step()
            work[name] = counter.get_total_flops() / 1e9
        rounds = (3 if quick else 11) * (1 if side > 64 else 2)
        cpu, wall = _in_turns(loops, rounds)
        rows += [Row(f"{title}: {name}, work", gflop, "GFLOP") for name, gflop in work.items()]
        rows += [Row(f"{title}: {name}", 1000 * seconds, "CPU ms") for name, seconds in cpu.items()]
        target = 1.2 if side == 256 else None
        for kind, seconds in (("CPU", cpu), ("wall", wall)):
            ratio = seconds["AutoencoderKL"] / seconds["ours"]
            name = f"{title}: AutoencoderKL / ours, {kind} time"
            rows.append(Row(name, ratio, "ratio", target if kind == "CPU" else None))
    return rows


def _ours(images: Tensor, precision: Precision) -> _Loop:
    """Return what `fit` does in a step, from the batch to the verdict of the guard."""
    count, _, side, _ = images.shape
    stage = Stage(
        name="all",
        samples=count,
        batch=count,
        micro=count,
        resolution=side,
        shares={"photographs": Ramp.model_validate(1.0)},
    )
    overrides = {"encoder_width": WIDTH, "decoder_width": WIDTH}
    settings = TrainSettings(
        preset="f16c64", overrides=overrides, stages=(stage,), precision=precision, average=0
    )
    state = begin(settings)
    knobs = Knobs(0, 0, stage, (side, side), 1, count, {}, settings.weights, settings.rate.peak)
    batch = Batch(images, (), None, ())

    def step() -> None:
        outcome = take(state.reduction, [batch], knobs, settings.seed, state.balance)
        bad = state.guard.judge(knobs, outcome.losses, outcome.gradient)
        state.update(knobs, outcome, settings.clip, bad)
        state.guard.read()

    return _Loop(step, state.model)


def _theirs(images: Tensor, layout: torch.memory_format, dtype: torch.dtype) -> _Loop:
    """Return the loop of diffusers' examples, `train_autoencoderkl.py`, by L1 alone."""
    model: Any = peers(WIDTH)["AutoencoderKL"]().to(memory_format=layout)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        image = as_image(images).contiguous(memory_format=layout)
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            loss = l1(autoencode(model, image), image)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return _Loop(step, model)


def _in_turns(
    loops: dict[str, list[_Loop]], rounds: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the median CPU and wall seconds of a step, of the fastest of each name's loops."""
    cpu: dict[str, list[list[float]]] = {name: [[] for _ in loops[name]] for name in loops}
    wall: dict[str, list[list[float]]] = {name: [[] for _ in loops[name]] for name in loops}
    for k in range(rounds + 1):
        for name, variants in loops.items():
            for number, loop in enumerate(variants):
                began, start = time.perf_counter(), time.process_time()
                loop.step()
                if k:  # the first step makes moments and finds kernels
                    cpu[name][number].append(time.process_time() - start)
                    wall[name][number].append(time.perf_counter() - began)
    return _fastest(cpu), _fastest(wall)


def _fastest(taken: dict[str, list[list[float]]]) -> dict[str, float]:
    return {name: min(map(statistics.median, taken[name])) for name in taken}


def _counted() -> list[Row]:
    """Compare what a plan counts on shapes alone with a real step of 2 x 64 x 64 px.

    A CPU has a loop of its own for the norm. With torch's operations it works as a GPU does.
    """
    rows: list[Row] = []
    for preset in ("nano", "tiny"):
        outline = Outline(PRESETS[preset], Weights())
        planned = outline.work((64, 64), 2, Weights())
        memory = rank_memory(outline.numbers(), planned)
        step, images = Step(VAE(PRESETS[preset]), Objective()), torch.rand(2, 3, 64, 64)
        weights = sum(p.numel() * p.element_size() for p in step.parameters())
        with mock.patch("vae.norm_silu._compiles", _never), Ledger() as ledger:
            average = [p.detach().clone() for p in step.model.parameters()]
            optimizer = torch.optim.AdamW(step.parameters(), fused=True)
            for _ in range(2):
                total, _ = step(images, Weights(), np.random.default_rng(0))
                total.backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=False)
        del average
        with FlopCounterMode(display=False) as counter:
            with SavedTensors(step) as saved:
                total, _ = step(images, Weights(), np.random.default_rng(0))
            total.backward()
        off = {
            "memory": memory.total / (weights + ledger.peak),
            "FLOP": planned.flop / counter.get_total_flops(),
        }
        title = f"plan of {preset} against a step"
        rows += [
            Row(f"{title}: {name} off by", 100 * abs(ratio - 1), "%", 2.0, "lower")
            for name, ratio in off.items()
        ]
        apart = abs(planned.saved - saved.bytes)
        rows.append(Row(f"{title}: saved tensors off by", apart, "bytes", 0, "lower"))
    return rows


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


def _never(x: Tensor) -> bool:
    del x
    return False


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
