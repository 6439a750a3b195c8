"""Codecs without weights, to hold a model against at the same factor and channels."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from vae.layers import ChannelToSpace, SpaceToChannel
from vae.sizes import check_image, check_latent, crop, pad
from vae.skips import dct_basis


class DCTCodec(nn.Module):
    """Keep the C lowest-frequency DCT coefficients of every f x f block; RGB, interface as VAE.

    A model that does not beat it has learned nothing. Latents are coefficients over f, as in the
    mirrored `global-dct` skip, beside which a model starts as this codec.
    """

    basis: Tensor

    def __init__(self, factor: int = 16, channels: int = 64) -> None:
        super().__init__()
        self.factor, self.channels = factor, channels
        self.register_buffer("basis", torch.tensor(dct_basis(factor, channels)), persistent=False)
        self.space_to_channel = SpaceToChannel(factor)
        self.channel_to_space = ChannelToSpace(factor)

    def encode(self, x: Tensor) -> Tensor:
        """(b, 3, h, w) in [-1, 1] -> (b, C, ceil(h/f), ceil(w/f)).

        Raises:
            ValueError: when x is no batch of RGB images.
        """
        check_image(x)
        blocks = self.space_to_channel(pad(x, self.factor))
        return functional.conv2d(blocks, self.basis[:, :, None, None]) / self.factor

    def decode(self, z: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """(b, C, i, j) -> (b, 3, f i, f j), about [-1, 1], not clamped; `size` (h, w) crops it.

        Raises:
            ValueError: when z does not have C channels, or `size` is no size z can come from.
        """
        check_latent(z, self.channels)
        blocks = functional.conv2d(z * self.factor, self.basis.T[:, :, None, None])
        return crop(self.channel_to_space(blocks), size, self.factor)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct (b, 3, h, w) in [-1, 1]; same shape, not clamped."""
        return self.decode(self.encode(x), (x.shape[2], x.shape[3]))
