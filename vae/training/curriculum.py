"""The curriculum: stages in order, and what every slot of every batch draws.

The report goes from general photographs over real text-rich images to synthetic text while the
resolution rises; it gives no numbers. Here a curriculum is data, and every question
("what holds at step s", "what does slot k of step s draw") is a pure function, so that a run
resumes at any step without hidden state.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from shards import Settings, UserError
from vae.objective.losses import Weights
from vae.training.mixture import Mixture


class Stage(Settings):
    """A stretch of the curriculum.

    `resolution` is the side of the square crops in px. `shares` weighs streams by name, in any
    unit; with `shares_end` they move linearly from the first step of the stage to its last.
    `weights` are those of the objective in this stage, in place of the run's: margins that loosen
    from stage to stage, or a term that comes in late.
    """

    name: str
    steps: int = Field(ge=1)
    resolution: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    shares: dict[str, float]
    shares_end: dict[str, float] | None = None
    weights: Weights | None = None

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        for shares in (self.shares, self.shares_end):
            if shares is None:
                continue
            bad = [name for name, share in shares.items() if not 0 <= share < math.inf]
            if bad:
                raise ValueError(
                    f"stage {self.name!r}: shares of {', '.join(bad)} must be 0 or more"
                )
            if not sum(shares.values()) > 0:
                raise ValueError(
                    f"stage {self.name!r}: the shares of {', '.join(shares) or 'no stream'} add up "
                    "to 0; give at least one stream a positive share"
                )
        return self

    def shares_at(self, progress: float) -> dict[str, float]:
        """Return each stream's share of a batch, summing to 1, at `progress` in [0, 1]."""
        start = _normalised(self.shares)
        end = start if self.shares_end is None else _normalised(self.shares_end)
        return {
            name: (1 - progress) * start.get(name, 0.0) + progress * end.get(name, 0.0)
            for name in sorted(start.keys() | end.keys())
        }


class Draw(NamedTuple):
    """What one slot of a batch draws: number `number`, from 0, of all draws from a stream."""

    stream: str
    number: int


class Curriculum:
    """Stages one after the other."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        """Line up the stages.

        Raises:
            UserError: when there is none, or two have the same name.
        """
        if not stages:
            raise UserError("stages: there is none; give at least one [[train.stages]] table")
        names = [stage.name for stage in stages]
        if len(set(names)) != len(names):
            raise UserError(f"stages: names {', '.join(names)} repeat; give each its own")
        self.stages = tuple(stages)
        self.ends = list(accumulate(stage.steps for stage in stages))
        self.streams = sorted({name for stage in stages for name in stage.shares_at(0.5)})
        """Names of all streams that any stage draws from."""
        self._mixture = self._mixed()

    @property
    def steps(self) -> int:
        """Length of the whole curriculum."""
        return self.ends[-1]

    def check_streams(self, known: Mapping[str, object]) -> None:
        """Raise UserError naming the streams that a stage wants and `known` lacks."""
        missing = [name for name in self.streams if name not in known]
        if missing:
            raise UserError(
                f"stages draw from {', '.join(missing)}, but the streams are "
                f"{', '.join(sorted(known)) or 'none'}; add a stream or change the shares"
            )

    def at(self, step: int) -> tuple[Stage, dict[str, float]]:
        """Return the stage that holds at `step` (from 0) and the shares of its batch.

        Raises:
            IndexError: when `step` lies outside the curriculum.
        """
        position, first = self._locate(step)
        stage = self.stages[position]
        return stage, stage.shares_at((step - first) / max(1, stage.steps - 1))

    def draws(self, step: int) -> list[Draw]:
        """Return what each slot of the batch of `step` draws.

        Of all slots before any given one, each stream has had its share to within one (see
        vae/training/mixture.py), and its draws are numbered without a gap.

        Raises:
            IndexError: when `step` lies outside the curriculum.
        """
        self._locate(step)
        counts = self._mixture.counts[step].copy()
        draws: list[Draw] = []
        for column in self._mixture.streams(step):
            draws.append(Draw(self.streams[column], int(counts[column])))
            counts[column] += 1
        return draws

    def _mixed(self) -> Mixture:
        shares = np.zeros((self.steps, len(self.streams)))
        for stage, end in zip(self.stages, self.ends, strict=True):
            progress = np.arange(stage.steps) / max(1, stage.steps - 1)
            starts, ends = (stage.shares_at(at) for at in (0.0, 1.0))
            for column, name in enumerate(self.streams):
                if name in starts:
                    moving = (1 - progress) * starts[name] + progress * ends[name]
                    shares[end - stage.steps : end, column] = moving
        batch = np.repeat(
            [stage.batch_size for stage in self.stages], [stage.steps for stage in self.stages]
        )
        return Mixture(shares, batch)

    def _locate(self, step: int) -> tuple[int, int]:
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} of a curriculum of {self.steps} steps")
        position = bisect_right(self.ends, step)
        return position, self.ends[position - 1] if position else 0


def _normalised(shares: Mapping[str, float]) -> dict[str, float]:
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()}
