"""The guard: a step that would ruin the run is taken on no rank, and is named.

A step is bad when the loss of one of its micro-batches or the gradient is not finite, or when the
gradient's norm is above `spike` times the running median. The verdict is a flag on the device,
which the fused AdamW takes as its `found_inf`: weights, moments and its count of steps then keep
their bits, and nobody waits for the device. Losses and norm are those of all ranks, so all come to
one verdict. The host reads the flags later and says what was skipped.

Skipping helps against a bad batch, not against weights that have drifted or were damaged. After
`patience` bad steps in a row, or ten of the last 1,000, weights, moments and average go back to the
newest good checkpoint from before them, while n goes on: all that was drawn since then is left
out. Taking the good steps in between again would lead to the same place by the same steps.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import isfinite
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from shards import Settings, UserError
from vae.curriculum.curriculum import Knobs

RING = 256
"""Good steps of a stage whose median norm a spike is measured by, and that pass before one can be.

Enough that the median of crops of photographs and pages is steady within some per cent (our
choice). A stage brings other sizes, streams and weights, and with them another norm, so each
starts anew."""

WINDOW, LIMIT = 1000, 10
"""Of so many steps, this many bad ones call for a roll-back though they are not in a row."""


class GuardSettings(Settings):
    """What becomes of a bad step.

    `action` is to "skip" it, or to "stop" the run there for those who would rather look. A step is
    a spike above `spike` times the median norm. Gradients are clipped anyway, so only what is far
    outside of what batches do counts (our choice: no norm of the quickstart's run is above 5.3
    medians, at batches of 4). After `patience` bad steps in a row the weights are to blame and not
    the batches: where one step in 100 is bad by chance, ten in a row come once in 10^20. After
    `rollbacks` roll-backs the run stops: something else is wrong.
    """

    action: Literal["skip", "stop"] = "skip"
    spike: float = Field(default=20.0, gt=1)
    patience: int = Field(default=10, ge=1)
    rollbacks: int = Field(default=3, ge=0)


class Guard:
    """Judges the steps of a run, in order; its tensors are on `device`.

    `lost` counts the steps before the first of those that call for a roll-back; None while none do.
    `left_out` lists the ranges of n whose draws a roll-back left out, [from, to).
    """

    def __init__(self, settings: GuardSettings, device: torch.device | str = "cpu") -> None:
        self.settings = settings
        self._norms = torch.full((RING,), torch.nan, device=device)
        self._slots = torch.arange(RING, device=device)
        self._good = torch.zeros((), dtype=torch.long, device=device)
        self._stage = ""
        self._bad: list[int] = []
        self._unread: list[_Judged] = []
        self.lost: int | None = None
        self.rollbacks = 0
        self.left_out: list[tuple[int, int]] = []

    @torch.no_grad()
    def judge(self, knobs: Knobs, losses: Tensor, norm: Tensor) -> Tensor:
        """Return the flag of a step: a float32 scalar on the device, 0 good, 1 bad.

        `losses` (M,) are the totals of the micro-batches of all ranks, `norm` (scalar) is that of
        the whole gradient before clipping, of what the objective learns too.
        """
        if knobs.stage.name != self._stage:
            self._stage = knobs.stage.name
            self._norms.fill_(torch.nan)
            self._good.zero_()
        # NaN, which nothing is above, until the ring is full.
        median = self._norms.median()
        finite = losses.isfinite().all() & norm.isfinite()
        bad = ~finite | (norm > self.settings.spike * median)
        here = (self._slots == self._good % RING) & ~bad
        self._norms = torch.where(here, norm, self._norms)
        self._good += ~bad
        self._unread.append(_Judged(knobs, losses, norm, median, bad))
        return bad.float()

    def read(self) -> list["Bad"]:
        """Read the verdicts since the last time and return the bad steps; waits for the device."""
        unread, self._unread = self._unread, []
        flags = torch.stack([judged.bad for judged in unread]).tolist() if unread else []
        steps: list[Bad] = []
        for judged, bad in zip(unread, flags, strict=True):
            step = judged.knobs.step
            self._bad = [earlier for earlier in self._bad if earlier > step - WINDOW]
            if bad:
                self._bad.append(step)
                losses = tuple(judged.losses.tolist())
                steps.append(Bad(judged.knobs, losses, float(judged.norm), float(judged.median)))
                self._find_lost()
        return steps

    def roll_back(self, ours: Mapping[str, Any], start: int, end: int) -> None:
        """Note a roll-back, which left out the draws from n to n.

        The guard has been restored as the checkpoint remembers it; `ours` is its state from before
        that, of which it keeps what was rolled back already.
        """
        self._bad = []
        self.rollbacks = ours["rollbacks"] + 1
        self.left_out = [*map(tuple, ours["left_out"]), (start, end)]

    def check(self, bad: Sequence["Bad"]) -> None:
        """Raise UserError where the run must end: at a bad step to "stop" at, or lost once more."""
        if bad and self.settings.action == "stop":
            raise UserError(
                f"{bad[0].reason} at step {bad[0].step}, n {bad[0].knobs.n} (stage "
                f"{bad[0].knobs.stage.name}), and guard.action is stop; look at its samples with "
                "nonpareil replay, and go on without it by guard.action=skip"
            )
        if self.lost is not None and self.rollbacks == self.settings.rollbacks:
            raise UserError(
                f"after step {self.lost} steps are bad again, after {self.rollbacks} roll-backs; "
                "see skipped.jsonl, then lower rate.peak or clip, or mend the streams, and start "
                "again"
            )

    def state(self) -> dict[str, Any]:
        """Return what a resumed run must know, for JSON; all verdicts must have been read."""
        assert not self._unread, "read() comes before state()"
        good = int(self._good)
        # Oldest first; where the ring is not full, the rest of it is NaN.
        norms = self._norms.roll(-(good % RING) if good >= RING else 0)[: min(good, RING)].tolist()
        return {
            "stage": self._stage,
            "norms": norms,
            "bad": [*self._bad],
            "rollbacks": self.rollbacks,
            "left_out": [list(part) for part in self.left_out],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        norms = state["norms"]
        self._norms.fill_(torch.nan)
        self._norms[: len(norms)] = torch.tensor(norms, device=self._norms.device)
        self._good.fill_(len(norms))
        self._stage, self._bad = state["stage"], [*state["bad"]]
        self._unread, self.lost = [], None
        self.rollbacks = state["rollbacks"]
        self.left_out = [(start, end) for start, end in state["left_out"]]

    def _find_lost(self) -> None:
        if self.lost is not None:
            return
        row = self._bad[-self.settings.patience :]
        if len(row) == self.settings.patience and all(b - a == 1 for a, b in pairwise(row)):
            self.lost = row[0]
        elif len(self._bad) >= LIMIT:
            self.lost = self._bad[-LIMIT]


class Bad(NamedTuple):
    """A bad step, as the host knows it."""

    knobs: Knobs
    losses: tuple[float, ...]
    norm: float
    median: float

    @property
    def step(self) -> int:
        """Its number from 1, as metrics.jsonl counts."""
        return self.knobs.step + 1

    @property
    def ruined(self) -> list[int]:
        """The micro-batches that have a loss that is not finite."""
        return [m for m, loss in enumerate(self.losses) if not isfinite(loss)]

    @property
    def reason(self) -> str:
        """What is wrong with it, in words."""
        if self.ruined:
            return f"the loss is {self.losses[self.ruined[0]]}"
        if not isfinite(self.norm):
            return f"the gradient is {self.norm}"
        return f"the gradient's norm is {self.norm / self.median:.0f} times the median"

    def line(self, keys: Callable[[int, int], Sequence[str]], world: int = 1) -> dict[str, Any]:
        """Return what skipped.jsonl says of it, for JSON.

        It names the samples of the micro-batches with a loss that is not finite, or of all, and
        which of `world` ranks had them. `keys(n, m)` are those of a micro-batch.
        """
        count = len(self.losses)
        suspects = [
            {"micro_batch": m, "rank": m * world // count, "keys": [*keys(self.knobs.n, m)]}
            for m in self.ruined or range(count)
        ]
        return {
            "n": self.knobs.n,
            "step": self.step,
            "stage": self.knobs.stage.name,
            "reason": self.reason,
            "losses": [_plain(loss) for loss in self.losses],
            "gradient_norm": _plain(self.norm),
            "median": _plain(self.median),
            "micro_batches": suspects,
        }


class _Judged(NamedTuple):
    """A step that was judged; all but `knobs` is on the device."""

    knobs: Knobs
    losses: Tensor
    norm: Tensor
    median: Tensor
    bad: Tensor


def _plain(value: float) -> float | str:
    """Return what JSON can hold: NaN and infinity by name."""
    return value if isfinite(value) else str(value)
