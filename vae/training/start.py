"""Where a run starts from: weights that are there already, and which half of them may learn."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from shards import UserError
from vae.model import VAE
from vae.settings import VAESettings
from vae.training.checkpoint import load_model

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
"""The files of a diffusers folder."""

PREFIX = "vae."
"""Before the names of our weights in such a folder (vae/inference/adapter.py)."""

Learning = Literal["all", "encoder", "decoder"]
"""What learns; the other half is frozen."""

log = logging.getLogger(__name__)


def start_from(model: VAE, place: str) -> None:
    """Give `model` the weights and latent statistics of another one.

    `place` is a run, one step of it, or a folder that the adapter for diffusers wrote. Of a run the
    average of the weights is taken where there is one. Settings that have no weights may differ;
    one line of the log says which do.

    Raises:
        UserError: when there is no model in `place`, or its weights have other shapes.
    """
    settings, weights = _read(place)
    theirs, ours = settings.model_dump(), model.settings.model_dump()
    apart = "; ".join(
        f"{name} is {ours[name]!r}, there {theirs[name]!r}"
        for name in ours
        if ours[name] != theirs[name]
    )
    here = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    there = {name: tuple(value.shape) for name, value in weights.items()}
    if here != there:
        names = sorted(name for name in here | there if here.get(name) != there.get(name))
        raise UserError(
            f"init {place} cannot be loaded: {apart or 'its settings are these'}; "
            f"{len(names)} tensors differ, the first is {names[0]} "
            f"{here.get(names[0], 'absent')}, there {there.get(names[0], 'absent')}; "
            "give the recipe its preset and overrides, or leave init out"
        )
    if apart:
        log.warning("init %s: weights fit, settings differ: %s", place, apart)
    model.load_state_dict(weights)


def freeze(model: VAE, learning: Learning) -> None:
    """Let only one half of the model learn, so that the other keeps its bits.

    A half is all that encoding needs, or all that decoding needs. A learned skip is parted too: its
    fold makes latents and goes with the encoder, its mirror with the decoder. Whoever trains a
    decoder for latents that others use already can rely on them.
    """
    for half in ("encoder", "decoder"):
        for p in model.half_of(half):
            p.requires_grad_(learning in ("all", half))


def _read(place: str) -> tuple[VAESettings, Mapping[str, Tensor]]:
    folder = Path(place)
    if not (folder / CONFIG).exists():
        model = load_model(folder)
        return model.settings, model.state_dict()
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        settings = VAESettings.model_validate(config["settings"])
        weights = load_file(folder / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"init {place} is no model that AutoencoderNonpareil saved ({reason}); give a run, one "
            "of its steps, or such a folder"
        ) from error
    return settings, {name.removeprefix(PREFIX): value for name, value in weights.items()}
