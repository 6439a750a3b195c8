"""Checkpoints: a folder per saved step, whole or not there at all.

    step-000123/model.safetensors       weights
                average.safetensors     their average, where one is kept
                objective.safetensors   the alignment's projection, where there is one
                optimizer.pt            tensors and numbers of the optimizer
                state.json              steps, samples seen, model settings, SHA-256 of the others

A folder is written under a temporary name and renamed. Reading checks the digests, so a damaged
checkpoint is passed over for the newest good one; a run that goes on from there moves it aside, as
broken-step-000123. No pickle of ours is ever executed.
"""

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from safetensors.torch import load_file

from shards import Settings, UserError
from shards.store import sha256_of
from vae.model import VAE
from vae.settings import VAESettings

MODEL, AVERAGE = "model.safetensors", "average.safetensors"
OBJECTIVE = "objective.safetensors"
OPTIMIZER, HEADER = "optimizer.pt", "state.json"

NAME = re.compile(r"step-(\d{6,})")
"""What a checkpoint's folder is called: its steps, in six digits or more."""

log = logging.getLogger(__name__)


class Header(Settings):
    """What state.json holds: how far training was, the model, and the digests of the files."""

    version: Literal[3] = 3
    step: int
    n: int
    balance: dict[str, float]
    guard: dict[str, Any]
    model: VAESettings
    sha256: dict[str, str]
    versions: dict[str, str]


def write(
    folder: Path,
    files: Mapping[str, bytes],
    *,
    step: int,
    n: int,
    balance: dict[str, float],
    guard: dict[str, Any],
    model: VAESettings,
    keep: int,
) -> Path:
    """Write folder/step-NNNNNN, whole or not at all, and keep the newest `keep` of them."""
    target = folder / f"step-{step:06d}"
    temporary = folder / f".{target.name}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    header = Header(
        step=step,
        n=n,
        balance=balance,
        guard=guard,
        model=model,
        sha256={name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        versions={name: version(name) for name in ("torch", "safetensors")},
    )
    last = (header.model_dump_json(indent=1) + "\n").encode()
    try:
        temporary.mkdir(parents=True)
        for name, data in (*files.items(), (HEADER, last)):
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
    named = (path for path in folder.glob("step-*") if NAME.fullmatch(path.name))
    return sorted((path for path in named if path.is_dir()), key=_steps)


def _steps(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def read_header(checkpoint: Path) -> Header:
    """Read and verify one checkpoint.

    Raises:
        UserError: when a file is missing, altered or of another version.
    """
    try:
        header = Header.model_validate_json((checkpoint / HEADER).read_bytes())
        for name, digest in header.sha256.items():
            if sha256_of(checkpoint / name) != digest:
                raise ValueError(f"{name} does not have the digest in {HEADER}")
    except (OSError, ValueError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{checkpoint} is not a whole checkpoint ({reason}); use another or delete it"
        ) from error
    return header


def resumed(folder: Path, *, from_scratch: bool = False) -> Path | None:
    """Return the checkpoint that a run in `folder` goes on from; None where it begins anew.

    Broken checkpoints are moved aside, to broken-step-NNNNNN, so that they never take the place of
    a good one among those kept.

    Raises:
        UserError: when there are checkpoints and none is good, unless `from_scratch`.
    """
    good: list[Path] = []
    broken: list[Path] = []
    for checkpoint in checkpoints(folder):
        try:
            read_header(checkpoint)
        except UserError as error:
            log.warning("%s", error)
            broken.append(checkpoint)
        else:
            good.append(checkpoint)
    if broken and not good and not from_scratch:
        raise UserError(
            f"{folder} holds {len(broken)} checkpoints ({broken[-1].name} the newest) and none is "
            "good; restore one, begin anew with --from-scratch, or give another --out"
        )
    for checkpoint in broken:
        aside = folder / f"broken-{checkpoint.name}"
        shutil.rmtree(aside, ignore_errors=True)
        checkpoint.replace(aside)
    return good[-1] if good else None


def latest(folder: Path, *, at_most: int | None = None) -> Path | None:
    """Return the newest good checkpoint in `folder`, of `at_most` so many steps; None if none.

    Broken ones are passed over.
    """
    for checkpoint in reversed(checkpoints(folder)):
        if at_most is not None and _steps(checkpoint) > at_most:
            continue
        try:
            read_header(checkpoint)
        except UserError as error:
            log.warning("%s", error)
        else:
            return checkpoint
    return None


def newest(path: Path) -> Path:
    """Return `path` if it is a checkpoint, or the newest good one of a folder of them.

    Raises:
        UserError: when there is none.
    """
    checkpoint = path if (path / HEADER).exists() else latest(path)
    if checkpoint is None:
        raise UserError(f"{path} holds no good checkpoint (step-*/{HEADER}); train one first")
    return checkpoint


def load_model(path: Path, *, average: bool = True) -> VAE:
    """Build the model of a checkpoint, or of the newest in a folder, on the CPU in eval mode.

    Its weights are the run's average of them, where the run kept one and `average` asks for it.

    Raises:
        UserError: when there is no good checkpoint.
    """
    checkpoint = newest(path)
    header = read_header(checkpoint)
    model = VAE(header.model)
    model.load_state_dict(load_file(checkpoint / MODEL))
    if average and AVERAGE in header.sha256:
        model.load_state_dict(load_file(checkpoint / AVERAGE), strict=False)
    return model.eval()
