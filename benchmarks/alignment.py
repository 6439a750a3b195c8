"""The alignment: what it adds to a step, the memory of its pairs, how good sampling is."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._rows import Row, main
from shards import ImageSource
from vae import PRESETS, VAE, AlignmentSettings, Weights, mdms, to_image
from vae.objective.alignment import Alignment, mdms_sampled
from vae.objective.balance import Balance, Pull
from vae.objective.losses import Objective, build_objective, l1
from vae.training.step import Step

OVERHEAD = 10.0
"""Target: what the adaptive weight may add to a step, in %."""

WEIGHTS = Weights(alignment=0.5)

WIDTH = 1024
"""Channels of DINOv2-L."""


def measure(quick: bool) -> list[Row]:
    """The alignment's share of a step, the memory of its pairs, and the error of sampling."""
    with tempfile.TemporaryDirectory() as folder:
        teacher = _random_teacher(Path(folder))
        torch.set_num_threads(1)
        rows = [*_share_of_work(), *_share_of_time(quick), *_memory(quick)]
        return [*rows, *_sampling(teacher, quick)]


def _random_teacher(folder: Path) -> str:
    """Write a DINOv2-S of random weights: time and memory do not depend on them."""
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    shape: dict[str, Any] = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6}
    Dinov2Model(Dinov2Config(image_size=518, **shape)).save_pretrained(folder)
    return str(folder)


def _photographs(count: int, side: int) -> Tensor:
    """Return (count, 3, side, side) in [-1, 1], cut from the embedded photographs."""
    source, rng = ImageSource.embedded(), np.random.default_rng(0)
    images: list[Tensor] = []
    while len(images) < count:
        pixels = source.read(int(rng.integers(len(source)))).pixels()
        scale = side / min(pixels.shape[:2])
        if scale > 1:
            larger = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
            pixels = larger.astype(np.uint8, copy=False)
        h, w = pixels.shape[:2]
        y, x = int(rng.integers(h - side + 1)), int(rng.integers(w - side + 1))
        images.append(to_image(pixels[y : y + side, x : x + side]))
    return torch.stack(images)


class _KnownFeatures(nn.Module):
    """In a teacher's place: features that cost nothing."""

    def __init__(self, b: int, i: int, j: int) -> None:
        super().__init__()
        self.width = WIDTH
        self.features = torch.randn(b, WIDTH, i, j)

    def forward(self, image: Tensor, grid: tuple[int, int]) -> Tensor:
        del image, grid
        return self.features


