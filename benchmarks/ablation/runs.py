"""One run: a pure function of (model, arm, seed, steps, rate) and the images.

A run that is stopped goes on from its last saved state and ends with the same bits. Its result is
one small JSON file, a `Result`.
"""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks._rows import commit, machine
from benchmarks.ablation.arms import Run
from benchmarks.ablation.crops import KINDS, Crops
from filters import Reader
from pipelines.evaluation.scoring import Codec, reconstruct
from shards import Settings
from shards.store import write_atomically
from vae import METRICS, VAE, Mean, ned, to_image
from vae.curriculum.schedule import Rate
from vae.model import parameter_counts
from vae.objective.losses import l1

COMMIT = commit()
"""That of the code which is loaded: runs take hours, and the tree may move on meanwhile."""

BATCH = 4
"""Crops of a step, half of either kind.

What might have made room for more did not: at 8 crops a step of f16c64 took 0.087 s, in bf16 0.078,
compiled by torch 0.094 after 3 minutes of compiling; f32c128 0.075, in bf16 0.082.
"""

CLIP, BETAS, WEIGHT_DECAY = 1.0, (0.9, 0.99), 1e-4
"""As `TrainSettings` has them."""

WARMUP = 50
"""Steps: batches are of one size here, so the rate may count steps in place of samples."""

EARLY, EVERY = (0, 25, 50, 100, 200, 300, 400), 200
"""Steps of the curve: those, and every 200th."""

SAVE_EVERY = 200
"""Steps between saved states: at most 10 s of work are lost."""


class Point(Settings):
    """The curve at one step: scores by kind, means over the held-out crops of that kind.

    `train_l1` is the mean over the steps since the point before; None at step 0. L1 is that of
    [-1, 1], PSNR in dB after rounding to 8 bits.
    """

    step: int
    train_l1: float | None
    l1: dict[str, float]
    psnr: dict[str, float]


class Reading(Settings):
    """NED on the pages of one em size, and how many pages of it were read at all."""

    ned: float | None
    pages: int


class Result(Settings):
    """What is left of a run; `readings` are by em size in px."""

    model: str
    arm: str
    seed: int
    steps: int
    rate: float
    batch: int = BATCH
    parameters: dict[str, int]
    curve: tuple[Point, ...]
    readings: dict[int, Reading]
    crops: str
    cpu_seconds: float
    machine: str
    commit: str
    torch: str = torch.__version__

    @property
    def run(self) -> Run:
        """Return the run it is the result of."""
        return Run(self.model, self.arm, self.seed, self.rate, self.steps)

    @property
    def end(self) -> Point:
        """Return the last point of the curve."""
        return self.curve[-1]


class Trial:
    """A run under way: model, optimizer, the curve so far; made anew or from a saved state."""

    def __init__(self, run: Run, crops: Crops) -> None:
        self.run, self.crops = run, crops
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run.seed)
            self.model = VAE(run.settings()).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=run.rate,
            betas=BETAS,
            weight_decay=WEIGHT_DECAY,
            fused=True,
        )
        self.rate = Rate(peak=run.rate, warmup=WARMUP)
        self.held_out = {kind: to_image(crops.held_out[kind]) for kind in KINDS}
        self.step, self.seconds = 0, 0.0
        self.curve: list[Point] = [self._point([])]
        self._losses: list[float] = []

    def advance(self, until: int) -> None:
        """Take steps until `until` of them are taken; one thread's CPU time is counted."""
        start = time.process_time()
        while self.step < until:
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate.at(self.step, self.run.steps)
            image = batch(self.crops.train, self.run.seed, self.step)
            loss = l1(self.model(image), image)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
            self.optimizer.step()
            self._losses.append(loss.item())
            self.step += 1
            if self.step in EARLY or self.step % EVERY == 0 or self.step == self.run.steps:
                self.curve.append(self._point(self._losses))
                self._losses = []
        self.seconds += time.process_time() - start

    def result(self, readings: Mapping[int, Reading]) -> Result:
        """Return the result of a run that has come to its end."""
        run = self.run
        return Result(
            model=run.model,
            arm=run.arm,
            seed=run.seed,
            steps=run.steps,
            rate=run.rate,
            parameters=parameter_counts(run.settings()),
            curve=tuple(self.curve),
            readings=dict(readings),
            crops=self.crops.digest,
            cpu_seconds=round(self.seconds, 1),
            machine=machine(),
            commit=COMMIT,
        )

    def save(self, path: Path) -> None:
        """Write the state, whole or not at all."""
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "losses": self._losses,
            "curve": [point.model_dump() for point in self.curve],
            "crops": self.crops.digest,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        partial = path.with_suffix(".part")
        torch.save(state, partial)
        partial.replace(path)

    def restore(self, path: Path) -> None:
        """Go on from a saved state; one of other images or another start is passed over.

        A start differs when the code of the model has changed since.
        """
        state: dict[str, Any] = torch.load(path, weights_only=True)
        curve = [Point.model_validate(point) for point in state["curve"]]
        if state["crops"] != self.crops.digest or curve[0] != self.curve[0]:
            return
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self._losses = state["step"], state["seconds"], state["losses"]
        self.curve = curve

    def _point(self, losses: list[float]) -> Point:
        scores = {kind: score(self.model, images) for kind, images in self.held_out.items()}
        return Point(
            step=self.step,
            train_l1=round(float(np.mean(losses)), 5) if losses else None,
            l1={kind: found[0] for kind, found in scores.items()},
            psnr={kind: found[1] for kind, found in scores.items()},
        )


