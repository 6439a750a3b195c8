"""What a run would take on many GPUs: steps, exchange, checkpoints and failures, by a model.

Work and memory are counted (vae/training/count.py); seconds follow from the hardware's data sheet
(vae/training/budget.py) and the assumptions below, of which nothing was measured on a GPU. What
gloo ranks can measure on this machine stands beside what the model says of them.
"""

import math
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch.multiprocessing.spawn import start_processes

from benchmarks._rows import Row, main
from vae import PRESETS, VAE
from vae.objective.losses import Objective, Weights
from vae.training.budget import GPUS, NUMBER, RESERVE, pace, rank_memory
from vae.training.count import Numbers, Outline, Work
from vae.training.ranks import Ranks
from vae.training.reductions import Reduce, wrap
from vae.training.step import Step

GPU, UTILISATION = "h100", 0.5
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


def measure(quick: bool) -> list[Row]:
    """Simulate the report's models on 8, 64 and 256 H100s; what gloo can measure beside it."""
    presets = ("f16c64", "f32c128") if quick else ("f16c64", "f16c128", "f32c128", "f32c192")
    sides = (256, 1024) if quick else (256, 512, 1024, 2048)
    rows: list[Row] = []
    for preset in presets:
        outline = Outline(PRESETS[preset], WEIGHTS)
        for side in sides:
            rows += _steps(outline, preset, side)
        rows += _failures(outline.numbers(), preset)
    return rows + _gloo((2,) if quick else (2, 4))


def _steps(outline: Outline, preset: str, side: int) -> list[Row]:
    gpu, numbers = GPUS[GPU], outline.numbers()
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
    """Bytes that a rank of nano sends in a step, by the model and by gloo on this machine."""
    numbers = Outline(PRESETS["nano"], Weights()).numbers()
    work = Work(0, 0, 0, 0, 0)
    rows: list[Row] = []
    for reduce in REDUCTIONS:
        for world in worlds:
            step = pace(numbers, work, GPUS[GPU], utilisation=1.0, reduce=reduce, world=world)
            with tempfile.TemporaryDirectory() as folder:
                start_processes(_rank, (world, reduce, folder), world, start_method="spawn")
                sent = max(int((Path(folder) / f"{k}").read_text()) for k in range(world))
            about = f"nano, {world} ranks, {reduce}"
            rows.append(Row(f"sent in a step: {about}, by the model", step.sent / 1e6, "MB"))
            rows.append(Row(f"sent in a step: {about}, by gloo", sent / 1e6, "MB"))
    return rows


def _rank(rank: int, world: int, reduce: Reduce, folder: str) -> None:
    """Take three steps of a micro-batch a rank and write down what the last one sent."""
    torch.set_num_threads(1)
    ranks = Ranks.join(rank, world, f"file://{folder}/meeting")
    reduction = wrap(reduce, Step(VAE(PRESETS["nano"]), Objective()), ranks)
    images, sent = torch.rand(2, 3, 64, 64), 0
    for _ in range(3):
        before = _written()
        reduction.begin(world)
        reduction.run(images, Weights(), np.random.default_rng(0), last=True)
        reduction.end()
        sent = _written() - before
    ranks.barrier()
    (Path(folder) / f"{rank}").write_text(f"{sent}")
    ranks.leave()


def _written() -> int:
    """Bytes that this process has handed to the kernel, its sockets among them."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("wchar")).split()[1])


if __name__ == "__main__":
    main(measure)
