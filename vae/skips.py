"""The paths from pixels to latents, and back, that bypass the network.

A skip may add `fold(image)` to the latent (or to the features of the encoder's deepest level),
`mirror(latent)` to the decoder's image, and shortcuts around the levels in between. A kind is one
class and one line in SKIPS at the foot, and its name and settings in vae/settings.py. Only
`global-learned` has parameters, so models that differ in another skip compare exactly.

The report has `none`, `local` and `global` (its names: NSC, LSC, GSC). Its parameter counts say
that the global one is additive and has no weights; where it joins the encoder (`merge`) and
whether the decoder has a counterpart (`mirror`) is published nowhere, so both are settings.
"""

from collections.abc import Iterable
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from shards import UserError
from vae.layers import AverageDown, ChannelToSpace, DuplicateUp, SpaceToChannel
from vae.settings import SkipKind, VAESettings


class NoSkip(nn.Module):
    """Nothing bypasses the network: the control, and the base of every other kind.

    A skip that `is_codec` reconstructs images on its own. The heads of the network then start at
    zero, so that the model begins as that codec.
    """

    is_codec: bool = False

    def __init__(self, settings: VAESettings) -> None:
        super().__init__()
        del settings

    def fold(self, x: Tensor) -> Tensor | None:
        """(b, colours, h, w) -> what joins the encoder (b, merge_width, h/f, w/f), or None."""
        del x
        return None

    def mirror(self, z: Tensor) -> Tensor | None:
        """(b, C, i, j) -> what to add to the image (b, colours, f i, f j), or None."""
        del z
        return None

    def down(self, width_in: int, width_out: int) -> nn.Module | None:
        """Make the shortcut around a level that halves both sides, or None."""
        del width_in, width_out
        return None

    def up(self, width_in: int, width_out: int) -> nn.Module | None:
        """Make the shortcut around a level that doubles both sides, or None."""
        del width_in, width_out
        return None

    def folding(self) -> list[nn.Parameter]:
        """Return what `fold` learns; all other parameters belong to `mirror`."""
        return []

    def start_from(self, images: Iterable[Tensor]) -> None:
        """Adapt the start to images (b, colours, h, w) in [-1, 1]; only a learned skip can."""
        del images


class LocalSkip(NoSkip):
    """Average-down around each encoder level; with `mirror`, duplicate-up around the decoder's.

    As in DC-AE and Wan2.2, from which the report's baseline descends. Levels that keep their
    resolution have no shortcut: their residual blocks pass the input on already.
    """

    def __init__(self, settings: VAESettings) -> None:
        super().__init__(settings)
        self.mirrored = settings.mirror

    def down(self, width_in: int, width_out: int) -> nn.Module:
        """Average over 2x2 blocks; width_out must divide 4 width_in."""
        return AverageDown(width_in, width_out, 2)

    def up(self, width_in: int, width_out: int) -> nn.Module | None:
        """Repeat over 2x2 blocks, if mirrored; width_in must divide 4 width_out."""
        return DuplicateUp(width_in, width_out, 2) if self.mirrored else None


class GlobalSkip(NoSkip):
    """The report's own: fold blocks of f x f pixels, take the mean over groups, add.

    One average-down over the whole factor, where `local` has one for each level; the mirror is the
    matching duplicate-up. The report does not give the order of channels. Ours is that of Wan2.2's
    average-down, in which a group runs along a row of one colour.
    """

    def __init__(self, settings: VAESettings) -> None:
        super().__init__(settings)
        colours, factor = settings.colours, settings.factor
        self.is_codec = settings.mirror and settings.merge == "latent"
        self.average = AverageDown(colours, settings.merge_width, factor)
        self.duplicate = (
            DuplicateUp(settings.channels, colours, factor) if settings.mirror else None
        )

    def fold(self, x: Tensor) -> Tensor:
        """(b, colours, h, w) -> means of colours f f / merge_width pixel values."""
        return self.average(x)

    def mirror(self, z: Tensor) -> Tensor | None:
        """(b, C, i, j) -> (b, colours, f i, f j), flat over each group; None if not mirrored."""
        return None if self.duplicate is None else self.duplicate(z)


