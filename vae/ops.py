"""Steps whose gradient is written by hand, because autograd's own costs more memory or time.

    norm_silu        keeps its input and one number a pixel for backward, not the maps in between
    norm_silu_conv   keeps the same, though a conv follows: what the conv sees is made again
    upsample_conv    a nearest doubling and a conv 3x3 as one transposed conv: 16 products for 36

Each is, up to rounding, what its docstring says in plain torch; tests hold the two together.
Autocast does not see into steps of our own, so those with a conv cast as it would.
Letters: b batch, c channel, h/w pixels of the map at hand.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from vae.norm_silu import norm_silu_backward, norm_silu_forward

FEW = 256
"""Pixels of a batch's map below which weights are more work than the map.

Two ways to spare the work of a map, which cost work on the weights, are not taken there (our
choice, by the CPU times of convs of 48 to 192 channels on maps of 16 to 8,192 pixels)."""


def norm_silu(x: Tensor, gain: Tensor) -> Tensor:
    """silu(gain x / rms(x)) of (b, c, h, w), the rms over the c channels of a pixel.

    `gain` is (c, 1, 1), of any float type.
    """
    return _NormSiLU.apply(x, gain.to(x.dtype))


def norm_silu_conv(x: Tensor, gain: Tensor, conv: nn.Conv2d) -> Tensor:
    """conv(norm_silu(x, gain)) of (b, c, h, w), with one map kept for backward in place of two.

    `conv` is 3x3 with padding 1 and a bias. What it sees is made again from x, an elementwise step
    beside a conv's work: half the memory of a residual block.
    """
    x = _autocast(x)
    return _NormSiLUConv.apply(x, gain.to(x.dtype), *_cast(conv, x.dtype))


def upsample_conv(x: Tensor, conv: nn.Conv2d, sums: Tensor) -> Tensor:
    """conv(x with each pixel repeated 2x2): (b, c, h, w) -> (b, c, 2h, 2w).

    `conv` is 3x3 with padding 1 and a bias, `sums` what `upsample_sums` gives. Where neighbours
    are equal, weights that meet the same pixel can be added up first; that leaves a transposed
    conv of 4x4 places. Where a map of `FEW` pixels is learned from, it is doubled first: adding up
    weights, and taking their gradient apart again, would take five times as long.
    """
    x = _autocast(x)
    if torch.is_grad_enabled() and _few(x):
        return conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
    return _UpsampleConv.apply(x, *_cast(conv, x.dtype), sums.to(x.dtype))


def upsample_sums() -> Tensor:
    """Return (9, 16): the places of a 3x3 kernel that add up to each place of the 4x4 one."""
    # Of a side: place m of the 4 is the sum of the places 2 - m and 3 - m of the 3.
    side = torch.tensor([[0.0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])
    return torch.kron(side, side).T


class _NormSiLU(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor) -> Tensor:
        y, scale = norm_silu_forward(x, gain)
        ctx.save_for_backward(x, gain, scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (once_differentiable's type)
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor, Tensor]:
        return norm_silu_backward(grad, *ctx.saved_tensors)


class _NormSiLUConv(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        normed, scale = _seen(x, gain)
        ctx.save_for_backward(x, gain, scale, weight)
        return functional.conv2d(normed, weight, bias, padding=1)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (once_differentiable's type)
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, gain, scale, weight = ctx.saved_tensors
        of_x, of_gain, of_weight, of_bias = ctx.needs_input_grad
        normed, _ = _seen(x, gain)
        grad, grad_weight, grad_bias = torch.ops.aten.convolution_backward(
            *(grad, normed, weight, [weight.shape[0]], [1, 1], [1, 1], [1, 1], False, [0, 0], 1),
            [of_x or of_gain, of_weight, of_bias],
        )
        if not (of_x or of_gain):
            return None, None, grad_weight, grad_bias
        return *norm_silu_backward(grad, x, gain, scale), grad_weight, grad_bias


def _seen(x: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a conv sees of x, and 1 / rms(x).

    A conv copies weights into the order of the map it is given: few pixels are put in theirs.
    """
    normed, scale = norm_silu_forward(x, gain)
    return normed.contiguous() if _few(x) else normed, scale


class _UpsampleConv(Function):
    """The weights of the transposed conv are added up again in backward and not kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, sums: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, sums)
        return functional.conv_transpose2d(x, _summed(weight, sums), bias, stride=2, padding=1)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (once_differentiable's type)
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, weight, sums = ctx.saved_tensors
        of_x, of_weight, of_bias, _ = ctx.needs_input_grad
        grad_x, grad_weight, grad_bias = torch.ops.aten.convolution_backward(
            *(grad, x, _summed(weight, sums), [len(weight)], [2, 2], [1, 1], [1, 1], True, [0, 0]),
            *(1, [of_x, of_weight, of_bias]),
        )
        if of_weight:
            # As one matrix: a batch of them, in channels-last order, would be copied one by one.
            rows = grad_weight.transpose(0, 1).reshape(-1, len(sums.T))
            grad_weight = (rows @ sums.T).view_as(weight)
        return grad_x, grad_weight, grad_bias, None


def _summed(weight: Tensor, sums: Tensor) -> Tensor:
    """(out, in, 3, 3) of a conv on doubled pixels -> (in, out, 4, 4) of a transposed one."""
    return (weight.flatten(2) @ sums).unflatten(2, (4, 4)).transpose(0, 1)


def _few(x: Tensor) -> bool:
    # A graph that is compiled or exported holds for any size, so it cannot ask.
    return not torch.compiler.is_compiling() and len(x) * x.shape[2] * x.shape[3] < FEW


def _autocast(x: Tensor) -> Tensor:
    """Cast x as autocast does with the input of a conv."""
    device = x.device.type
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return x.to(torch.get_autocast_dtype(device)) if on else x


def _cast(conv: nn.Conv2d, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    assert conv.bias is not None, "every conv here has a bias"
    return conv.weight.to(dtype), conv.bias.to(dtype)
