"""The few layers every encoder and decoder here is built from.

All are local (no attention, no statistics over an image), so a decoder can run tile by tile with
the same result. The steps with a gradient of their own are in vae/ops.py. Letters: b batch,
c channel, h/w pixels of the map at hand, f factor.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from shards import UserError
from vae.ops import norm_silu, norm_silu_conv, upsample_conv, upsample_sums


class NormSiLU(nn.Module):
    """RMS norm over the channels of each pixel with a gain and no bias, then SiLU.

    One layer, since no norm here goes without SiLU.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """silu(gain x / rms(x)) of (b, c, h, w), the rms over the c channels of a pixel."""
        return norm_silu(x, self.gain)


class Conv(nn.Conv2d):
    """torch's conv, started so that the output has the variance of the input, and no bias.

    LeCun's start: weights from a normal distribution whose variance is one over the fan-in (our
    choice; the report does not say). torch's own start keeps a third of the variance and adds
    biases of that size. After ten such convs in a row next to nothing of the input is left, and a
    small deep model learns only the mean colour at first. The model of the ablation (f16c64, no
    skip) reached 13.9 dB on photographs in 600 steps with torch's start, and 16.9 dB with this one.
    """

    def reset_parameters(self) -> None:
        """Draw new start weights; torch calls this when the layer is made."""
        nn.init.normal_(self.weight, std=self.weight[0].numel() ** -0.5)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class ResBlock(nn.Module):
    """Twice (norm, SiLU, conv 3x3), added to the input; a 1x1 conv where the width changes.

    With `gradient_checkpointing` (diffusers' name; see vae/inference/memory.py) only the input is
    kept for backward, and the inside is computed a second time.
    """

    gradient_checkpointing: bool = False

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.norm1 = NormSiLU(width_in)
        self.conv1 = Conv(width_in, width_out, 3, padding=1)
        self.norm2 = NormSiLU(width_out)
        self.conv2 = Conv(width_out, width_out, 3, padding=1)
        same = width_in == width_out
        self.shortcut = nn.Identity() if same else Conv(width_in, width_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, width_in, h, w) -> (b, width_out, h, w)."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            # Nothing inside is random.
            return checkpoint(self._add, x, use_reentrant=False, preserve_rng_state=False)
        return self._add(x)

    def _add(self, x: Tensor) -> Tensor:
        y = norm_silu_conv(x, self.norm1.gain, self.conv1)
        return self.shortcut(x) + norm_silu_conv(y, self.norm2.gain, self.conv2)


def res_blocks(width_in: int, width_out: int, count: int) -> nn.Sequential:
    """Make `count` residual blocks, the first of which changes the width."""
    widths = [width_in] + [width_out] * count
    return nn.Sequential(*[ResBlock(before, after) for before, after in pairwise(widths)])


class Down(nn.Module):
    """Halve both sides: pad one pixel right and below, conv 3x3 with stride 2, same width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = Conv(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) -> (b, c, h/2, w/2)."""
        return self.conv(functional.pad(x, (0, 1, 0, 1)))


class Up(nn.Module):
    """Double both sides: repeat each pixel, then conv 3x3 that keeps the width."""

    sums: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = Conv(width, width, 3, padding=1)
        self.register_buffer("sums", upsample_sums(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) -> (b, c, 2h, 2w)."""
        return upsample_conv(x, self.conv, self.sums)


class Level(nn.Module):
    """The layers at one resolution, with or without a shortcut around them."""

    def __init__(self, body: nn.Sequential, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) -> what the body makes of it, plus the shortcut's."""
        y = self.body(x)
        return y if self.shortcut is None else y + self.shortcut(x)


class Head(nn.Module):
    """Norm, SiLU, conv 3x3: from features to values.

    `silent` starts the conv at zero, for a network that first lets its skip speak alone.
    """

    def __init__(self, width_in: int, width_out: int, *, silent: bool = False) -> None:
        super().__init__()
        self.norm = NormSiLU(width_in)
        self.conv = Conv(width_in, width_out, 3, padding=1)
        if silent:
            nn.init.zeros_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(b, width_in, h, w) -> (b, width_out, h, w)."""
        return norm_silu_conv(x, self.norm.gain, self.conv)


class SpaceToChannel(nn.Module):
    """Move each f x f block of pixels into channels, colour by colour, row by row.

    The fold of the report's global skip; loses nothing. `ChannelToSpace` is its inverse.
    """

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) -> (b, c f f, h/f, w/f)."""
        return functional.pixel_unshuffle(x, self.factor)


class ChannelToSpace(nn.Module):
    """Lay channels out as f x f blocks of pixels: the inverse of SpaceToChannel."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """(b, c f f, i, j) -> (b, c, f i, f j)."""
        return functional.pixel_shuffle(x, self.factor)


class AverageDown(nn.Module):
    """Space to channel, then the mean of groups of neighbours: DC-AE's shortcut, no parameters.

    Neighbours in (channel, row, column) order form a group, as in Wan2.2's average-down.
    """

    def __init__(self, width_in: int, width_out: int, factor: int) -> None:
        super().__init__()
        if width_in * factor**2 % width_out:
            raise UserError(
                f"{width_in} channels of {factor}x{factor} pixels cannot be averaged into "
                f"{width_out} equal groups; use a divisor of {width_in * factor**2}, or skip='none'"
            )
        self.width_out = width_out
        self.space_to_channel = SpaceToChannel(factor)

    def forward(self, x: Tensor) -> Tensor:
        """(b, width_in, h, w) -> (b, width_out, h/f, w/f)."""
        return self.space_to_channel(x).unflatten(1, (self.width_out, -1)).mean(2)


class DuplicateUp(nn.Module):
    """Repeat channels, then channel to space: DC-AE's shortcut, no parameters.

    Of all right inverses of AverageDown it is the one that makes every group flat.
    """

    def __init__(self, width_in: int, width_out: int, factor: int) -> None:
        super().__init__()
        self.repeats, rest = divmod(width_out * factor**2, width_in)
        if rest:
            raise UserError(
                f"{width_in} channels cannot be repeated evenly to {width_out} channels of "
                f"{factor}x{factor} pixels; use a divisor of {width_out * factor**2}, or "
                "mirror=false"
            )
        self.channel_to_space = ChannelToSpace(factor)

    def forward(self, x: Tensor) -> Tensor:
        """(b, width_in, i, j) -> (b, width_out, f i, f j)."""
        return self.channel_to_space(x.repeat_interleave(self.repeats, 1))
