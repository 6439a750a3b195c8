"""The VAE as a component of diffusers: its interface, its files, its switches.

diffusers is optional; only this file imports it, and nothing here imports this file. Its classes
are untyped in part, hence the comments for the type checker.
"""

from typing import Any, Self

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import (
    AutoencoderMixin,
    DecoderOutput,
    DiagonalGaussianDistribution,
)
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from vae.inference.tiling import SIDE, Tiled
from vae.model import VAE
from vae.settings import VAESettings


class AutoencoderNonpareil(ModelMixin, AutoencoderMixin, ConfigMixin):
    """A VAE with the interface of `diffusers.AutoencoderKL`.

    Images (b, colours, h, w) in [-1, 1], whose sides must be whole blocks of the model's factor
    (as VaeImageProcessor makes them with `vae_scale_factor` set to `spatial_compression_ratio`).
    The config holds the fields of `VAESettings`, and the mean and std of each latent channel as
    `latents_mean` and `latents_std`, the names AutoencoderKLQwenImage gave them. A diffusion model
    should see (z - mean) / std; `scaling_factor` is 1, so pipelines that know it alone run too.

    `enable_tiling` tiles without seams (vae/inference/tiling.py), `enable_slicing` takes images one
    by one, `enable_gradient_checkpointing` keeps one map for each residual block.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        settings: dict[str, Any],
        latents_mean: list[float] | None = None,
        latents_std: list[float] | None = None,
        scaling_factor: float = 1.0,
    ) -> None:
        super().__init__()
        del scaling_factor  # register_to_config has read it
        self.vae = VAE(VAESettings.model_validate(settings))
        # ModelMixin may build on the meta device; the weights file brings both then.
        for buffer, values in (
            (self.vae.latent_mean, latents_mean),
            (self.vae.latent_std, latents_std),
        ):
            if values is not None:
                buffer.copy_(torch.tensor(values))
        self.spatial_compression_ratio = self.vae.settings.factor
        self.use_slicing = self.use_tiling = False
        self.tile_side, self.tile_overlap = SIDE, None

    @classmethod
    def of(cls, vae: VAE) -> Self:
        """Wrap a model that is there already, such as `load_model` gives; shares its weights."""
        adapter = cls(
            settings=vae.settings.model_dump(mode="json"),
            latents_mean=vae.latent_mean.tolist(),
            latents_std=vae.latent_std.tolist(),
        )
        adapter.vae = vae
        return adapter

    def enable_tiling(self, side: int = SIDE, overlap: int | None = None) -> None:
        """Tile from now on, exactly, or with `overlap` latents in the fast mode; see `Tiled`.

        Raises:
            ValueError: for sizes that do not fit the model.
        """
        Tiled(self.vae, side, overlap)
        self.use_tiling, self.tile_side, self.tile_overlap = True, side, overlap

    def encode(
        self, x: Tensor, return_dict: bool = True
    ) -> AutoencoderKLOutput | tuple[DiagonalGaussianDistribution]:
        """(b, colours, h, w) in [-1, 1] -> `latent_dist`, whose `mode()` is the latent.

        Raises:
            ValueError: when x is no batch of images of this many colours.
        """
        parts = [torch.cat(self._codec().posterior(image), 1) for image in self._slices(x)]
        posterior = DiagonalGaussianDistribution(torch.cat(parts))
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

    def decode(
        self, z: Tensor, return_dict: bool = True, generator: torch.Generator | None = None
    ) -> DecoderOutput | tuple[Tensor]:
        """Latent (b, C, i, j) -> `sample` (b, colours, f i, f j), about [-1, 1].

        Raises:
            ValueError: when z does not have C channels.
        """
        del generator  # pipelines pass one; nothing here is random
        sample = torch.cat([self._codec().decode(latent) for latent in self._slices(z)])
        return DecoderOutput(sample=sample) if return_dict else (sample,)

    def forward(
        self,
        sample: Tensor,
        sample_posterior: bool = False,
        return_dict: bool = True,
        generator: torch.Generator | None = None,
    ) -> DecoderOutput | tuple[Tensor]:
        """Reconstruct (b, colours, h, w), from a sample of the posterior if asked."""
        (posterior,) = self.encode(sample, return_dict=False)
        z = posterior.sample(generator) if sample_posterior else posterior.mode()
        return self.decode(z, return_dict=return_dict)

    def _codec(self) -> VAE | Tiled:
        return Tiled(self.vae, self.tile_side, self.tile_overlap) if self.use_tiling else self.vae

    def _slices(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.split(1) if self.use_slicing else (x,)
