"""The learning rate as a pure function of the step."""

import math

from pydantic import Field

from shards import Settings


class Rate(Settings):
    """Linear warm-up to `peak`, then a cosine down to `peak * floor` at the last step."""

    peak: float = Field(default=2e-3, gt=0)
    warmup: int = Field(default=50, ge=0)
    floor: float = Field(default=0.01, ge=0, le=1)

    def at(self, step: int, steps: int) -> float:
        """Return the learning rate of `step` (from 0) in a run of `steps`."""
        if step < self.warmup:
            return self.peak * (step + 1) / (self.warmup + 1)
        progress = (step - self.warmup) / max(1, steps - 1 - self.warmup)
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return self.peak * (self.floor + (1 - self.floor) * fall)
