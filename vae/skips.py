"""The path from pixels to latents that bypasses the network, and its mirror back to pixels.

A skip adds `fold(pixels)` to the latent and `mirror(latent)` to the image. Kinds are one class
and one line in SKIPS at the foot. The report's own is `global`; where
the fold merges and whether the decoder has a mirror is published nowhere.
"""

from collections.abc import Iterable
from functools import cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from shards import UserError
from vae.layers import ChannelToSpace, SpaceToChannel

SkipKind = Literal["none", "global", "global-linear"]

# Rows: grey, red against green, yellow against blue; made orthonormal below, so that errors weigh
# the same in either space.
COLOUR = np.array([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0], [1.0, 1.0, -2.0]])

CHROMA = 3.0
"""A colour-difference wave counts as this many times its frequency: between JPEG's 4:2:0 (2) and
4:1:0 (4). Our choice: of 1, 1.5, 2, 3, 4 and 6 the best for photographs, 2.3 dB above equal
treatment, and on text 1.5 dB above it; larger values favour text alone."""


@cache
def dct_basis(factor: int, channels: int) -> NDArray[np.float32]:
    """Return the `channels` lowest-frequency waves of an f x f colour block, orthonormal rows.

    (channels, 3 f f) float32, columns in SpaceToChannel's order. Every wave is a DCT-II wave in
    one of three orthonormal colours; waves are taken by radial frequency, grey first at ties.

    Raises:
        UserError: when a block has fewer than `channels` values.
    """
    if not 1 <= channels <= 3 * factor**2:
        raise UserError(
            f"channels={channels}: a block of {factor}x{factor} pixels has 1 to {3 * factor**2}"
        )
    n = np.arange(factor)
    waves = np.cos(np.pi * n[:, None] * (2 * n + 1) / (2 * factor))
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    colour = COLOUR / np.linalg.norm(COLOUR, axis=1, keepdims=True)
    weight = (1.0, CHROMA**2, CHROMA**2)
    order = sorted(
        (weight[k] * (u * u + v * v), k, u, v)
        for k in range(3)
        for u in range(factor)
        for v in range(factor)
    )
    rows = [
        np.einsum("c,y,x->cyx", colour[k], waves[u], waves[v]).ravel()
        for _, k, u, v in order[:channels]
    ]
    return np.stack(rows).astype(np.float32)


class NoSkip(nn.Module):
    """Nothing bypasses the network: the control.

    A kind that `mirrors` is a codec by itself: the heads of the network start silent beside it.
    """

    mirrors = False

    def __init__(self, factor: int, channels: int) -> None:
        super().__init__()
        self.factor, self.channels = factor, channels

    def fold(self, x: Tensor) -> Tensor | None:
        """(b, 3, h, w) -> what to add to the latent (b, C, h/f, w/f), or None."""
        del x
        return None

    def mirror(self, z: Tensor) -> Tensor | None:
        """(b, C, i, j) -> what to add to the image (b, 3, f i, f j), or None."""
        del z
        return None

    def start_from(self, images: Iterable[Tensor]) -> None:
        """Adapt the start to images (b, 3, h, w) in [-1, 1]; only a learned skip can."""
        del images


class GlobalSkip(NoSkip):
    """The report's parameter-free skip: fold the block, mean over groups, add to the latent.

    Encoder only. Neighbours in (colour, row, column) order form a group, as in the team's own
    average-down module; the report does not say.
    """

    def __init__(self, factor: int, channels: int) -> None:
        super().__init__(factor, channels)
        if 3 * factor**2 % channels:
            raise UserError(
                f"skip='global' needs channels that divide 3 f f = {3 * factor**2}; "
                f"channels={channels} does not, use 'global-linear' or 'none'"
            )
        self.space_to_channel = SpaceToChannel(factor)

    def fold(self, x: Tensor) -> Tensor:
        """(b, 3, h, w) -> (b, C, h/f, w/f), each the mean of 3 f f / C pixel values."""
        blocks = self.space_to_channel(x)
        return blocks.unflatten(1, (self.channels, -1)).mean(2)


class GlobalLinear(NoSkip):
    """A learned linear fold and a learned linear mirror, both started as the block DCT.

    Our choice for runs of minutes: the model starts as a working codec and the network only has
    to improve on it, so its heads start silent. The latent is the coefficient over f, of the size
    of a pixel value, while the matrices start orthonormal and learn at one rate.
    """

    mirrors = True

    def __init__(self, factor: int, channels: int) -> None:
        super().__init__(factor, channels)
        basis = torch.tensor(dct_basis(factor, channels))
        self.space_to_channel = SpaceToChannel(factor)
        self.channel_to_space = ChannelToSpace(factor)
        self.analysis = nn.Parameter(basis.clone())
        self.synthesis = nn.Parameter(basis.T.contiguous())

    @torch.no_grad()
    def start_from(self, images: Iterable[Tensor]) -> None:
        """Start fold and mirror from the C principal components of the blocks of `images`.

        Batches (b, 3, h, w) in [-1, 1]. No linear codec keeps more of them in C numbers, so the
        network begins where gradient steps on the DCT would take minutes to arrive.
        """
        moments = torch.zeros(3 * self.factor**2, 3 * self.factor**2, dtype=torch.float64)
        for batch in images:
            blocks = self.space_to_channel(batch).movedim(1, -1).flatten(0, -2).double()
            moments += blocks.T @ blocks
        # Not centred: the first component is then the mean grey, as in the DCT.
        _, vectors = torch.linalg.eigh(moments)
        components = vectors[:, -self.channels :].flip(1).float()
        self.analysis.copy_(components.T)
        self.synthesis.copy_(components)

    def fold(self, x: Tensor) -> Tensor:
        """(b, 3, h, w) -> (b, C, h/f, w/f)."""
        blocks = self.space_to_channel(x)
        return functional.conv2d(blocks, self.analysis[:, :, None, None]) / self.factor

    def mirror(self, z: Tensor) -> Tensor:
        """(b, C, i, j) -> (b, 3, f i, f j)."""
        blocks = functional.conv2d(z * self.factor, self.synthesis[:, :, None, None])
        return self.channel_to_space(blocks)


SKIPS: dict[SkipKind, type[NoSkip]] = {
    "none": NoSkip,
    "global": GlobalSkip,
    "global-linear": GlobalLinear,
}
