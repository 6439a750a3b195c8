"""Arithmetic whose every bit is the same whatever the size of the map and the number of threads.

Fast kernels pick the order of a sum by the shape of the map, and treat the last few numbers of a
buffer apart. So in ordinary arithmetic a part of an image and the whole agree up to rounding only.
Three kinds of operation of the model do that; `ShapeInvariant` replaces them where it is active:

- a 3x3 conv becomes nine 1x1 convs, added one after the other. A 1x1 conv over maps in
  channels-last order is one dot product a pixel, over contiguous numbers, at any size;
- a mean runs over contiguous numbers, one result at a time;
- SiLU's exponential is Cephes' polynomial in plain steps (IEEE 754 rounds each of them the same
  way in vector and in scalar code; the vector and scalar exponentials of the maths library differ).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


class ShapeInvariant(TorchDispatchMode):
    """While active, float32 forward passes on a CPU have bits that depend on no map's size.

    For use with `torch.no_grad`. A decode takes 1.7 (small) to 2.5 times (tiny) as long. On a GPU
    it runs and promises nothing: there the library picks the order of a dot product by shape too.
    """

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run `func`, or its counterpart in REPLACED."""
        del types
        work = REPLACED[func] if func in REPLACED else func  # noqa: SIM401 (its type is unknown)
        return work(*args, **(kwargs or {}))


def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    *rest: Any,
) -> Tensor:
    """Sum the 1x1 convs of all places of the kernel, row by row. No dilation, no groups."""
    dilation, transposed, _, groups = rest
    assert not transposed, "the model has no transposed conv"
    assert (groups, list(dilation)) == (1, [1, 1]), "the model has no grouped or dilated conv"
    rows, columns = weight.shape[2:]
    x = functional.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    height, width = (x.shape[2] - rows) // stride[0] + 1, (x.shape[3] - columns) // stride[1] + 1
    out: Tensor | None = None
    for row in range(rows):
        for column in range(columns):
            seen = x[:, :, row :: stride[0], column :: stride[1]][:, :, :height, :width]
            term = functional.conv2d(_last(seen), _last(weight[:, :, row, column, None, None]))
            out = term if out is None else out.add_(term)
    assert out is not None, "a kernel is not empty"
    return out if bias is None else out.add_(bias[:, None, None])


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _mean(x: Tensor, dims: list[int], keepdim: bool = False) -> Tensor:
    (dim,) = dims
    mean = aten.mean.dim(x.movedim(dim, -1).contiguous(), [-1])
    return mean.unsqueeze(dim) if keepdim else mean


def _silu(x: Tensor) -> Tensor:
    return x / _exp(-x).add_(1)


def _silu_(x: Tensor) -> Tensor:
    return x.copy_(_silu(x))


LOG2_E, LN_2_HIGH, LN_2_LOW = 1.44269504088896341, 0.693359375, -2.12194440e-4
EXP = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)
"""Cephes' expf (Moshier, 1989): e^r = 1 + r + r² poly(r) for |r| <= ln 2 / 2, within 2 ulp."""


def _exp(x: Tensor) -> Tensor:
    x = x.clamp(-87, 88)
    power = (x * LOG2_E).round_()
    r = x.sub_(power * LN_2_HIGH).sub_(power * LN_2_LOW)
    poly = torch.full_like(r, EXP[0])
    for coefficient in EXP[1:]:
        poly.mul_(r).add_(coefficient)
    poly.mul_(r).mul_(r).add_(r).add_(1)
    # 2^power, written into the exponent of a float32.
    return poly.mul_(power.int().add_(127).bitwise_left_shift_(23).view(torch.float32))


REPLACED: dict[Any, Callable[..., Tensor]] = {
    aten.convolution.default: _convolution,
    aten.mean.dim: _mean,
    aten.silu.default: _silu,
    aten.silu_.default: _silu_,
}
