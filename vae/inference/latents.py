"""What the diffusion model has to know of a latent space: the mean and std of each channel."""

from collections.abc import Iterable

import torch
from torch import Tensor

from shards import UserError
from vae.model import VAE


@torch.no_grad()
def measure_latents(model: VAE, images: Iterable[Tensor]) -> None:
    """Set `latent_mean` and `latent_std` of the model from batches of images.

    Batches (b, colours, h, w) in [-1, 1], of any size, are moved to the model's device one after
    the other. Every latent position counts once; sums are float64. Without a KL term nothing
    brings latents near a unit Gaussian (those of the team's next VAE have stds of 2.8 to 5.6).
    Training a diffusion model on them as they are is a common mistake: use (z - mean) / std.

    Raises:
        UserError: when there are no images.
    """
    count = 0
    total = square = torch.zeros_like(model.latent_mean, dtype=torch.float64)
    for batch in images:
        z = model.encode(batch.to(model.latent_mean.device)).double()
        count += z[:, 0].numel()
        total = total + z.sum((0, 2, 3))
        square = square + z.square().sum((0, 2, 3))
    if not count:
        raise UserError("there are no images to measure the latents of; give a batch or more")
    mean = total / count
    model.latent_mean.copy_(mean)
    model.latent_std.copy_((square / count - mean.square()).clamp(min=0).sqrt())
