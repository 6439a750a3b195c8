import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from vae.inference.invariant import ShapeInvariant
from vae.layers import AverageDown, NormSiLU

WIDTH = 12
KERNEL = torch.randn(WIDTH, 7, 4, 4, generator=torch.Generator().manual_seed(6))


def conv(x):
    weight = torch.randn(7, WIDTH, 3, 3, generator=torch.Generator().manual_seed(1))
    return functional.conv2d(x, weight, torch.ones(7), padding=1)


def strided(x):
    weight = torch.randn(7, WIDTH, 3, 3, generator=torch.Generator().manual_seed(2))
    return functional.conv2d(functional.pad(x, (0, 1, 0, 1)), weight, stride=2)


def point(x):
    weight = torch.randn(7, WIDTH, 1, 1, generator=torch.Generator().manual_seed(3))
    return functional.conv2d(x, weight)


def doubled(x):
    return functional.conv_transpose2d(x, KERNEL, stride=2, padding=1)


OPERATIONS = (conv, strided, point, NormSiLU(WIDTH), AverageDown(WIDTH, 4, 2))


@torch.no_grad()
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda f: getattr(f, "__name__", str(f)))
def test_the_values_are_those_of_fast_arithmetic(operation):
    # Always the same numbers: of others one draw in twenty differs by more, where terms cancel.
    x = torch.randn(2, WIDTH, 10, 8, generator=torch.Generator().manual_seed(4)) * 5
    with ShapeInvariant():
        ours = operation(x)
    torch.testing.assert_close(ours, operation(x), atol=2e-5, rtol=1e-5)


@settings(max_examples=30)
@given(
    size=st.tuples(st.integers(1, 20), st.integers(1, 40)),
    cut=st.tuples(st.integers(0, 19), st.integers(0, 39)),
    channels_last=st.booleans(),
    seed=st.integers(0, 99),
)
@torch.no_grad()
def test_a_part_has_the_bits_of_the_whole(size, cut, channels_last, seed):
    """Cut to the right and below of `cut`, so only values near the cut may differ."""
    height, width = 2 * size[0], 2 * size[1]
    top, left = 2 * (cut[0] % size[0]), 2 * (cut[1] % size[1])
    x = torch.randn(1, WIDTH, height, width, generator=torch.Generator().manual_seed(seed))
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    for operation in OPERATIONS:
        with ShapeInvariant():
            whole, part = operation(x), operation(x[:, :, top:, left:])
        per = height // whole.shape[2]
        whole = whole[:, :, top // per :, left // per :]
        assert torch.equal(part[:, :, 1:, 1:], whole[:, :, 1:, 1:])


@torch.no_grad()
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("width", [5, 7])
def test_maps_of_odd_widths_have_the_bits_of_a_wide_one(width, threads):
    x = torch.randn(1, WIDTH, 9, 41, generator=torch.Generator().manual_seed(7))
    torch.set_num_threads(threads)
    try:
        with ShapeInvariant():
            assert torch.equal(point(x[..., :width]), point(x)[..., :width])
            inside = slice(0, 2 * width - 1)
            assert torch.equal(doubled(x[..., :width])[..., inside], doubled(x)[..., inside])
    finally:
        torch.set_num_threads(1)


@torch.no_grad()
def test_a_transposed_conv_has_the_values_of_torch_s():
    for size, stride, padding in ((4, 2, 1), (3, 1, 1), (2, 2, 0), (5, 3, 1)):
        weight = torch.randn(WIDTH, 5, size, size, generator=torch.Generator().manual_seed(size))
        x = torch.randn(2, WIDTH, 5, 6, generator=torch.Generator().manual_seed(8))
        given = {"stride": stride, "padding": padding}
        with ShapeInvariant():
            ours = functional.conv_transpose2d(x, weight, **given)
        plain = functional.conv_transpose2d(x, weight, **given)
        torch.testing.assert_close(ours, plain, atol=2e-5, rtol=1e-5)


def test_silu_holds_far_out():
    x = torch.tensor([-200.0, -87.5, -1e-8, 0.0, 1e-8, 30.0, 87.5, 200.0])
    with torch.no_grad(), ShapeInvariant():
        ours = functional.silu(x)
    torch.testing.assert_close(ours, functional.silu(x), atol=1e-30, rtol=3e-7)
