"""Arithmetic whose every bit is the same whatever the size of the map and the number of threads.

Fast kernels pick the order of a sum by the shape of the map, and treat the last few numbers of a
buffer apart. So in ordinary arithmetic a part of an image and the whole agree up to rounding only.
Two kinds of operation of the model do that; `ShapeInvariant` replaces them where it is active:

- a 3x3 conv becomes nine 1x1 convs, added one after the other. A 1x1 conv over maps in
  channels-last order is one dot product a pixel, over contiguous numbers, at any size;
- a mean runs over contiguous numbers, one result at a time.

The norm with its SiLU needs no replacement: on a CPU it is a loop over pixels of our own
(vae/norm_silu.py), and what it computes for one does not depend on how many there are.
"""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


class ShapeInvariant(TorchDispatchMode):
    """While active, float32 forward passes on a CPU have bits that depend on no map's size.

    For use with `torch.no_grad`. A decode takes 2.6 (small) to 3.2 times (tiny) as long. On a GPU
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
    assert (groups, list(dilation)) == (1, [1, 1]), "the model has no grouped or dilated conv"
    sums = _spread if transposed else _gathered
    out = sums(x, weight, stride, padding)
    return out if bias is None else out.add_(bias[:, None, None])


def _gathered(x: Tensor, weight: Tensor, stride: list[int], padding: list[int]) -> Tensor:
    rows, columns = weight.shape[2:]
    x = functional.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    height, width = (x.shape[2] - rows) // stride[0] + 1, (x.shape[3] - columns) // stride[1] + 1
    out = x.new_zeros(len(x), len(weight), height, width)
    for row, column in product(range(rows), range(columns)):
        read = x[:, :, row :: stride[0], column :: stride[1]][:, :, :height, :width]
        out.add_(_point(read, weight[:, :, row, column]))
    return out


def _spread(x: Tensor, weight: Tensor, stride: list[int], padding: list[int]) -> Tensor:
    """A transposed conv: every pixel, times the kernel, is added to what lies below it."""
    _, width, rows, columns = weight.shape
    b, _, h, w = x.shape
    out = x.new_zeros(b, width, (h - 1) * stride[0] + rows, (w - 1) * stride[1] + columns)
    for row, column in product(range(rows), range(columns)):
        below = out[:, :, row :: stride[0], column :: stride[1]][:, :, :h, :w]
        below.add_(_point(x, weight[:, :, row, column].T))
    return out[:, :, padding[0] : -padding[0] or None, padding[1] : -padding[1] or None]


def _point(x: Tensor, weight: Tensor) -> Tensor:
    """The 1x1 conv of (b, c, h, w) with weights (out, c)."""
    return functional.conv2d(_last(x), _last(weight[:, :, None, None]))


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _mean(x: Tensor, dims: list[int], keepdim: bool = False) -> Tensor:
    (dim,) = dims
    mean = aten.mean.dim(x.movedim(dim, -1).contiguous(), [-1])
    return mean.unsqueeze(dim) if keepdim else mean


REPLACED: dict[Any, Callable[..., Tensor]] = {
    aten.convolution.default: _convolution,
    aten.mean.dim: _mean,
}
