"""Arithmetic whose every bit is the same whatever the size of the map and the number of threads.

Fast kernels pick the order of a sum by the shape of the map and by the threads at hand, and treat
the last few numbers of a buffer apart. So in ordinary arithmetic a part of an image and the whole
agree up to rounding only. Two kinds of operation of the model do that; `ShapeInvariant` replaces
them where it is active:

- a conv becomes dot products of our own, compiled by numba. What the kernel covers at a pixel is
  copied out as one row, and the order of its sum follows from the length of the row alone. No
  library's conv or product of matrices keeps that promise: oneDNN's conv 1x1 breaks it at widths
  of 5 and 7, and with two threads;
- a mean runs over contiguous numbers, one result at a time.

The norm with its SiLU needs no replacement: on a CPU it is a loop over pixels of our own
(vae/norm_silu.py), and what it computes for one does not depend on how many there are.
"""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from vae.compiled import compiled, spread

aten = torch.ops.aten

PIXELS = 64
"""Pixels of a block: their rows stay in the second cache while all outputs read them. A multiple
of 4, since four pixels and four outputs are summed at a time."""

ROW = 16
"""Rows are filled up with zeros to a multiple of this: one AVX-512 register."""


class ShapeInvariant(TorchDispatchMode):
    """While active, float32 forward passes on a CPU have bits that depend on no map's size.

    For use with `torch.no_grad`. A decode takes 1.8 (small) to 2.2 times (tiny) as long. On a GPU
    and in other types it changes no conv and promises nothing.
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
    """Sum by `_conv`. No dilation, no groups."""
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return aten.convolution.default(x, weight, bias, stride, padding, *rest)
    dilation, transposed, _, groups = rest
    assert (groups, list(dilation)) == (1, [1, 1]), "the model has no grouped or dilated conv"
    if transposed:
        out = _spread_out(x, weight, stride, padding)
    else:
        x = functional.pad(x, (padding[1], padding[1], padding[0], padding[0]))
        out = _conv(x, weight, stride)
    return out if bias is None else out.add_(bias[:, None, None])


def _spread_out(x: Tensor, weight: Tensor, stride: list[int], padding: list[int]) -> Tensor:
    """A transposed conv: pixels of equal remainder by the stride are a conv of x of their own."""
    b, _, h, w = x.shape
    whole = all(n - 2 * p == s for n, p, s in zip(weight.shape[2:], padding, stride, strict=True))
    assert whole, "the model's transposed convs make their stride times as many pixels a side"
    out = x.new_empty(b, weight.shape[1], h * stride[0], w * stride[1])
    for remainders in product(*map(range, stride)):
        # Output stride i + remainder is met by kernel places at a distance of the stride.
        starts = [(r + p) % s for r, p, s in zip(remainders, padding, stride, strict=True)]
        places = weight[:, :, starts[0] :: stride[0], starts[1] :: stride[1]]
        edges: list[int] = []
        for side, r, p, s, start in zip((2, 3), remainders, padding, stride, starts, strict=True):
            after = (r + p - start) // s
            edges = [places.shape[side] - 1 - after, after, *edges]
        part = _conv(functional.pad(x, edges), places.transpose(0, 1).flip(2, 3), [1, 1])
        out[:, :, remainders[0] :: stride[0], remainders[1] :: stride[1]] = part
    return out


def _conv(x: Tensor, weight: Tensor, stride: list[int]) -> Tensor:
    """A conv without padding: (b, c, h, w) and (out, c, rows, columns) -> (b, out, ...)."""
    (b, _, h, w), (width, _, rows, columns) = x.shape, weight.shape
    height, across = (h - rows) // stride[0] + 1, (w - columns) // stride[1] + 1
    # As the pixels lie: row by row of the kernel, then column, then channel.
    kernel = weight.movedim(1, -1).flatten(1)
    kernel = functional.pad(kernel, (0, -kernel.shape[1] % ROW, 0, -width % 4)).numpy()
    out = x.new_empty(b, height, across, width)
    arrays = x.movedim(1, -1).contiguous().numpy(), kernel, out.numpy()
    spread(_dots, -(-out.numel() // (PIXELS * width)), *arrays, (rows, columns), tuple(stride))
    return out.movedim(-1, 1)


@compiled
def _dots(
    x: NDArray[np.float32],
    kernel: NDArray[np.float32],
    out: NDArray[np.float32],
    size: tuple[int, int],
    stride: tuple[int, int],
    first: int,
    last: int,
) -> None:
    """Put out (b, h, w, o) in place, for the pixels of blocks first to last.

    x is (b, h, w, c), kernel (o, rows columns c), both of its sides filled up with zeros.
    """
    b, height, across, width = out.shape
    run, length = size[1] * x.shape[3], kernel.shape[1]
    taken = np.zeros((PIXELS, length), np.float32)
    made = np.empty((PIXELS, len(kernel)), np.float32)
    for start in range(first * PIXELS, min(last * PIXELS, b * height * across), PIXELS):
        pixels = min(PIXELS, b * height * across - start)
        for p in range(pixels):
            row, column = divmod(start + p, across)
            image, row = divmod(row, height)
            for r in range(size[0]):
                line = x[image, row * stride[0] + r].reshape(-1)[column * stride[1] * x.shape[3] :]
                row_ = taken[p, r * run :]
                for k in range(run):
                    row_[k] = line[k]
        # All PIXELS rows, those of an earlier block too: a shorter loop would be another one.
        for o in range(0, len(kernel), 4):
            w0, w1, w2, w3 = kernel[o], kernel[o + 1], kernel[o + 2], kernel[o + 3]
            for p in range(0, PIXELS, 4):
                x0, x1, x2, x3 = taken[p], taken[p + 1], taken[p + 2], taken[p + 3]
                a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = np.float32(0)
                c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = np.float32(0)
                for k in range(length):
                    a0 += x0[k] * w0[k]
                    a1 += x0[k] * w1[k]
                    a2 += x0[k] * w2[k]
                    a3 += x0[k] * w3[k]
                    b0 += x1[k] * w0[k]
                    b1 += x1[k] * w1[k]
                    b2 += x1[k] * w2[k]
                    b3 += x1[k] * w3[k]
                    c0 += x2[k] * w0[k]
                    c1 += x2[k] * w1[k]
                    c2 += x2[k] * w2[k]
                    c3 += x2[k] * w3[k]
                    d0 += x3[k] * w0[k]
                    d1 += x3[k] * w1[k]
                    d2 += x3[k] * w2[k]
                    d3 += x3[k] * w3[k]
                made[p, o], made[p, o + 1], made[p, o + 2], made[p, o + 3] = a0, a1, a2, a3
                made[p + 1, o], made[p + 1, o + 1] = b0, b1
                made[p + 1, o + 2], made[p + 1, o + 3] = b2, b3
                made[p + 2, o], made[p + 2, o + 1] = c0, c1
                made[p + 2, o + 2], made[p + 2, o + 3] = c2, c3
                made[p + 3, o], made[p + 3, o + 1] = d0, d1
                made[p + 3, o + 2], made[p + 3, o + 3] = d2, d3
        rows = out.reshape(-1, width)
        for p in range(pixels):
            for k in range(width):
                rows[start + p, k] = made[p, k]


def _mean(x: Tensor, dims: list[int], keepdim: bool = False) -> Tensor:
    (dim,) = dims
    mean = aten.mean.dim(x.movedim(dim, -1).contiguous(), [-1])
    return mean.unsqueeze(dim) if keepdim else mean


REPLACED: dict[Any, Callable[..., Tensor]] = {
    aten.convolution.default: _convolution,
    aten.mean.dim: _mean,
}
