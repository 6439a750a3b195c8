"""What the diffusion model has to know of a latent space: the mean and std of each channel."""

from collections.abc import Iterable
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shards import UserError
from vae.model import VAE


def measure_latents(model: VAE, images: Iterable[Tensor]) -> None:
    """Set `latent_mean` and `latent_std` of the model from batches of images of any size.

    Batches are (b, colours, h, w) in [-1, 1] and are moved to the model's device in turn.

    Raises:
        UserError: when there are no images.
    """
    set_latents(model, (latent_moments(model, batch) for batch in images))


@torch.no_grad()
def latent_moments(model: VAE, images: Tensor) -> "Moments":
    """Encode a batch (b, colours, h, w) in [-1, 1] and add up what comes of it."""
    return Moments.of(model.encode(images.to(model.latent_mean.device)))


def set_latents(model: VAE, parts: Iterable["Moments"]) -> float:
    """Set `latent_mean` and `latent_std` of the model from parts, added in their order.

    Returns the effective rank of the latents.

    Every latent position counts once. Without a KL term nothing brings latents near a unit Gaussian
    (those of the team's next VAE have stds of 2.8 to 5.6). Training a diffusion model on them as
    they are is a common mistake: use (z - mean) / std.

    Raises:
        UserError: when there are none.
    """
    moments = [*parts]
    if not moments:
        raise UserError("there are no images to measure the latents of; give a batch or more")
    summary = reduce(Moments.plus, moments).summary()
    model.latent_mean.copy_(model.latent_mean.new_tensor(summary["mean"]))
    model.latent_std.copy_(model.latent_std.new_tensor(summary["std"]))
    return summary["effective_rank"]


class Moments(NamedTuple):
    """What latents add up to over their positions, in float64: how many, (C,) and (C, C)."""

    positions: int
    total: NDArray[np.float64]
    products: NDArray[np.float64]

    @classmethod
    def of(cls, z: Tensor) -> "Moments":
        """Add up the positions of latents (b, C, i, j)."""
        vectors = z.detach().movedim(1, 0).flatten(1).double().cpu().numpy()
        return cls(vectors.shape[1], vectors.sum(1), vectors @ vectors.T)

    def plus(self, other: "Moments") -> "Moments":
        """Add those of other latents."""
        return Moments(
            self.positions + other.positions,
            self.total + other.total,
            self.products + other.products,
        )

    def summary(self) -> dict[str, Any]:
        """Return `effective_rank`, and `mean` and `std` of each channel, as JSON holds them."""
        mean = self.total / self.positions
        covariance = self.products / self.positions - np.outer(mean, mean)
        return {
            "effective_rank": effective_rank(covariance),
            "mean": mean.tolist(),
            "std": np.sqrt(covariance.diagonal().clip(0)).tolist(),
        }


def effective_rank(covariance: NDArray[np.float64]) -> float:
    """Return how many directions (C, C) spans, from 1 to C; 0 where nothing varies.

    The exponential of the entropy of its eigenvalues' shares (Roy and Vetterli, 2007).
    """
    values = np.linalg.eigvalsh(covariance)
    values = values[values > 0]
    shares = values / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0
