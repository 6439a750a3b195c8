"""A stage of the curriculum: what a stretch of training is made of."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, Self, cast

from pydantic import Field, ValidationError, field_validator, model_validator

from shards import Settings, UserError
from vae.curriculum.schedule import Ramp
from vae.objective.losses import Weights

ASPECTS = tuple(round(3 ** (k / 4), 4) for k in range(-4, 5))
"""Width / height of the crops where a stage does not say: nine from 1:3 to 3:1, each 1.3 times as
wide as the one before (our choice)."""


class Stage(Settings):
    """A stretch of the curriculum.

    `samples` are the images of the whole stage, `batch` those of a step over all ranks together,
    `micro` those that go through the model at once. Nothing here is multiplied by the number of
    ranks: a step is a list of batch / micro micro-batches, and the ranks share the list.

    Crops have shapes of equal area, `resolution` squared px, one shape a step: of those of
    `aspects` (width / height) that the streams' images hold (vae/curriculum/buckets.py).
    `also = { 256 = 0.25 }` gives a part of the steps to a smaller resolution, with as many more
    images as these have fewer pixels, so that a step has equally many.

    `shares` weighs streams by name, in any
    unit; `weights` are those of the objective by name, in place of the run's. Each number of both
    is a `Ramp`: it holds over the stage or moves through it.

    `recompute` says whether residual blocks are computed a second time in backward, which takes
    less memory: "auto" where a step would not fit into the GPU's otherwise. No bit depends on it.
    """

    name: str
    samples: int = Field(ge=1)
    batch: int = Field(ge=1)
    micro: int = Field(ge=1)
    resolution: int = Field(ge=1)
    aspects: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = ASPECTS
    also: dict[int, Annotated[float, Field(gt=0, lt=1)]] = Field(default={})
    shares: dict[str, Ramp]
    weights: dict[str, Ramp] | None = None
    recompute: Literal["auto", "on", "off"] = "auto"

    @model_validator(mode="before")
    @classmethod
    def _speaks_of_samples(cls, value: Any) -> Any:
        given = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
        renamed = [f"{old} is now {new}" for old, new in _RENAMED.items() if old in given]
        if renamed:
            raise ValueError(
                f"{'; '.join(renamed)}; a recipe counts samples (see docs/training.md)"
            )
        return value

    @model_validator(mode="after")
    def _steps_are_whole(self) -> Self:
        if self.batch % self.micro:
            raise ValueError(
                f"stage {self.name!r}: batch {self.batch} is no multiple of micro {self.micro}"
            )
        if self.samples % self.batch:
            whole = max(1, round(self.samples / self.batch)) * self.batch
            raise ValueError(
                f"stage {self.name!r}: samples {self.samples} are no multiple of batch "
                f"{self.batch}; give {whole}"
            )
        return self

    @model_validator(mode="after")
    def _shapes_can_be_made(self) -> Self:
        if not self.aspects:
            raise ValueError(f"stage {self.name!r}: aspects are empty; give 1.0 for squares alone")
        for side in self.also:
            if not 0 < side < self.resolution or self.resolution % side:
                raise ValueError(
                    f"stage {self.name!r}: also {side}: give a resolution below {self.resolution} "
                    "that divides it, so that steps of both have equally many pixels"
                )
        if sum(self.also.values()) >= 1:
            raise ValueError(
                f"stage {self.name!r}: also takes {sum(self.also.values()):g} of all steps; give "
                "less than 1"
            )
        return self

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        bad = [name for name, share in self.shares.items() if min(share.from_, share.to) < 0]
        if bad:
            raise ValueError(f"stage {self.name!r}: shares of {', '.join(bad)} must be 0 or more")
        for total in (
            sum(share.from_ for share in self.shares.values()),
            sum(share.to for share in self.shares.values()),
        ):
            if not 0 < total < math.inf:
                raise ValueError(
                    f"stage {self.name!r}: the shares of {', '.join(self.shares) or 'no stream'} "
                    f"add up to {total:g}; give at least one stream a positive share"
                )
        return self

    @field_validator("weights")
    @classmethod
    def _weights_are_those_of_the_objective(
        cls, weights: dict[str, Ramp] | None
    ) -> dict[str, Ramp] | None:
        for progress in (0.0, 1.0):
            try:
                Weights.model_validate(_at(weights or {}, progress))
            except ValidationError as error:
                fault = error.errors()[0]
                allowed = ", ".join(Weights.model_fields)
                raise ValueError(
                    f"{fault['loc'][0]}: {fault['msg']} (weights: {allowed})"
                ) from None
        return weights

    @property
    def streams(self) -> list[str]:
        """Names of the streams that have a share at any time of the stage."""
        return sorted(name for name, share in self.shares.items() if share.from_ or share.to)

    def shares_at(self, progress: float) -> dict[str, float]:
        """Return each stream's share of a step, summing to 1, at `progress` in [0, 1]."""
        shares = {name: self.shares[name].at(progress) for name in self.streams}
        total = sum(shares.values())
        return {name: share / total for name, share in shares.items()}

    def weights_at(self, progress: float, of_the_run: Weights) -> Weights:
        """Return the weights of the objective at `progress` in [0, 1]."""
        if self.weights is None:
            return of_the_run
        return Weights.model_validate(_at(self.weights, progress))


_RENAMED = {
    "steps": "samples = steps * batch_size",
    "batch_size": "batch, with micro images at a time through the model",
    "shares_end": "shares = { NAME = { from = ..., to = ... } }",
}


def streams_of(stages: Sequence[Stage]) -> list[str]:
    """Return the names of all streams that any stage draws from, sorted."""
    return sorted({name for stage in stages for name in stage.streams})


def check_stages(stages: Sequence[Stage]) -> None:
    """Raise UserError when there is no stage, or two have the same name."""
    if not stages:
        raise UserError("there is no stage; give at least one [[stages]] table")
    names = [stage.name for stage in stages]
    if len(set(names)) != len(names):
        raise UserError(f"stages {', '.join(names)}: a name repeats; give each its own")


def check_streams(stages: Sequence[Stage], streams: Collection[str]) -> None:
    """Raise UserError naming the streams that a stage wants and `streams` lacks."""
    missing = [name for name in streams_of(stages) if name not in streams]
    if missing:
        raise UserError(
            f"stages draw from {', '.join(missing)}, but the streams are "
            f"{', '.join(sorted(streams)) or 'none'}; add a stream or change the shares"
        )


def check_world(stages: Sequence[Stage], world: int) -> None:
    """Raise UserError when `world` ranks cannot share every stage's micro-batches equally."""
    parts = {stage.name: stage.batch // stage.micro for stage in stages}
    common = math.gcd(*parts.values())
    for name, count in parts.items():
        if count % world:
            *others, last = (str(d) for d in range(1, common + 1) if common % d == 0)
            allowed = f"{', '.join(others)} or {last}" if others else last
            raise UserError(
                f"stage {name}: {count} micro-batches cannot be shared by {world} ranks; "
                f"use {allowed}"
            )


def _at(ramps: Mapping[str, Ramp], progress: float) -> dict[str, float]:
    return {name: ramp.at(progress) for name, ramp in ramps.items()}
