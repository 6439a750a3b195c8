"""Checkpoints: a folder per saved step, in the folder or bucket of a run.

    step-000123/model.safetensors       weights
                average.safetensors     their running average, where there is one
                objective.safetensors   the alignment's projection, where there is one
                optimizer.safetensors   moments, by the names of their parameters
                state.json              all else, and the SHA-256 of the other files

`state.json` is written last and alone makes the checkpoint exist: what a killed run left without it
is none. Reading checks the digests. Nothing is pickled, and tensors are whole whatever number of
ranks saved them.
"""

import hashlib
import logging
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError
from safetensors.torch import load as deserialize
from safetensors.torch import save as serialize
from torch import Tensor

from shards import Settings, StoreError, UserError
from shards.store import Folder, Store, Where, open_store
from vae.model import VAE
from vae.settings import VAESettings

MODEL, AVERAGE = "model.safetensors", "average.safetensors"
OBJECTIVE, OPTIMIZER = "objective.safetensors", "optimizer.safetensors"
HEADER = "state.json"

NAME = re.compile(r"step-(\d{6,})")
"""What a checkpoint's folder is called: its steps, in six digits or more."""

PUBLISHED = Path(__file__).parents[1] / "published"
"""A folder for each model that comes with this package: a checkpoint that holds weights alone."""

Tensors = Mapping[str, Mapping[str, Tensor]]
"""The tensors of each file, by name."""

log = logging.getLogger(__name__)


class Header(Settings):
    """What state.json holds.

    `n` is the samples seen, `recipe` the digest of what shapes the run, `streams` the fingerprint
    of each stream, `drawn` that of the ids of all samples drawn so far (vae/training/drawn.py),
    `balance` and `guard` the states of those, `scores` the newest of what is watched. In `measured`
    are the means of the newest row of metrics.jsonl (terms, shares of hinges above zero, weight of
    the alignment in force, norm) and the effective rank of the latents. That, their mean and their
    std are those of the average weights, where there are any.
    """

    version: Literal[3] = 3
    step: int
    n: int
    model: VAESettings
    recipe: str
    streams: dict[str, str]
    drawn: str
    balance: dict[str, float]
    guard: dict[str, Any]
    latent_mean: list[float]
    latent_std: list[float]
    scores: dict[str, float] = Field(default={})
    measured: dict[str, float] = Field(default={})
    versions: dict[str, str] = Field(default={})
    sha256: dict[str, str] = Field(default={})

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"step-{self.step:06d}"


class Snapshot:
    """A checkpoint in memory, which training no longer touches."""

    def __init__(self, header: Header, tensors: Tensors) -> None:
        self.header, self.tensors = header, tensors

    def publish(self, out: Store) -> None:
        """Write it to `out`; until its last file is there, it is not.

        Raises:
            UserError: when a value is not finite: nothing could go on from that.
        """
        for file, named in self.tensors.items():
            for name, tensor in named.items():
                if not tensor.isfinite().all():
                    raise UserError(
                        f"{name} of {file} is not finite after step {self.header.step}, so nothing "
                        "was saved; run again from the last checkpoint, with a lower rate.peak if "
                        "that does not help"
                    )
        remove(out, self.header.name)
        self.write(out.inside(self.header.name))

    def write(self, checkpoint: Store) -> None:
        """Write its files, the header last, so that `checkpoint` itself is one."""
        checkpoint.make()
        sha256: dict[str, str] = {}
        for file, named in self.tensors.items():
            # Serialized here and written by us, so that a full disk is an OSError like any other.
            data = serialize(dict(named))
            sha256[file] = hashlib.sha256(data).hexdigest()
            checkpoint.replace(file, data)
        packages = ("nonpareil", "torch", "safetensors", "numpy")
        versions = {package: version(package) for package in packages}
        header = self.header.model_copy(update={"sha256": sha256, "versions": versions})
        checkpoint.replace(HEADER, (header.model_dump_json(indent=1) + "\n").encode())


