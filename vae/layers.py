"""The few layers every encoder and decoder here is built from.

All are local (no attention, no statistics over an image), so a decoder can run tile by tile with
the same result. Letters: b batch, c channel, h/w pixels of the map at hand, f factor.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from shards import UserError
from vae.norm_silu import norm_silu, norm_silu_backward


class NormSiLU(nn.Module):
    """RMS norm over the channels of each pixel with a gain and no bias, then SiLU.

    One step differentiated by hand (vae/norm_silu.py), since no norm here goes without SiLU:
    backward needs the input and one number a pixel, not the maps in between.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """silu(gain x / rms(x)) of (b, c, h, w), the rms over the c channels of a pixel."""
        return _NormSiLU.apply(x, self.gain.to(x.dtype))


class _NormSiLU(Function):
    """norm_silu as a step of autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor) -> Tensor:
        y, scale = norm_silu(x, gain)
        ctx.save_for_backward(x, gain, scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (once_differentiable's type)
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor, Tensor]:
        return norm_silu_backward(grad, *ctx.saved_tensors)


class _NormSiLUConv(Function):
    """y = conv 3x3 of norm_silu, which is made again in backward: of the maps only x is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        seen, scale = norm_silu(x, gain)
        ctx.save_for_backward(x, gain, scale, weight)
        return functional.conv2d(seen, weight, bias, padding=1)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (once_differentiable's type)
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, gain, scale, weight = ctx.saved_tensors
        of_x, of_gain, of_weight, of_bias = ctx.needs_input_grad
        seen, _ = norm_silu(x, gain)
        grad, grad_weight, grad_bias = torch.ops.aten.convolution_backward(
            *(grad, seen, weight, [weight.shape[0]], [1, 1], [1, 1], [1, 1], False, [0, 0], 1),
            [of_x or of_gain, of_weight, of_bias],
        )
        if not (of_x or of_gain):
            return None, None, grad_weight, grad_bias
        return *norm_silu_backward(grad, x, gain, scale), grad_weight, grad_bias


def norm_silu_conv(norm: NormSiLU, conv: nn.Conv2d, x: Tensor) -> Tensor:
    """conv(norm(x)) of (b, width, h, w), with one map kept for backward in place of two.

    `conv` is 3x3 with padding 1 and a bias. What it sees is made again from x, an elementwise step
    beside a conv's work: half the memory of a residual block.
    """
    x = _autocast(x)
    weight, bias = conv.weight.to(x.dtype), conv.bias
    assert bias is not None, "every conv here has a bias"
    return _NormSiLUConv.apply(x, norm.gain.to(x.dtype), weight, bias.to(x.dtype))


def _autocast(x: Tensor) -> Tensor:
    """Cast x as autocast does with a conv's input: it does not see into steps of our own."""
    device = x.device.type
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return x.to(torch.get_autocast_dtype(device)) if on else x


class Conv(nn.Conv2d):
    """torch's conv, started so that it passes on the variance of what it sees, and no bias.

    LeCun's start: normal, one over the fan-in. torch's own keeps a third of the variance and adds
    biases of that size; after the ten convs in a row of a deep small model next to nothing of the
    input is left, and training hangs at the mean colour: of f16c64's ablation, 600 steps, without
    a skip 13.9 dB on photographs, so 16.9 (our choice; the report does not say).
    """

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        nn.init.normal_(self.weight, std=self.weight[0].numel() ** -0.5)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class ResBlock(nn.Module):
    """Twice (norm, SiLU, conv 3x3), added to the input; a 1x1 conv where the width changes.

    `gradient_checkpointing` (diffusers' name; see vae/inference/memory.py) keeps the input alone
    for backward, which makes the inside again.
    """

    gradient_checkpointing: bool = False

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.norm1 = NormSiLU(width_in)
        self.conv1 = Conv(width_in, width_out, 3, padding=1)
        self.norm2 = NormSiLU(width_out)
        self.conv2 = Conv(width_out, width_out, 3, padding=1)
        same = width_in == width_out
        self.skip = nn.Identity() if same else Conv(width_in, width_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, width_in, h, w) -> (b, width_out, h, w)."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(self._add, x, use_reentrant=False)
        return self._add(x)

    def _add(self, x: Tensor) -> Tensor:
        y = norm_silu_conv(self.norm1, self.conv1, x)
        return self.skip(x) + norm_silu_conv(self.norm2, self.conv2, y)


class Down(nn.Module):
    """Halve both sides: pad one pixel right and below, conv 3x3 with stride 2, same width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = Conv(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) -> (b, c, h/2, w/2)."""
        return self.conv(functional.pad(x, (0, 1, 0, 1)))


class Up(nn.Module):
    """Double both sides: repeat each pixel, then conv 3x3 that keeps the width.

    Done as one transposed conv of 4x4 places: where neighbours are equal, weights that meet the
    same pixel can be added up first. The same function, up to rounding, with 16 products for 36.
    """

    added: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = Conv(width, width, 3, padding=1)
        # Of a side: place m of the 4 is the sum of the places 2 - m and 3 - m of the 3.
        side = torch.tensor([[0.0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])
        self.register_buffer("added", torch.kron(side, side).T, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) -> (b, c, 2h, 2w)."""
        x = _autocast(x)
        weight, bias = self.conv.weight.to(x.dtype), self.conv.bias
        assert bias is not None, "every conv here has a bias"
        return _UpConv.apply(x, weight, bias.to(x.dtype), self.added.to(x.dtype))


class _UpConv(Function):
    """The transposed conv of Up; its weights are added up again in backward and not kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, added: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, added)
        return functional.conv_transpose2d(x, _added(weight, added), bias, stride=2, padding=1)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (once_differentiable's type)
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, weight, added = ctx.saved_tensors
        of_x, of_weight, of_bias, _ = ctx.needs_input_grad
        grad_x, grad_weight, grad_bias = torch.ops.aten.convolution_backward(
            *(grad, x, _added(weight, added), [len(weight)], [2, 2], [1, 1], [1, 1], True, [0, 0]),
            *(1, [of_x, of_weight, of_bias]),
        )
        if of_weight:
            grad_weight = (grad_weight.transpose(0, 1).flatten(2) @ added.T).view_as(weight)
        return grad_x, grad_weight, grad_bias, None


def _added(weight: Tensor, added: Tensor) -> Tensor:
    """(out, in, 3, 3) of a conv on doubled pixels -> (in, out, 4, 4) of a transposed one."""
    return (weight.flatten(2) @ added).unflatten(2, (4, 4)).transpose(0, 1)


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
        return norm_silu_conv(self.norm, self.conv, x)


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
