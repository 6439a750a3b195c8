"""Numbers that move while a run goes on, as pure functions of the samples seen."""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from shards import Settings


class Ramp(Settings):
    """A number that holds over a stage, or moves from its first step to its last.

    In a recipe a plain number holds; `{ from = 0.0, to = 0.5 }` moves on a straight line and
    `{ from = 0.0, to = 0.5, by = "cosine" }` on half a cosine, level at both ends.
    """

    from_: float = Field(alias="from", allow_inf_nan=False)
    to: float = Field(allow_inf_nan=False)
    by: Literal["linear", "cosine"] = "linear"

    @model_validator(mode="before")
    @classmethod
    def _a_number_holds(cls, value: Any) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return {"from": value, "to": value}
        return value

    @model_serializer(mode="wrap")
    def _as_in_a_recipe(self, handler: SerializerFunctionWrapHandler) -> Any:
        if self.from_ == self.to:
            return self.from_
        table = handler(self)
        return {"from": table["from_"], "to": table["to"], "by": table["by"]}

    def at(self, progress: float) -> float:
        """Return the number at `progress`: 0 in the first step of the stage, 1 in the last."""
        if self.by == "cosine":
            progress = 0.5 - 0.5 * math.cos(math.pi * progress)
        return (1 - progress) * self.from_ + progress * self.to

    def over(self, progress: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the number at each `progress`, to rounding what `at` returns."""
        if self.by == "cosine":
            progress = 0.5 - 0.5 * np.cos(np.pi * progress)
        return (1 - progress) * self.from_ + progress * self.to


class Rate(Settings):
    """The learning rate: linear warm-up to `peak`, then a cosine down to `peak * floor`.

    `warmup` counts samples, like everything that a run's course depends on.
    """

    peak: float = Field(default=2e-3, gt=0)
    warmup: int = Field(default=800, ge=0)
    floor: float = Field(default=0.01, ge=0, le=1)

    def at(self, n: int, total: int) -> float:
        """Return the rate of the step that begins at sample `n` (from 0) in a run of `total`."""
        if n < self.warmup:
            return self.peak * (n + 1) / (self.warmup + 1)
        progress = (n - self.warmup) / max(1, total - 1 - self.warmup)
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return self.peak * (self.floor + (1 - self.floor) * fall)
