"""What a run would take on many GPUs: steps, exchange, checkpoints and failures, by a model.

Work and memory are counted (vae/training/count.py); seconds follow from the hardware's data sheet
(vae/training/budget.py) and the assumptions below, of which nothing was measured on a GPU. What
gloo ranks can measure on this machine stands beside what the model says of them.
"""

import json
import math
import tempfile
import time
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch.multiprocessing.spawn import start_processes

from benchmarks._rows import Row, main
from pipelines.engine.ranks import end_now
from vae import PRESETS, VAE, Stage
from vae.curriculum.curriculum import Curriculum
from vae.objective.losses import Objective, Weights
from vae.training.budget import GPU, GPUS, NUMBER, RESERVE, pace, rank_memory
from vae.training.count import Numbers, Outline
from vae.training.drawn import Drawn
from vae.training.ranks import ALONE, Ranks
from vae.training.reductions import Reduce, wrap
from vae.training.step import Step

CARD, UTILISATION = "h100", 0.5
"""What is simulated, and the share of its peak that convs and matrix products reach."""

WEIGHTS = Weights(lpips=1.0, alignment=0.5)
"""The whole objective: with VGG16 and half of a DINOv2-L beside the model."""

REDUCTIONS: tuple[Reduce, ...] = ("fast", "exact", "shard")

PIXELS = 8 * 256**2
"""Of a micro-batch: 8 images of 256 px, 1 of 1024 px or more (our choice). A rank takes one a
step."""

HOURS_TO_FAILURE = 50_000.0
"""GPU-hours between failures that end a job: Llama 3's training on 16,384 H100s met 419 unexpected
ones in 54 days, one in 50,700 (arXiv 2407.21783, table 5)."""

RESTART = 300.0
"""Seconds from a failure to the next step: a new worker, its imports, the checkpoint (ours)."""

COPY, WRITE = 20e9, 1e9
"""Bytes a second from a GPU to memory, which a step waits for, and from there to the store, which
it does not where checkpoints are written in the background (our choice)."""

SIDE, IMAGES, STEPS = 64, 2, 6
"""Of what gloo ranks do: px, images of a micro-batch, steps."""


def measure(quick: bool) -> list[Row]:
    """Simulate the report's models on 8, 64 and 256 H100s; what gloo can measure beside it."""
    presets = ("f16c64", "f32c128") if quick else ("f16c64", "f16c128", "f32c128", "f32c192")
    sides = (256, 1024) if quick else (256, 512, 1024, 2048)
    rows: list[Row] = []
    for preset in presets:
        outline = Outline(PRESETS[preset], WEIGHTS, lpips_side=512)
        for side in sides:
            rows += _steps(outline, preset, side)
        rows += _failures(outline.numbers(), preset)
    return rows + _gloo((2,) if quick else (2, 4))


