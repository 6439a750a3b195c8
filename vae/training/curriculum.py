"""The curriculum: stages in order, and which stream every batch slot draws from.

The report goes from general photographs over real text-rich images to synthetic text while the
resolution rises; it gives no numbers. Here a curriculum is data, and every question
("what holds at step s", "where does slot k of step s come from") is a pure function, so that a
run resumes at any step without hidden state.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from shards import Settings, UserError
from vae.objective.losses import Weights

GOLDEN = (math.sqrt(5) - 1) / 2
"""Steps of the golden ratio modulo 1 fill [0, 1) more evenly than any random sequence."""


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


class Curriculum:
    """Stages one after the other; `seed` shifts which slot draws from which stream."""

    def __init__(self, stages: Sequence[Stage], seed: int = 0) -> None:
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
        self._slots = [0, *accumulate(stage.steps * stage.batch_size for stage in stages)]
        self._offset = float(np.random.default_rng([seed, 0]).random())

    @property
    def steps(self) -> int:
        """Length of the whole curriculum."""
        return self.ends[-1]

    @property
    def streams(self) -> list[str]:
        """Names of all streams that any stage draws from, sorted."""
        return sorted({name for stage in self.stages for name in stage.shares_at(0.5)})

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

    def stream_of(self, step: int, slot: int) -> str:
        """Return the stream that slot `slot` of the batch of `step` draws from.

        An additive golden-ratio sequence over the cumulated shares: at constant shares the count
        of each stream follows its share to within a few samples at any time, not on average only.
        """
        position, first = self._locate(step)
        stage, shares = self.at(step)
        number = self._slots[position] + (step - first) * stage.batch_size + slot
        point = (self._offset + number * GOLDEN) % 1.0
        names = [name for name, share in shares.items() if share > 0]
        bounds = list(accumulate(shares[name] for name in names))
        return names[min(bisect_right(bounds, point), len(names) - 1)]

    def _locate(self, step: int) -> tuple[int, int]:
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} of a curriculum of {self.steps} steps")
        position = bisect_right(self.ends, step)
        return position, self.ends[position - 1] if position else 0


def _normalised(shares: Mapping[str, float]) -> dict[str, float]:
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()}
