"""Means over the steps between two rows of metrics.jsonl, taken where the values are."""

from collections.abc import Mapping

import torch
from torch import Tensor


class Means:
    """Values of steps, kept on their device until somebody reads them."""

    def __init__(self) -> None:
        self._columns: dict[str, list[Tensor]] = {}

    def add(self, values: Mapping[str, Tensor], bad: Tensor) -> None:
        """Add the values of a step, scalars by name, unless its flag `bad` is 1."""
        for name, value in values.items():
            self._columns.setdefault(name, []).append(torch.where(bad.bool(), torch.nan, value))

    def read(self) -> dict[str, float]:
        """Return the means of what was added since the last time; waits for the device once.

        What no step had is left out.
        """
        columns, self._columns = self._columns, {}
        if not columns:
            return {}
        means = torch.stack([torch.stack(column).nanmean() for column in columns.values()])
        named = zip(columns, means.tolist(), strict=True)
        return {name: mean for name, mean in named if mean == mean}