def _steps(outline: Outline, preset: str, side: int) -> list[Row]:
    gpu, numbers = GPUS[CARD], outline.numbers()
    micro = max(1, PIXELS // side**2)
    rows: list[Row] = []
    for recompute in (False, True):
        work = outline.work((side, side), micro, WEIGHTS, recompute=recompute, dtype=torch.bfloat16)
        memory = rank_memory(numbers, work).total
        if memory <= gpu.memory - RESERVE:
            break
    of = f"{preset}, {side} px"
    rows.append(Row(f"memory of a rank: {of}", memory / 2**30, "GiB"))
    rows.append(Row(f"blocks recomputed: {of}", int(recompute), "0 or 1"))
    for ranks in (8, 64, 256):
        for reduce in REDUCTIONS:
            step = pace(numbers, work, gpu, utilisation=UTILISATION, reduce=reduce, world=ranks)
            about = f"{of}, {ranks} ranks, {reduce}"
            rows.append(Row(f"step: {about}", 1000 * step.seconds, "ms"))
            rows.append(Row(f"exposed: {about}", 100 * step.exposed / step.seconds, "%"))
            if reduce == "fast":
                rows.append(Row(f"speed: {about}", micro * ranks / step.seconds, "images/s"))
    return rows


def _failures(numbers: Numbers, preset: str) -> list[Row]:
    """Checkpoints and failures; they depend on what is saved, not on the side."""
    saved = NUMBER * (2 * numbers.model + numbers.learned + 2 * numbers.trained)
    rows = [
        Row(f"checkpoint: {preset}, size", saved / 1e9, "GB"),
        Row(f"checkpoint: {preset}, a step waits, background", saved / COPY, "s"),
        Row(f"checkpoint: {preset}, a step waits, otherwise", saved / COPY + saved / WRITE, "s"),
    ]
    for ranks in (8, 64, 256):
        mean = 3600 * HOURS_TO_FAILURE / ranks
        rows.append(Row(f"failures: {preset}, {ranks} ranks", mean / 3600, "h between"))
        for how, cost in (
            ("background", saved / COPY),
            ("otherwise", saved / COPY + saved / WRITE),
        ):
            # What is not yet in the store does not exist.
            every = max(best_interval(cost, mean), saved / WRITE)
            about = f"{preset}, {ranks} ranks, {how}"
            rows.append(Row(f"best interval: {about}", every / 60, "min"))
            rows.append(Row(f"goodput: {about}", 100 * goodput(cost, every, mean), "%"))
            simulated = simulate(cost, every, mean)
            rows.append(Row(f"goodput: {about}, simulated", 100 * simulated, "%"))
    return rows


def best_interval(cost: float, mean: float) -> float:
    """Seconds of work between checkpoints that lose least, given what each costs.

    `mean` seconds lie between failures. J. T. Daly, "A higher order estimate of the optimum
    checkpoint interval for restart dumps", Future Generation Computer Systems 22 (2006);
    its first term is J. W. Young's (Communications of the ACM 17, 1974).
    """
    if cost >= 2 * mean:
        return mean
    part = cost / (2 * mean)
    return math.sqrt(2 * cost * mean) * (1 + math.sqrt(part) / 3 + part / 9) - cost


def goodput(cost: float, every: float, mean: float, restart: float = RESTART) -> float:
    """Share of the time that ends up in weights: Daly's model of exponential failures."""
    wall = mean * math.exp(restart / mean) * (math.exp((every + cost) / mean) - 1)
    return every / wall


def simulate(
    cost: float, every: float, mean: float, restart: float = RESTART, failures: int = 2000
) -> float:
    """Share of the time that ends up in weights, over so many failures drawn at random."""
    rng = np.random.default_rng(0)
    kept, wall = 0.0, 0.0
    for lived in rng.exponential(mean, failures):
        wall += lived
        if lived > restart:
            kept += (lived - restart) // (every + cost) * every
    return kept / wall


def _gloo(worlds: tuple[int, ...]) -> list[Row]:
    """What ranks of nano on this machine send, wait for and draw; by the model, and by gloo.

    For the model the machine is a GPU that computes as fast as one rank alone, and whose link
    carries what gloo does.
    """
    numbers = Outline(PRESETS["nano"], Weights()).numbers()
    work = Outline(PRESETS["nano"], Weights()).work((SIDE, SIDE), IMAGES, Weights())
    expected = _order(ALONE)
    rows: list[Row] = []
    for reduce in REDUCTIONS:
        for world in worlds:
            with tempfile.TemporaryDirectory() as folder:
                start_processes(_rank, (world, reduce, folder), world, start_method="spawn")
                told = [json.loads((Path(folder) / f"{k}").read_text()) for k in range(world)]
            seconds, link, idle = (
                sum(rank[name] for rank in told) / world for name in ("seconds", "link", "idle")
            )
            here = GPU(0.0, work.flop / seconds, 0.0, math.inf, link, link)
            step = pace(
                *(numbers, work, here),
                utilisation=1.0,
                dtype=torch.float32,
                reduce=reduce,
                world=world,
            )
            about = f"nano, {world} ranks, {reduce}"
            sent = max(rank["sent"] for rank in told)
            waiting = 100 * step.exposed / step.seconds
            rows += [
                Row(f"sent in a step: {about}, by the model", step.sent / 1e6, "MB"),
                Row(f"sent in a step: {about}, by gloo", sent / 1e6, "MB"),
                Row(f"idle in a step: {about}, by the model", waiting, "%"),
                Row(f"idle in a step: {about}, by gloo", 100 * idle, "%"),
            ]
            if reduce == REDUCTIONS[0]:
                other = sum(rank["order"] != expected for rank in told)
                name = f"{world} ranks whose samples come in another order"
                rows.append(Row(name, other, "ranks", 0.0, "lower"))
    return rows


def _rank(rank: int, world: int, reduce: Reduce, folder: str) -> NoReturn:
    """Take some steps of a micro-batch a rank and write down what they took."""
    torch.set_num_threads(1)
    ranks = Ranks.join(rank, world, f"file://{folder}/meeting")
    step = Step(VAE(PRESETS["nano"]), Objective())
    images, rng = torch.rand(IMAGES, 3, SIDE, SIDE), np.random.default_rng(0)
    seconds = math.inf
    for _ in range(STEPS):
        begun = time.thread_time()
        step(images, Weights(), rng)[0].backward()
        seconds = min(seconds, time.thread_time() - begun)
    step.zero_grad()
    reduction = wrap(reduce, step, ranks)
    sent, before = 0, _clocks()
    for number in range(STEPS):
        if number == STEPS // 2:  # the first ones find their buckets and memory
            before = _clocks()
        written = _written()
        reduction.begin(world)
        reduction.run(images, Weights(), rng, last=True)
        reduction.end()
        sent = _written() - written
    wall, computed, queued = (b - a for a, b in zip(before, _clocks(), strict=True))
    told = {
        "sent": sent,
        "seconds": seconds,
        "idle": max(0.0, wall - computed - queued) / (wall - queued),
        "link": _link(ranks),
        "order": _order(ranks),
    }
    (Path(folder) / f"{rank}").write_text(json.dumps(told))
    ranks.leave()
    end_now(0)


def _link(ranks: Ranks) -> float:
    """Bytes a second that gloo sends from one rank, the best of some."""
    mine = torch.zeros(1, 250_000)
    best = math.inf
    for _ in range(STEPS):
        ranks.barrier()
        begun = time.perf_counter()
        ranks.rows(mine)
        best = min(best, time.perf_counter() - begun)
    return (ranks.world - 1) * mine.nbytes / best


def _order(ranks: Ranks) -> str:
    """Return the digest of the samples that ranks draw together over three epochs."""
    stage = {"name": "all", "samples": 768, "batch": 16, "micro": 2, "resolution": SIDE}
    stages = [Stage.model_validate(stage | {"shares": {"a": 0.7, "b": 0.3}})]
    sizes = np.full((128, 2), 4 * SIDE, np.uint16)
    curriculum, drawn = Curriculum(stages, {"a": sizes, "b": sizes}), Drawn()
    for n in curriculum.starts():
        knobs, draws = curriculum.at(n), curriculum.draws(n)
        for m, at in enumerate(ranks.part(knobs.micro_batches)):
            part = draws[at * knobs.micro : (at + 1) * knobs.micro]
            drawn.note(n, m, [f"{draw.stream}/{draw.sample}" for draw in part])
    return drawn.take(ranks)


def _clocks() -> tuple[float, float, float]:
    """Seconds on the clock, of this thread at work, and of it ready while others had the cores."""
    work, queued, _ = map(int, Path("/proc/thread-self/schedstat").read_text().split())
    return time.perf_counter(), work / 1e9, queued / 1e9


def _written() -> int:
    """Bytes that this process has handed to the kernel, its sockets among them."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("wchar")).split()[1])


if __name__ == "__main__":
    main(measure)