class Checkpoint:
    """One that lies in a store; its header was read, its other files are checked when they are."""

    def __init__(self, store: Store) -> None:
        """Read the header.

        Raises:
            UserError: when it is missing, altered or of another version.
        """
        self.store = store
        try:
            self.header = Header.model_validate_json(store.read(HEADER))
        except ValidationError as error:
            fault = error.errors()[0]
            key = ".".join(map(str, fault["loc"]))
            raise self._broken(f"{HEADER}: {key} {fault['msg']}") from error
        except OSError as error:
            raise self._broken(str(error)) from error
        if MODEL not in self.header.sha256:
            raise self._broken(f"{HEADER} names no {MODEL}")

    def verify(self, *, to_train: bool = True) -> Self:
        """Compare every file with its digest; those of the weights alone unless `to_train`.

        Raises:
            UserError: when one is missing or altered.
        """
        for file in self.header.sha256 if to_train else self.weights:
            self._read(file)
        return self

    @property
    def weights(self) -> dict[str, str]:
        """The files of weights that are there, with their SHA-256, and the model's in any case.

        A checkpoint that somebody published may hold the model and the header alone.
        """
        average = {AVERAGE} if self.store.exists(AVERAGE) else set[str]()
        return {file: it for file, it in self.header.sha256.items() if file in {MODEL} | average}

    @property
    def digest(self) -> str:
        """The SHA-256 of the weights that `load_model` takes."""
        return self.weights.get(AVERAGE, self.weights[MODEL])

    def tensors(self, file: str) -> dict[str, Tensor]:
        """Read the tensors of a file, on the CPU; none where the checkpoint has no such file.

        Raises:
            UserError: when it is missing or altered.
        """
        return deserialize(self._read(file)) if file in self.header.sha256 else {}

    def _read(self, file: str) -> bytes:
        try:
            data = self.store.read(file)
        except OSError as error:
            raise self._broken(str(error)) from error
        if hashlib.sha256(data).hexdigest() != self.header.sha256[file]:
            raise self._broken(f"{file} does not have the digest in {HEADER}")
        return data

    def _broken(self, reason: str) -> UserError:
        return UserError(
            f"{self.store} is not a whole checkpoint ({reason}); use another or delete it"
        )


def checkpoints(where: Where) -> list[str]:
    """Name the checkpoints of a run's folder or bucket, oldest first, good or not."""
    out = open_store(where)
    return [name for name in folders(out) if out.inside(name).exists(HEADER)]


def folders(out: Store) -> list[str]:
    """Name all that is called like a checkpoint, oldest first, unfinished ones too."""
    if isinstance(out, Folder) and not out.path.is_dir():
        return []
    numbered = {int(match[1]): match[0] for name in out.names() if (match := NAME.fullmatch(name))}
    return [name for _, name in sorted(numbered.items())]


def steps_of(name: str) -> int:
    """Return the steps of a checkpoint by its name; 0 of ""."""
    return int(name.removeprefix("step-") or 0)


def remove(out: Store, name: str) -> None:
    """Remove a checkpoint: its header first, so that it never is one that lacks files."""
    out.inside(name).delete(HEADER)
    out.remove(name)


def newest(where: Where, *, at_most: int | None = None, to_train: bool = True) -> Checkpoint:
    """Return the checkpoint that `where` is, or the newest good one of a run's folder or bucket.

    `where` may also be the name of a model that comes with this package, as "nano"; "./nano" is a
    folder. A checkpoint of more than `at_most` steps does not count. One without optimizer is good
    unless `to_train`.

    Raises:
        UserError: when there is none.
    """
    if isinstance(where, str) and where in published():
        where = PUBLISHED / where
    store = open_store(where)
    if store.exists(HEADER):
        return Checkpoint(store)
    for name in reversed(checkpoints(store)):
        if at_most is not None and steps_of(name) > at_most:
            continue
        try:
            return Checkpoint(store.inside(name)).verify(to_train=to_train)
        except StoreError:
            raise
        except UserError as error:
            log.warning("%s", error)
    raise UserError(f"{store} holds no good checkpoint (step-*/{HEADER}); train one first")


def published() -> list[str]:
    """Name the models whose weights come with this package."""
    return sorted(path.parent.name for path in PUBLISHED.glob(f"*/{HEADER}"))


def load_model(where: Where, *, average: bool = True) -> VAE:
    """Build the model of a checkpoint, or of the newest of a run, on the CPU in eval mode.

    `where` is a folder, a URL, or one of `published()`. The weights are their running average where
    there is one, unless `average` is off.

    Raises:
        UserError: when there is no good checkpoint, or its files belong to different ones.
    """
    checkpoint = newest(where, to_train=False)
    if average and AVERAGE in checkpoint.header.sha256.keys() - checkpoint.weights.keys():
        log.warning("%s lacks %s: its weights of the last step stand in", checkpoint.store, AVERAGE)
        average = False
    model = VAE(checkpoint.header.model)
    weights = checkpoint.tensors(MODEL) | (checkpoint.tensors(AVERAGE) if average else {})
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise UserError(
            f"{checkpoint.store}: its weights are not those of the model in {HEADER} ({first}); "
            "use both files of one checkpoint"
        ) from error
    model.latent_mean.copy_(model.latent_mean.new_tensor(checkpoint.header.latent_mean))
    model.latent_std.copy_(model.latent_std.new_tensor(checkpoint.header.latent_std))
    return model.eval()
