"""y = silu(gain x / rms(x)) over the channels of each pixel, and its gradient.

The step between two convs. As single torch operations it reads and writes its map some twenty
times, forward and backward, which on a CPU costs half as much as the convs do. Here it is one loop
forward and one backward, compiled by numba, over maps in channels-last order. Elsewhere (GPU,
meta device, float64, under torch.compile, which fuses on its own) it is written in torch.

Letters: n pixels, c channels.
"""

from typing import Any

import numba
import numpy as np
import torch
from numba.extending import overload
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vae.compiled import compiled, spread

EPS = np.float32(1e-6)
"""Added to the mean square: a black pixel has no direction to keep."""

EPS_ = float(EPS)
"""The same for torch: a number of NumPy's breaks the graph of torch.compile in every block."""

PIXELS = 1024
"""Pixels of a block. Blocks are spread over torch's threads; the gradient of the gain is summed
block by block, so its bits do not depend on their number."""

TILE = 64
"""Pixels of what is worked on at once: their rows, as one long vector, stay in the first cache."""


def norm_silu_forward(x: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """Return y (b, c, h, w), of the type of x, and 1 / rms(x), (b, 1, h, w), at least float32.

    `gain` is (c, 1, 1).
    """
    if not _compiles(x):
        dtype = torch.promote_types(x.dtype, torch.float32)
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=dtype)
        scale = torch.rsqrt(length.square() / x.shape[1] + EPS_)
        return functional.silu((x * scale.to(x.dtype)).mul_(gain)), scale
    x = x.contiguous(memory_format=torch.channels_last)
    y = torch.empty_like(x)
    b, _, h, w = x.shape
    scale = torch.empty(b, 1, h, w)
    blocks = -(-scale.numel() // PIXELS)
    spread(_forward, blocks, _rows(x), _gain(gain), _rows(y), scale.view(-1).numpy())
    return y, scale


def norm_silu_backward(
    grad: Tensor, x: Tensor, gain: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients of x (b, c, h, w) and of gain (c, 1, 1), given that of y.

    `scale` is what `norm_silu_forward` returned.
    """
    if not _compiles(x):
        scale = scale.to(x.dtype)
        n = x * scale
        grad = torch.ops.aten.silu_backward(grad, n * gain)
        product = grad * n
        grad_gain = product.sum((0, 2, 3))[:, None, None]
        # d n_j / d x_i = scale (1 if i = j) - scale n_i n_j / c
        along = product.mul_(gain).mean(1, keepdim=True)
        return grad.mul_(gain).sub_(n.mul_(along)).mul_(scale), grad_gain
    x = x.contiguous(memory_format=torch.channels_last)
    grad = grad.to(x.dtype).contiguous(memory_format=torch.channels_last)
    grad_x = torch.empty_like(x)
    blocks = np.zeros((-(-scale.numel() // PIXELS), len(gain)), np.float32)
    scales = scale.view(-1).numpy()
    arrays = _rows(grad), _rows(x), _gain(gain), scales, _rows(grad_x), blocks
    spread(_backward, len(blocks), *arrays)
    summed = torch.from_numpy(blocks.sum(0, dtype=np.float64))
    return grad_x, summed.to(gain.dtype).view_as(gain)


def _compiles(x: Tensor) -> bool:
    # A subclass, such as one that has a shape alone, may say cpu and hold no memory there.
    plain = type(x) is Tensor and x.device.type == "cpu"
    known = plain and x.dtype in (torch.float32, torch.bfloat16)
    return known and not torch.compiler.is_compiling()


def _rows(x: Tensor) -> NDArray[Any]:
    """View a channels-last map as (n c,); bfloat16 as its bits, since NumPy has no such type."""
    rows = x.detach().movedim(1, -1).flatten()
    if x.dtype == torch.bfloat16:
        return rows.view(torch.int16).numpy().view(np.uint16)
    return rows.numpy()


def _gain(gain: Tensor) -> NDArray[np.float32]:
    # A copy: NumPy pins the memory of what it looks at, and FSDP must free that of a parameter.
    return gain.detach().flatten().to(torch.float32, copy=True).numpy()


# Cephes' exp2f (Moshier, 1989): 2^r for |r| <= 1/2, within 2 ulp. The library's exponential would
# be a call, and a loop with a call in it is not vectorised.
C1, C2, C3, C4, C5, C6 = (
    np.float32(6.931472028550421e-1),
    np.float32(2.402264791363012e-1),
    np.float32(5.550332471162809e-2),
    np.float32(9.618437357674640e-3),
    np.float32(1.339887440266574e-3),
    np.float32(1.535336188319500e-4),
)
LOG2_E = np.float32(1.4426950408889634)
HALF, ONE, TOP = np.float32(0.5), np.float32(1), np.float32(126)


@compiled
def _sigmoid(a: np.float32) -> np.float32:
    power = max(min(-a * LOG2_E, TOP), -TOP)
    whole = np.floor(power + HALF)
    r = power - whole
    poly = (((((C6 * r + C5) * r + C4) * r + C3) * r + C2) * r + C1) * r + ONE
    # 2^whole, written into the exponent of a float32.
    scale = np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)
    return ONE / (ONE + poly * scale)


def _load(value: Any) -> Any:
    """Return a float32, given one or the bits of a bfloat16, its upper half."""


def _store(out: Any, at: int, value: Any) -> Any:
    """Write a float32 to out[at], rounded to even where that holds bits of bfloat16."""


@overload(_load)
def _(value: Any) -> Any:
    if value == numba.uint16:

        def widen(value: Any) -> Any:
            return np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)

        return widen

    def same(value: Any) -> Any:
        return value

    return same


@overload(_store)
def _(out: Any, at: int, value: Any) -> Any:
    del at, value
    if out.dtype == numba.uint16:

        def narrow(out: Any, at: int, value: Any) -> Any:
            bits = np.float32(value).view(np.uint32)
            even = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
            out[at] = np.uint16((bits + even) >> np.uint32(16))

        return narrow

    def keep(out: Any, at: int, value: Any) -> Any:
        out[at] = value

    return keep


@compiled
def _forward(
    x: NDArray[Any],
    gain: NDArray[np.float32],
    y: NDArray[Any],
    scale: NDArray[np.float32],
    first: int,
    last: int,
) -> None:
    """Put y (n c,) and 1 / rms (n,) in place, for the pixels of blocks first to last."""
    count, width = len(scale), len(gain)
    wide = np.empty(TILE * width, np.float32)
    for start in range(first * PIXELS, min(last * PIXELS, count), TILE):
        pixels = min(TILE, count - start)
        # Slices: their indices are seen to be in bounds, without which no loop is vectorised.
        x_, y_ = x[start * width :], y[start * width :]
        for p in range(pixels):
            row, row_ = wide[p * width :], x_[p * width :]
            # The loops with a sum write nothing. One that did would be taken in vectors only where
            # its arrays are seen to lie apart, and the order of the sum would hang on addresses.
            total = np.float32(0)
            for k in range(width):
                value = _load(row_[k])
                total += value * value
            per_rms = ONE / np.sqrt(total / np.float32(width) + EPS)
            scale[start + p] = per_rms
            for k in range(width):
                row[k] = _load(row_[k]) * (per_rms * gain[k])
        for j in range(pixels * width):
            a = wide[j]
            _store(y_, j, a * _sigmoid(a))


@compiled
def _backward(
    grad: NDArray[Any],
    x: NDArray[Any],
    gain: NDArray[np.float32],
    scale: NDArray[np.float32],
    grad_x: NDArray[Any],
    grad_gain: NDArray[np.float32],
    first: int,
    last: int,
) -> None:
    """Put the gradient of x (n c,) in place, and add up that of the gain (blocks, c)."""
    count, width = len(scale), len(gain)
    n, scaled = np.empty(TILE * width, np.float32), np.empty(TILE * width, np.float32)
    for start in range(first * PIXELS, min(last * PIXELS, count), TILE):
        pixels = min(TILE, count - start)
        x_, grad_, grad_x_ = x[start * width :], grad[start * width :], grad_x[start * width :]
        for p in range(pixels):
            per_rms, edge = scale[start + p], p * width
            row, row_n, row_ = scaled[edge:], n[edge:], x_[edge:]
            for k in range(width):
                row_n[k] = _load(row_[k]) * per_rms
                row[k] = row_n[k] * gain[k]
        for j in range(pixels * width):
            a = scaled[j]
            s = _sigmoid(a)
            # silu' = s (1 + a (1 - s))
            scaled[j] = _load(grad_[j]) * s * (ONE + a * (ONE - s))
        summed = grad_gain[start // PIXELS]
        for p in range(pixels):
            per_rms, edge = scale[start + p], p * width
            row, row_n, out = scaled[edge:], n[edge:], grad_x_[edge:]
            along = np.float32(0)
            for k in range(width):
                along += row[k] * gain[k] * row_n[k]
            along /= np.float32(width)
            # d n_j / d x_i = scale (1 if i = j) - scale n_i n_j / c
            for k in range(width):
                summed[k] += row[k] * row_n[k]
                _store(out, k, (row[k] * gain[k] - row_n[k] * along) * per_rms)
