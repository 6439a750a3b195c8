"""What training changes, in one value that is saved and loaded as a whole."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from shards import UserError
from vae.curriculum.curriculum import Knobs
from vae.model import VAE
from vae.objective.balance import Balance
from vae.objective.losses import Objective
from vae.training.average import Average
from vae.training.checkpoint import (
    AVERAGE,
    MODEL,
    OBJECTIVE,
    OPTIMIZER,
    Checkpoint,
    Header,
    Snapshot,
)
from vae.training.drawn import Drawn
from vae.training.guard import Guard
from vae.training.ranks import Ranks
from vae.training.reductions import Reduction, part_of, whole
from vae.training.step import Outcome


@dataclass
class State:
    """Everything that a step changes.

    `step` counts finished steps, `n` the samples seen by all ranks, `drawn` knows which ones they
    were; `scores` and `measured` go to the checkpoint. All else that holds at a step follows from
    the settings and these numbers.
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
    drawn: Drawn = field(default_factory=Drawn)
    scores: dict[str, float] = field(default_factory=dict[str, float])
    measured: dict[str, float] = field(default_factory=dict[str, float])

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

    @contextmanager
    def shown(self) -> Generator[None]:
        """Let the model have what is shown and shipped, the average if there is one, for a while.

        It runs uncompiled: images to look at have sizes of their own, and each might compile anew.
        """
        average = nullcontext() if self.average is None else self.average.in_place_of(self.model)
        with torch.compiler.set_stance("force_eager"), average:
            yield

    def roll_back(self, before: Checkpoint) -> dict[str, Any]:
        """Go back to a checkpoint from before the guard's bad steps; n goes on.

        Returns what skipped.jsonl says of it.
        """
        ours, step, n, drawn = self.guard.state(), self.step, self.n, self.drawn
        self.load(before)
        left_out = (self.n, n)
        self.guard.roll_back(ours, *left_out)
        self.step, self.n, self.drawn = step, n, drawn
        name = before.header.name
        return {"n": n, "step": step, "reason": f"back to {name}", "left_out": left_out}

    def snapshot(self, recipe: str, streams: Mapping[str, str], ranks: Ranks) -> Snapshot | None:
        """Copy everything to memory; only rank 0 gets it, but all must call this together.

        `recipe` and `streams` are the digest and the fingerprints that the checkpoint is to hold.
        """
        drawn = self.drawn.take(ranks)
        files = {
            MODEL: self.model.state_dict(),
            AVERAGE: {} if self.average is None else self.average.tensors,
            OBJECTIVE: self.objective.learned(),
            OPTIMIZER: self._moments(),
        }
        copies: dict[str, dict[str, Tensor]] = {}
        for file, named in files.items():
            for name, tensor in named.items():
                # One at a time: where ranks hold parts, a GPU may have no room for all of them.
                full = whole({name: tensor})[name]
                if not ranks.rank:
                    copies.setdefault(file, {})[name] = _copied(full)
        if ranks.rank:
            return None
        if ranks.device.type == "cuda":
            torch.cuda.synchronize(ranks.device)
        header = Header(
            step=self.step,
            n=self.n,
            model=self.model.settings,
            recipe=recipe,
            streams=dict(streams),
            drawn=drawn,
            balance={} if self.balance is None else self.balance.state(),
            guard=self.guard.state(),
            latent_mean=self.model.latent_mean.tolist(),
            latent_std=self.model.latent_std.tolist(),
            scores=self.scores,
            measured=self.measured,
        )
        return Snapshot(header, copies)

    def load(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint.

        Raises:
            UserError: when it is broken, or holds a model or an objective of other shapes.
        """
        header = checkpoint.header
        _fill(checkpoint, MODEL, self.model.state_dict())
        if self.average is not None:
            _fill(checkpoint, AVERAGE, self.average.tensors)
        _fill(checkpoint, OBJECTIVE, self.objective.learned())
        self.optimizer.state.clear()
        trained = self._trained()
        for full, value in checkpoint.tensors(OPTIMIZER).items():
            name, _, key = full.rpartition(".")
            p = trained[name]
            # The layout of the weight: fused kernels walk both as one row of numbers.
            if value.ndim:
                layout = torch.empty_like(p, dtype=value.dtype)
                self.optimizer.state[p][key] = layout.copy_(part_of(value, p))
            else:
                self.optimizer.state[p][key] = value.to(p.device)
        if self.balance is not None:
            self.balance.restore(header.balance)
        self.guard.restore(header.guard)
        self.step, self.n = header.step, header.n
        self.drawn = Drawn(header.drawn)
        self.scores, self.measured = dict(header.scores), dict(header.measured)

    def _trained(self) -> dict[str, nn.Parameter]:
        """Return what the optimizer may change, by name."""
        model = {f"model.{name}": p for name, p in self.model.named_parameters()}
        return model | {f"objective.{name}": p for name, p in self.objective.learned().items()}

    def _moments(self) -> dict[str, Tensor]:
        return {
            f"{name}.{key}": value
            for name, p in self._trained().items()
            for key, value in self.optimizer.state.get(p, {}).items()
        }


def _copied(tensor: Tensor) -> Tensor:
    """Copy to the host's memory what training goes on to change.

    From a GPU to pinned memory, several times as fast as elsewhere: it must have done so before
    the copy is read.
    """
    pinned = tensor.is_cuda
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=pinned)
    return copy.copy_(tensor.detach(), non_blocking=pinned)


@torch.no_grad()
def _fill(checkpoint: Checkpoint, file: str, ours: Mapping[str, Tensor]) -> None:
    """Copy the tensors of a file into ours.

    Raises:
        UserError: when names or shapes differ.
    """
    theirs = checkpoint.tensors(file)
    held, wanted = (
        {name: tuple(tensor.shape) for name, tensor in each.items()} for each in (theirs, ours)
    )
    if held != wanted:
        name = sorted(name for name in held | wanted if held.get(name) != wanted.get(name))[0]
        raise UserError(
            f"{checkpoint.store}: {file} holds {held.get(name, 'nothing')} for {name}, this run "
            f"{wanted.get(name, 'nothing')}; go on with the settings, the teacher and the shapes "
            "of before, or give another --out"
        )
    for name, value in theirs.items():
        ours[name].copy_(part_of(value, ours[name]))
