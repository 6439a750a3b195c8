"""What all parts share: the device, the sizes, the settings of a step, and taking one."""

import gc
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from shards import ImageSource
from shards.embedded import package
from vae import TrainSettings
from vae.curriculum.curriculum import Knobs
from vae.data.batch import Batch
from vae.data.unindexed import ANY_SIZE
from vae.inference.tiling import SIDE
from vae.objective.perceptual import PACKAGE
from vae.training.ranks import Ranks
from vae.training.state import State
from vae.training.step import Outcome, take

GIB = 2**30

STILL = 1e-30
"""A rate that changes no bit of a weight: whole steps are taken, and their losses compare."""


class Size(NamedTuple):
    """What is measured.

    Steps of `presets` at `sides` px, of `pixels` a micro-batch, compiled as well where it
    `compiles`; a decode of `decoded` px by tiles of `tile`. The first preset is held against
    float64 and trained at `side` px, on so many `pages`.
    """

    presets: tuple[str, ...]
    sides: tuple[int, ...]
    pixels: int
    compiles: bool
    decoded: int
    tile: int
    side: int
    pages: int

    def micro(self, side: int) -> int:
        """Images of a micro-batch, one at least."""
        return max(1, self.pixels // side**2)


ON_GPU = Size(("small", "f16c64"), (256, 512, 1024, 2048), 2**21, True, 4096, SIDE, 256, 1024)
ON_CPU = Size(("nano", "tiny"), (32, 64), 2**12, False, 128, 64, 64, 8)
"""Tries every part in seconds; its figures mean nothing."""


@dataclass(frozen=True)
class Bench:
    """The device of `ranks`, and what is measured on it; with a `teacher` steps have alignment."""

    ranks: Ranks
    size: Size
    teacher: str = ""

    @property
    def on_gpu(self) -> bool:
        """Whether memory can be measured, and figures mean anything."""
        return self.ranks.device.type == "cuda"

    @property
    def card(self) -> str:
        """The name of the GPU."""
        return torch.cuda.get_device_name(self.ranks.device) if self.on_gpu else "no GPU"

    @property
    def weights(self) -> dict[str, float]:
        """The objective: of the networks that are here, none of which is downloaded."""
        weights = {"l1": 1.0}
        if package(PACKAGE).paths():
            weights["perceptual"] = 0.01
        return weights | ({"alignment": 0.5} if self.teacher else {})

    def settings(self, preset: str, side: int, **changes: Any) -> TrainSettings:
        """Return a run of square crops, a micro-batch a step, in bfloat16."""
        micro = self.size.micro(side)
        stage: dict[str, Any] = {"name": "squares", "resolution": side, "aspects": [1.0]}
        stage |= {"samples": micro, "batch": micro, "micro": micro, "shares": {"photographs": 1.0}}
        run: dict[str, Any] = {"preset": preset, "stages": [stage], "weights": self.weights}
        run |= {"precision": "bfloat16", "resized": (), "rate": {"peak": STILL, "warmup": 0}}
        if self.teacher:
            run["alignment"] = {"teacher": self.teacher}
        return TrainSettings.model_validate(run | changes)

    def wait(self) -> None:
        """Wait until the device has done what it was told."""
        if self.on_gpu:
            torch.cuda.synchronize(self.ranks.device)

    def watch_memory(self) -> None:
        """Let `peak` begin anew."""
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats(self.ranks.device)

    def peak(self) -> int:
        """Return the most bytes that tensors took since then."""
        return torch.cuda.max_memory_allocated(self.ranks.device) if self.on_gpu else 0

    def forget(self) -> None:
        """Give back what nobody holds any more."""
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()


def first_step(settings: TrainSettings) -> Knobs:
    """Return what holds in the first step of a run."""
    return settings.curriculum({"photographs": ANY_SIZE}).at(0)


def gradient(state: State, settings: TrainSettings, knobs: Knobs, images: Tensor) -> Outcome:
    """Leave the gradient of a step on (b, 3, h, w) at the parameters, as `fit` does."""
    batch = Batch(images, ("",) * len(images), None, ())
    return take(state.reduction, [batch], knobs, settings.seed, state.balance)


def step(state: State, settings: TrainSettings, knobs: Knobs, images: Tensor) -> Outcome:
    """Take a step as `fit` takes it; only the loading is left out."""
    outcome = gradient(state, settings, knobs, images)
    bad = state.guard.judge(knobs, outcome.losses, outcome.gradient)
    state.update(knobs, outcome, settings.clip, bad)
    return outcome


def photographs(count: int, side: int) -> Tensor:
    """Tile photographs that pip brought: (count, 3, side, side) uint8 in channels-last order."""
    source = ImageSource.embedded()
    images: list[np.ndarray[Any, Any]] = []
    for k in range(count):
        pixels = source.read(k % len(source)).pixels()
        times = [-(-side // length) for length in pixels.shape[:2]]
        images.append(np.tile(pixels, (*times, 1))[:side, :side])
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def why(error: Exception) -> str:
    """Say in place of a unit why there is no figure."""
    if isinstance(error, torch.OutOfMemoryError):
        return "out of memory"
    return f"failed: {type(error).__name__}"
