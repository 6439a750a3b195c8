"""Where a run starts from: weights that are there already, and which half of them may learn."""

import logging
from collections.abc import Iterable, Mapping
from typing import Literal

from safetensors import SafetensorError
from safetensors.torch import load as deserialize
from torch import Tensor

from shards import StoreError, UserError
from shards.store import Where, open_store
from shards.text import foreign_json
from vae.model import VAE
from vae.settings import VAESettings
from vae.training.checkpoint import load_model
from vae.training.ranks import ALONE, Ranks
from vae.training.reductions import part_of

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
"""The files of a diffusers folder."""

PREFIX = "vae."
"""Before the names of our weights in such a folder (vae/inference/adapter.py)."""

CONFIG_BYTES = 2**20
"""Largest config.json that is read, in bytes (our choice: ours have a thousand)."""

Learning = Literal["all", "encoder", "decoder"]
"""What learns; the other half is frozen."""

log = logging.getLogger(__name__)


def start_from(model: VAE, place: Where, ranks: Ranks = ALONE) -> None:
    """Give `model` the weights and latent statistics of another one.

    `place` is what `load_model` takes, or what the adapter for diffusers wrote, in a folder or a
    bucket. Of a run the average of the weights is taken where there is one.
    Settings that have no weights may differ; one line of the log of rank 0 says which do.

    Raises:
        UserError: when there is no model in `place`, or its weights have other shapes.
    """
    settings, weights = _read(place, model)
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
    if apart and ranks.rank == 0:
        log.warning("init %s: weights fit, settings differ: %s", place, apart)
    _fill(model.state_dict(), weights)


def start_skip(model: VAE, images: Iterable[Tensor], ranks: Ranks) -> None:
    """Let a learned skip begin at the principal components of `images`; others stay as they are.

    Batches (b, colours, h, w) in [-1, 1]. Rank 0 alone goes through them, and all have its bits.
    """
    skip = type(model.skip)(model.settings)  # ranks may hold parts of that of the model
    if ranks.rank == 0:
        skip.start_from(images)
    _fill(
        model.skip.state_dict(),
        {name: ranks.from_first(value) for name, value in skip.state_dict().items()},
    )


def freeze(model: VAE, learning: Learning) -> None:
    """Let only one half of the model learn, so that the other keeps its bits.

    A half is all that encoding needs, or all that decoding needs. A learned skip is parted too: its
    fold makes latents and goes with the encoder, its mirror with the decoder. Whoever trains a
    decoder for latents that others use already can rely on them.
    """
    for half in ("encoder", "decoder"):
        for p in model.half_of(half):
            p.requires_grad_(learning in ("all", half))


def _read(place: Where, model: VAE) -> tuple[VAESettings, Mapping[str, Tensor]]:
    store = open_store(place)
    if not store.exists(CONFIG):
        try:
            read = load_model(place)
        except StoreError:
            raise
        except UserError as error:
            raise UserError(f"init: {error}") from error
        return read.settings, read.state_dict()
    # Twice ours holds any type of number; what is larger can be no model of these shapes.
    limits = {CONFIG: CONFIG_BYTES, WEIGHTS: CONFIG_BYTES + 2 * _bytes(model)}
    try:
        for file, limit in limits.items():
            if store.size(file) > limit:
                raise ValueError(f"{file} holds {store.size(file):,} bytes, more than {limit:,}")
        config = foreign_json(store.read(CONFIG))
        settings = VAESettings.model_validate(config["settings"])
        weights = deserialize(store.read(WEIGHTS))
    except StoreError:
        raise
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"init {store} is no model that AutoencoderNonpareil saved, or one of other sizes "
            f"({reason}); give a run, one of its steps, or such a folder"
        ) from error
    return settings, {name.removeprefix(PREFIX): value for name, value in weights.items()}


def _fill(ours: Mapping[str, Tensor], full: Mapping[str, Tensor]) -> None:
    """Copy full tensors into ours, of which this rank may hold parts."""
    for name, value in full.items():
        ours[name].copy_(part_of(value, ours[name]))


def _bytes(model: VAE) -> int:
    return sum(value.numel() * value.element_size() for value in model.state_dict().values())