class GlobalDCT(NoSkip):
    """Fold blocks of f x f pixels, keep their lowest-frequency DCT coefficients, add (our choice).

    The coefficients keep much more of a photograph than as many group means do. With the mirror the
    model starts as a linear codec (`DCTCodec`) and learns the rest. `skip_channels` limits the
    channels that the skip fills; the others belong to the network. A latent is the coefficient
    divided by f, which gives it the range of a pixel value.
    """

    analysis: Tensor
    synthesis: Tensor

    def __init__(self, settings: VAESettings) -> None:
        super().__init__(settings)
        self.factor, self.merge_width = settings.factor, settings.merge_width
        self.mirrored = settings.mirror
        self.is_codec = settings.mirror and settings.merge == "latent"
        self.space_to_channel = SpaceToChannel(settings.factor)
        self.channel_to_space = ChannelToSpace(settings.factor)

        def basis(channels: int) -> Tensor:
            filled = min(settings.skip_channels or channels, channels)
            return torch.tensor(dct_basis(settings.factor, filled, settings.colours))

        self._hold("analysis", basis(settings.merge_width))
        if self.mirrored:
            self._hold("synthesis", basis(settings.channels).T.contiguous())

    def _hold(self, name: str, matrix: Tensor) -> None:
        self.register_buffer(name, matrix, persistent=False)

    def fold(self, x: Tensor) -> Tensor:
        """(b, colours, h, w) -> (b, merge_width, h/f, w/f), zero in channels not filled."""
        blocks = self.space_to_channel(x)
        waves = functional.conv2d(blocks, self.analysis[:, :, None, None]) / self.factor
        free = self.merge_width - len(self.analysis)
        return functional.pad(waves, (0, 0, 0, 0, 0, free)) if free else waves

    def mirror(self, z: Tensor) -> Tensor | None:
        """(b, C, i, j) -> (b, colours, f i, f j); None if not mirrored."""
        if not self.mirrored:
            return None
        waves = z[:, : self.synthesis.shape[1]] * self.factor
        return self.channel_to_space(functional.conv2d(waves, self.synthesis[:, :, None, None]))


class GlobalLearned(GlobalDCT):
    """As `global-dct`, but fold and mirror are weights, which start as the DCT and then learn.

    With the mirror it is our choice for runs of minutes. Without it, in longer runs, it is a little
    better than the group mean.
    """

    def _hold(self, name: str, matrix: Tensor) -> None:
        self.register_parameter(name, nn.Parameter(matrix))

    def folding(self) -> list[nn.Parameter]:
        """Return the analysis."""
        return [parameter for name, parameter in self.named_parameters() if name == "analysis"]

    @torch.no_grad()
    def start_from(self, images: Iterable[Tensor]) -> None:
        """Start fold and mirror from the principal components of the blocks of `images`.

        Batches (b, colours, h, w) in [-1, 1]. No linear codec of as many numbers has a smaller
        squared error on them. Gradient steps from the DCT would take minutes to get there.
        """
        size = self.analysis.shape[1]
        moments = torch.zeros(size, size, dtype=torch.float64)
        for batch in images:
            blocks = self.space_to_channel(batch).movedim(1, -1).flatten(0, -2).double()
            moments += blocks.T @ blocks
        # Not centred: the first component is then the mean grey, as in the DCT.
        _, vectors = torch.linalg.eigh(moments)
        components = vectors.flip(1).float()
        self.analysis.copy_(components[:, : len(self.analysis)].T)
        if self.mirrored:
            self.synthesis.copy_(components[:, : self.synthesis.shape[1]])


# Rows: grey, red against green, yellow against blue; made orthonormal below, so that errors weigh
# the same in either space.
COLOUR = np.array([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0], [1.0, 1.0, -2.0]])

CHROMA = 3.0
"""How much higher the frequency of a colour-difference wave counts than that of a grey one.

Our choice: of 1, 1.5, 2, 3, 4 and 6 it is the best for photographs, 2.3 dB above 1, and 1.5 dB
above 1 on text; larger values help text alone. JPEG's 4:2:0 corresponds to 2, its 4:1:0 to 4.
Alpha is flat nearly everywhere and counts as a colour difference."""


@cache
def dct_basis(factor: int, channels: int, colours: int = 3) -> NDArray[np.float32]:
    """Return the `channels` lowest-frequency waves of an f x f block of RGB or RGBA, as rows.

    (channels, colours f f) float32, orthonormal, columns in SpaceToChannel's order. Every wave is
    a DCT-II wave in one of three orthonormal colours, or in alpha; waves are taken by radial
    frequency, grey first at ties.

    Raises:
        UserError: when a block has fewer than `channels` values.
    """
    values = colours * factor**2
    if not 1 <= channels <= values:
        raise UserError(
            f"channels={channels}: a block of {factor}x{factor} pixels has 1 to {values} values; "
            f"lower it, or set skip_channels to at most {values}"
        )
    n = np.arange(factor)
    waves = np.cos(np.pi * n[:, None] * (2 * n + 1) / (2 * factor))
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    colour = np.eye(colours)
    colour[:3, :3] = COLOUR / np.linalg.norm(COLOUR, axis=1, keepdims=True)
    weight = (1.0, *[CHROMA**2] * (colours - 1))
    order = sorted(
        (weight[k] * (u * u + v * v), k, u, v)
        for k in range(colours)
        for u in range(factor)
        for v in range(factor)
    )
    rows = [
        np.einsum("c,y,x->cyx", colour[k], waves[u], waves[v]).ravel()
        for _, k, u, v in order[:channels]
    ]
    return np.stack(rows).astype(np.float32)


SKIPS: dict[SkipKind, type[NoSkip]] = {
    "none": NoSkip,
    "local": LocalSkip,
    "global": GlobalSkip,
    "global-dct": GlobalDCT,
    "global-learned": GlobalLearned,
}
