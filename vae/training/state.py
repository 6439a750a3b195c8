"""What training changes, in one value that is saved and loaded as a whole."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor

from shards import UserError
from vae.model import VAE
from vae.objective.losses import Objective
from vae.training.checkpoint import MODEL, OBJECTIVE, OPTIMIZER, read_header, write


@dataclass
class State:
    """Everything that a step changes.

    `step` counts finished steps, `n` the images of their batches over all ranks: the clock, from
    which all else that holds follows.
    """

    model: VAE
    objective: Objective
    optimizer: torch.optim.Optimizer
    step: int = 0
    n: int = 0

    def save(self, folder: Path, *, keep: int = 2) -> Path:
        """Write the checkpoint folder/step-NNNNNN and keep the newest `keep` of them."""
        weights = {name: value.contiguous() for name, value in self.model.state_dict().items()}
        learned = {name: value.contiguous() for name, value in self.objective.learned().items()}
        moments = io.BytesIO()
        torch.save(self.optimizer.state_dict(), moments)
        # Written by us, not by the libraries, so that a full disk is an OSError like any other.
        files = {MODEL: serialize(weights), OPTIMIZER: moments.getvalue()}
        if learned:
            files[OBJECTIVE] = serialize(learned)
        return write(
            folder,
            files,
            step=self.step,
            n=self.n,
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
        self.step, self.n = header.step, header.n

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
