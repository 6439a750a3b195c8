"""What training changes, in one value that is saved and loaded as a whole."""

import io
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor

from shards import UserError
from vae.model import VAE
from vae.objective.balance import Balance
from vae.objective.losses import Objective
from vae.training.average import Average
from vae.training.checkpoint import (
    AVERAGE,
    MODEL,
    OBJECTIVE,
    OPTIMIZER,
    latest,
    read_header,
    write,
)
from vae.training.curriculum import Knobs
from vae.training.guard import Guard
from vae.training.reductions import Reduction
from vae.training.step import Outcome


@dataclass
class State:
    """Everything that a step changes.

    `step` counts finished steps, `n` the images of their batches over all ranks: the clock, from
    which all else that holds follows.
    """

    model: VAE
    objective: Objective
    reduction: Reduction
    optimizer: torch.optim.Optimizer
    balance: Balance | None
    guard: Guard
    average: Average | None
    step: int = 0
    n: int = 0

    def update(self, knobs: Knobs, outcome: Outcome, clip: float, bad: Tensor) -> None:
        """Take the step whose gradients the parameters have; with the flag `bad` only n moves on.

        The norm of the model's gradient is brought down to `clip`. The flag (scalar, 0 or 1) stays
        on the device.
        """
        self.reduction.clip(outcome.norm, clip)
        for group in self.optimizer.param_groups:
            group["lr"] = knobs.rate * group["scale"]
        # torch's name for it, from its gradient scaler; only fused optimizers look at it.
        self.optimizer.found_inf = bad  # pyright: ignore[reportAttributeAccessIssue]
        self.optimizer.step()
        if self.balance is not None and outcome.squares is not None:
            self.balance.update(outcome.squares, bad)
        if self.average is not None:
            self.average.update(self.model, self.n, knobs.samples, bad)
        self.step += 1
        self.n += knobs.samples

    def shown(self) -> AbstractContextManager[None]:
        """Let the model have what is shown and shipped: the average, if there is one, and while."""
        return nullcontext() if self.average is None else self.average.in_place_of(self.model)

    def roll_back(self, folder: Path) -> dict[str, Any]:
        """Go back to the newest good checkpoint from before the guard's bad steps; n goes on.

        Returns what skipped.jsonl says of it.

        Raises:
            UserError: when there is none.
        """
        lost, step, n = self.guard.lost, self.step, self.n
        before = latest(folder, at_most=lost)
        if before is None:
            raise UserError(
                f"after step {lost} steps are bad, and {folder} holds no good checkpoint from "
                "before them; lower rate.peak or clip, or mend the streams, and start again"
            )
        ours = self.guard.state()
        self.load(before)
        left_out = (self.n, n)
        self.guard.roll_back(ours, *left_out)
        self.step, self.n = step, n
        return {"n": n, "step": step, "reason": f"back to {before.name}", "left_out": left_out}

    def save(self, folder: Path, *, keep: int = 2) -> Path:
        """Write the checkpoint folder/step-NNNNNN and keep the newest `keep` of them."""
        weights = contiguous(self.model.state_dict())
        self._check_finite(weights)
        learned = contiguous(self.objective.learned())
        moments = io.BytesIO()
        torch.save(self.optimizer.state_dict(), moments)
        # Written by us, not by the libraries, so that a full disk is an OSError like any other.
        files = {MODEL: serialize(weights), OPTIMIZER: moments.getvalue()}
        if self.average is not None:
            files[AVERAGE] = serialize(contiguous(self.average.tensors))
        if learned:
            files[OBJECTIVE] = serialize(learned)
        return write(
            folder,
            files,
            step=self.step,
            n=self.n,
            balance={} if self.balance is None else self.balance.state(),
            guard=self.guard.state(),
            model=self.model.settings,
            keep=keep,
        )

    def load(self, checkpoint: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            UserError: when it is broken, or holds a model or an alignment of other settings.
        """
        header = read_header(checkpoint)
        if header.model != self.model.settings:
            theirs, ours = header.model.model_dump(), self.model.settings.model_dump()
            names = [f"{k}={theirs[k]}, asked for {ours[k]}" for k in ours if theirs[k] != ours[k]]
            raise UserError(
                f"{checkpoint} holds another model: {'; '.join(names)}; "
                "resume with its settings or give another --out folder"
            )
        self.model.load_state_dict(load_file(checkpoint / MODEL))
        has_learned = OBJECTIVE in header.sha256
        self._load_learned(load_file(checkpoint / OBJECTIVE) if has_learned else {})
        moments: dict[str, Any] = torch.load(
            checkpoint / OPTIMIZER, map_location="cpu", weights_only=True
        )
        self.optimizer.load_state_dict(moments)
        if self.average is not None:
            saved = load_file(checkpoint / (AVERAGE if AVERAGE in header.sha256 else MODEL))
            with torch.no_grad():
                for name, value in self.average.tensors.items():
                    value.copy_(saved[name])
        if self.balance is not None:
            self.balance.restore(header.balance)
        self.guard.restore(header.guard)
        self.step, self.n = header.step, header.n

    def _check_finite(self, weights: dict[str, Tensor]) -> None:
        """Raise UserError rather than save what no run can go on from."""
        for name, value in weights.items():
            if not value.isfinite().all():
                raise UserError(
                    f"{name} is not finite after step {self.step}, so nothing was saved; run again "
                    "from the last checkpoint, with a lower rate.peak if that does not help"
                )

    def _load_learned(self, saved: dict[str, Tensor]) -> None:
        learned = self.objective.learned()
        theirs, ours = ({k: tuple(v.shape) for k, v in x.items()} for x in (saved, learned))
        if theirs != ours:
            raise UserError(
                f"the checkpoint's objective learned {theirs or 'nothing'}, this one has "
                f"{ours or 'nothing'} to learn; resume with its weights and teacher or give "
                "another --out folder"
            )
        with torch.no_grad():
            for name, value in saved.items():
                learned[name].copy_(value)


def contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors in the one layout that safetensors can hold."""
    return {name: value.contiguous() for name, value in tensors.items()}
