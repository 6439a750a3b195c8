"""The few layers every encoder and decoder here is built from.

All are local (no attention, no statistics over an image), so a decoder can later run tile by tile
with the same result. Letters: b batch, c channel, h/w pixels of the map at hand.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class PixelNorm(nn.Module):
    """RMS norm over the channels of each pixel, with a gain and no bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Scale (b, c, h, w) so that every pixel has mean square 1 over c, times the gain."""
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6) * self.gain


class ResBlock(nn.Module):
    """Twice (norm, SiLU, conv 3x3), added to the input; a 1x1 conv where the width changes."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.norm1 = PixelNorm(width_in)
        self.conv1 = nn.Conv2d(width_in, width_out, 3, padding=1)
        self.norm2 = PixelNorm(width_out)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1)
        same = width_in == width_out
        self.skip = nn.Identity() if same else nn.Conv2d(width_in, width_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, width_in, h, w) -> (b, width_out, h, w)."""
        y = self.conv1(functional.silu(self.norm1(x)))
        y = self.conv2(functional.silu(self.norm2(y)))
        return self.skip(x) + y


class Down(nn.Module):
    """Halve both sides: pad one pixel right and below, conv 3x3 with stride 2, same width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) -> (b, c, h/2, w/2)."""
        return self.conv(functional.pad(x, (0, 1, 0, 1)))


class Up(nn.Module):
    """Double both sides: repeat each pixel, then conv 3x3 that keeps the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) -> (b, c, 2h, 2w)."""
        return self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


class Head(nn.Module):
    """Norm, SiLU, conv 3x3: from features to values.

    `silent` starts the conv at zero, for a network that first lets its skip speak alone.
    """

    def __init__(self, width_in: int, width_out: int, *, silent: bool = False) -> None:
        super().__init__()
        self.norm = PixelNorm(width_in)
        self.conv = nn.Conv2d(width_in, width_out, 3, padding=1)
        if silent:
            nn.init.zeros_(self.conv.weight)
            if self.conv.bias is not None:
                nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(b, width_in, h, w) -> (b, width_out, h, w)."""
        return self.conv(functional.silu(self.norm(x)))


class SpaceToChannel(nn.Module):
    """Move each f x f block of pixels into channels, colour by colour, row by row.

    The fold of the report's global skip; loses nothing. `ChannelToSpace` is its
    inverse.
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