def _steps(model: VAE, image: Tensor) -> dict[str, Callable[[], None]]:
    """Return a step without the alignment, with it, and with VA-VAE's way to its weight."""
    factor, channels = model.settings.factor, model.settings.channels
    grid = (image.shape[2] // factor, image.shape[3] // factor)
    teacher: Any = _KnownFeatures(len(image), *grid)
    rng = np.random.default_rng(0)

    alignment = Alignment(AlignmentSettings(match="input"), channels, factor, teacher)
    fixed, balance = Objective(alignment=alignment), Balance(alignment.settings.cap)

    def backward(objective: Objective, weights: Weights, pull: Pull | None = None) -> None:
        Step(model, objective)(image, weights, rng, pull)[0].backward()

    def adaptive() -> None:
        pull = Pull(balance.ratio(), torch.zeros(2))
        backward(fixed, WEIGHTS, pull)
        balance.update(pull.squares)

    def three_passes() -> None:
        """As VA-VAE's code does: two gradients of the last weights, then the step."""
        z = model.encode(image)
        reconstruction = l1(model.decode(z), image)
        cosine, distance = alignment(z, image, 0, 0, rng)
        last = model.encoder.head.conv.weight
        g_r, g_a = (
            torch.autograd.grad(loss, last, retain_graph=True)[0].norm()
            for loss in (reconstruction, cosine.value + distance.value)
        )
        weight = (0.5 * g_r / (g_a + 1e-4)).clamp(0, 1e4).detach()
        (reconstruction + weight * (cosine.value + distance.value)).backward()

    return {
        "none": lambda: backward(Objective(), Weights()),
        "fixed": lambda: backward(fixed, WEIGHTS),
        "adaptive": adaptive,
        "three passes": three_passes,
    }


def _overhead(title: str, cost: dict[str, float], unit: str, target: float | None) -> list[Row]:
    shares = {name: 100 * value / cost["none"] for name, value in cost.items()}
    fixed = shares["fixed"]
    ours, theirs = shares["adaptive"] - fixed, shares["three passes"] - fixed
    return [
        Row(f"{title}: alignment without the teacher", fixed - 100, unit),
        Row(f"{title}: adaptive weight, in addition", ours, unit, target, "lower"),
        Row(f"{title}: adaptive weight as in VA-VAE, in addition", theirs, unit),
    ]


def _share_of_work() -> list[Row]:
    """Count the operations of a step of the report's models, with DINOv2-L, on 256 px."""
    from transformers import Dinov2Config, Dinov2Model

    rows: list[Row] = []
    shape: dict[str, Any] = {"hidden_size": WIDTH, "num_hidden_layers": 12}
    with torch.device("meta"):
        dino = Dinov2Model(Dinov2Config(num_attention_heads=16, **shape)).requires_grad_(False)
        looking = _operations(lambda: dino(torch.rand(1, 3, 224, 224)))
    for preset in ("f16c64", "f32c128"):
        with FakeTensorMode():  # shapes without numbers: nothing is computed
            steps = _steps(VAE(PRESETS[preset]), torch.rand(1, 3, 256, 256))
            work = {name: float(_operations(step)) for name, step in steps.items()}
        looked = 100 * looking / work["none"]
        title = f"{preset}, 256 px"
        rows.append(Row(f"{title}: DINOv2-L to block 12", looked, "% of a step's operations"))
        rows += _overhead(title, work, "% of a step's operations", None)
    return rows


def _operations(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def _share_of_time(quick: bool) -> list[Row]:
    """Time steps of a model 9 times smaller than the report's, which a CPU can take.

    The teacher's features are known beforehand: its work belongs to a model of its own size.
    """
    model = VAE(PRESETS["small"]).to(memory_format=torch.channels_last)
    image = _photographs(1, 64).contiguous(memory_format=torch.channels_last)
    steps = _steps(model, image)
    best = dict.fromkeys(steps, float("inf"))
    # In turns, so that noise meets all alike.
    for _ in range(3 if quick else 20):
        for name, step in steps.items():
            start = time.process_time()
            step()
            best[name] = min(best[name], time.process_time() - start)
    title = "small, 64 px"
    rows = _overhead(title, best, "% of a step's time", OVERHEAD)
    return [Row(f"{title}: step without alignment", best["none"], "CPU s"), *rows]


_PAIRS = """
import sys, torch
from pathlib import Path
from vae import mdms
n, block, width = map(int, sys.argv[1:])
def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(key)))
warm = torch.rand(1, width, 1, 4, requires_grad=True)
mdms(warm, warm.detach() + 1, 0.1, block=2).value.backward()
z = torch.randn(1, width, 1, n, requires_grad=True)
features = torch.randn(1, width, 1, n)
before = status("VmRSS")
mdms(z, features, 0.1, block=block).value.backward()
print(status("VmHWM") - before)
"""


def _memory(quick: bool) -> list[Row]:
    """Measure what a process grows by: forward and backward of one image's pairs."""
    rows: list[Row] = []
    for n in (256, 1024) if quick else (256, 1024, 2048, 4096):
        for name, block in (("dense", n), ("blocks of 256", 256)):
            if n == 256 and name != "dense":  # the same
                continue
            command = [sys.executable, "-c", _PAIRS, str(n), str(block), str(WIDTH)]
            told = subprocess.run(command, check=True, capture_output=True, text=True)
            rows.append(Row(f"pairs of {n} positions, {name}", int(told.stdout) / 1024, "MiB"))
    return rows


def _sampling(teacher: str, quick: bool) -> list[Row]:
    """Sample the pairs of a photograph, blown up to 1024 px, whose exact value is known."""
    side = 512 if quick else 1024
    image = _photographs(1, side)
    model = VAE(PRESETS["tiny"])
    aligned = AlignmentSettings(teacher=teacher)
    objective = build_objective(WEIGHTS, aligned, model.settings)
    alignment: Any = objective.alignment
    rng = np.random.default_rng(0)
    rows: list[Row] = []
    with torch.no_grad():
        z, features = alignment.matched(model.encode(image), image)
        z = alignment.projection(z)
        n = z.shape[2] * z.shape[3]
        exact = mdms(z, features, 0.0).value.item()
        for count in (n // 16, n // 4, n // 2):
            draws = [
                mdms_sampled(z, features, 0.0, count, rng).value.item()
                for _ in range(8 if quick else 48)
            ]
            name = f"{count} of {n} positions"
            error = 100 * float(np.std(draws, ddof=1)) / exact
            rows.append(Row(f"{name}: deviation", error, "% of the exact value"))
            bias = 100 * (float(np.mean(draws)) / exact - 1)
            rows.append(Row(f"{name}: mean of {len(draws)} draws", bias, "% above the exact value"))
    return rows


if __name__ == "__main__":
    main(measure)
