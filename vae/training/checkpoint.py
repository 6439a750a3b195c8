"""Checkpoints: a folder per saved step, whole or not there at all.

    step-000123/model.safetensors       weights
                objective.safetensors   the alignment's projection, where there is one
                optimizer.pt            tensors and numbers of the optimizer
                state.json              step, model settings, versions, SHA-256 of the others

A folder is written under a temporary name and renamed. Reading checks the digests, so a damaged
checkpoint is passed over for the newest good one. No pickle of ours is ever executed.
"""

import hashlib
import io
import logging
import os
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor, nn

from shards import Settings, UserError
from shards.store import sha256_of
from vae.model import VAE
from vae.objective.losses import Objective
from vae.settings import VAESettings

MODEL, OBJECTIVE = "model.safetensors", "objective.safetensors"
OPTIMIZER, STATE = "optimizer.pt", "state.json"

log = logging.getLogger(__name__)


class State(Settings):
    """What state.json holds. `step` counts finished steps."""

    version: Literal[1] = 1
    step: int
    model: VAESettings
    sha256: dict[str, str]
    versions: dict[str, str]


def save(
    folder: Path,
    step: int,
    model: VAE,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    *,
    keep: int = 2,
) -> Path:
    """Write folder/step-NNNNNN after `step` finished steps; keep the newest `keep` of them."""
    target = folder / f"step-{step:06d}"
    temporary = folder / f".{target.name}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    learned = {name: value.contiguous() for name, value in objective.learned().items()}
    held = io.BytesIO()
    torch.save(optimizer.state_dict(), held)
    # Written by us, not by the libraries, so that a full disk is an OSError like any other.
    files = {MODEL: serialize(weights), OPTIMIZER: held.getvalue()}
    if learned:
        files[OBJECTIVE] = serialize(learned)
    state = State(
        step=step,
        model=model.settings,
        sha256={name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        versions={name: version(name) for name in ("torch", "safetensors")},
    )
    files[STATE] = (state.model_dump_json(indent=1) + "\n").encode()
    try:
        temporary.mkdir(parents=True)
        for name, data in files.items():
            with (temporary / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        if target.exists():
            shutil.rmtree(target)
        temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints in `folder`, oldest first, good or not."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def read_state(checkpoint: Path) -> State:
    """Read and verify one checkpoint.

    Raises:
        UserError: when a file is missing, altered or of another version.
    """
    try:
        state = State.model_validate_json((checkpoint / STATE).read_bytes())
        for name, digest in state.sha256.items():
            if sha256_of(checkpoint / name) != digest:
                raise ValueError(f"{name} does not have the digest in {STATE}")
    except (OSError, ValueError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{checkpoint} is not a whole checkpoint ({reason}); use another or delete it"
        ) from error
    return state


def latest(folder: Path) -> Path | None:
    """Return the newest good checkpoint in `folder`, passing over broken ones; None if none."""
    for checkpoint in reversed(checkpoints(folder)):
        try:
            read_state(checkpoint)
        except UserError as error:
            log.warning("%s", error)
        else:
            return checkpoint
    return None


def restore(
    checkpoint: Path, model: VAE, objective: Objective, optimizer: torch.optim.Optimizer
) -> int:
    """Load `checkpoint` into all three and return the number of finished steps.

    Raises:
        UserError: when it is broken, or holds a model or an alignment of other settings.
    """
    state = read_state(checkpoint)
    if state.model != model.settings:
        theirs, ours = state.model.model_dump(), model.settings.model_dump()
        names = [f"{k}={theirs[k]}, asked for {ours[k]}" for k in ours if theirs[k] != ours[k]]
        raise UserError(
            f"{checkpoint} holds another model: {'; '.join(names)}; "
            "resume with its settings or give another --out folder"
        )
    _load_weights(model, checkpoint)
    _load_learned(objective, load_file(checkpoint / OBJECTIVE) if OBJECTIVE in state.sha256 else {})
    held: dict[str, Any] = torch.load(checkpoint / OPTIMIZER, map_location="cpu", weights_only=True)
    optimizer.load_state_dict(held)
    return state.step


def newest(path: Path) -> Path:
    """Return `path` if it is a checkpoint, or the newest good one of a folder of them.

    Raises:
        UserError: when there is none.
    """
    found = path if (path / STATE).exists() else latest(path)
    if found is None:
        raise UserError(f"{path} holds no good checkpoint (step-*/{STATE}); train one first")
    return found


def load_model(path: Path) -> VAE:
    """Build the model of a checkpoint, or of the newest in a folder, on the CPU in eval mode.

    Raises:
        UserError: when there is no good checkpoint.
    """
    found = newest(path)
    model = VAE(read_state(found).model)
    _load_weights(model, found)
    return model.eval()


def _load_weights(model: nn.Module, checkpoint: Path) -> None:
    model.load_state_dict(load_file(checkpoint / MODEL))


def _load_learned(objective: Objective, held: dict[str, Tensor]) -> None:
    learned = objective.learned()
    theirs, ours = ({k: tuple(v.shape) for k, v in x.items()} for x in (held, learned))
    if theirs != ours:
        raise UserError(
            f"the checkpoint's objective learned {theirs or 'nothing'}, this one has "
            f"{ours or 'nothing'} to learn; resume with its weights and teacher or give another "
            "--out folder"
        )
    with torch.no_grad():
        for name, value in held.items():
            learned[name].copy_(value)
