"""A model to look at, of which each rank may hold a part."""

import torch
from torch.distributed.tensor import DTensor

from vae.model import VAE
from vae.training.reductions import whole


def whole_model(model: VAE) -> VAE:
    """Return the model, or a whole copy where ranks hold parts of it: to be called on all of them.

    What FSDP has wrapped runs from images to the loss alone, and not from images to latents.
    """
    tensors = model.state_dict()
    if not any(isinstance(tensor, DTensor) for tensor in tensors.values()):
        return model
    with torch.random.fork_rng(devices=[]):  # torch draws weights before they are loaded
        copy = VAE(model.settings)
    copy.load_state_dict(whole(tensors))
    return copy.to(memory_format=torch.channels_last).to(model.latent_mean.device)