class Exam:
    """Pages and what a reader makes of them, to hold its readings of reconstructions against."""

    def __init__(self, pages: Mapping[int, NDArray[np.uint8]], reader: Reader) -> None:
        self.reader = reader
        self.pages = {
            em: [(page, reader.read(page)) for page in images] for em, images in pages.items()
        }

    def read(self, codec: Codec) -> dict[int, Reading]:
        """Read every page again after the codec."""
        found: dict[int, Reading] = {}
        for em, pages in self.pages.items():
            mean = Mean()
            for page, text in pages:
                mean.update([ned(text, self.reader.read(reconstruct(codec, page)))])
            value = round(mean.compute(), 4) if mean.count else None
            found[em] = Reading(ned=value, pages=mean.count)
        return found


def finish(
    run: Run, crops: Crops, exam: Exam, *, results: Path, scratch: Path, deadline: float
) -> Result | None:
    """Return the result of a run: read it, or go on with the run, or begin it.

    None when `deadline` (of `time.monotonic`) came first.

    States and the last weights stay in `scratch` as NAME.pt, the result in `results` as NAME.json.
    """
    path = results / f"{run.name}.json"
    if path.exists():
        return Result.model_validate_json(path.read_text())
    trial, state = Trial(run, crops), scratch / f"{run.name}.pt"
    if state.exists():
        trial.restore(state)
    while trial.step < run.steps:
        if time.monotonic() > deadline:
            return None
        trial.advance(min(trial.step + SAVE_EVERY, run.steps))
        trial.save(state)
    result = trial.result(exam.read(trial.model))
    write_atomically(path, result.model_dump_json(indent=1) + "\n")
    return result


def best_rate(results: Iterable[Result]) -> float:
    """Return the rate with the least held-out L1, as the geometric mean over arms and kinds.

    Of what is trained, not of PSNR; geometric, since the arms differ by a factor.
    """
    errors: dict[float, list[float]] = {}
    for result in results:
        errors.setdefault(result.rate, []).extend(result.end.l1.values())
    return min(errors, key=lambda rate: float(np.mean(np.log(errors[rate]))))


def batch(crops: Mapping[str, NDArray[np.uint8]], seed: int, step: int) -> Tensor:
    """Draw the batch (BATCH, 3, 64, 64) in [-1, 1] of a step, the same for every arm."""
    rng = np.random.default_rng([seed, step])
    count = BATCH // len(KINDS)
    drawn = [crops[kind][rng.integers(len(crops[kind]), size=count)] for kind in KINDS]
    return to_image(np.concatenate(drawn))


@torch.no_grad()
def score(codec: Codec, images: Tensor) -> tuple[float, float]:
    """Return mean L1 and mean PSNR of the reconstructions of (n, 3, h, w) in [-1, 1]."""
    outputs = torch.cat([codec(part) for part in images.split(16)])
    rounded = outputs.clamp(-1, 1).add(1).mul(127.5).round().div(255)
    values = METRICS["psnr"](rounded, images.add(1).div(2))
    return round(float(l1(outputs, images)), 5), round(float(values.mean()), 4)
