import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from vae.inference.invariant import ShapeInvariant
from vae.layers import AverageDown, NormSiLU

WIDTH = 12


def conv(x):
    weight = torch.randn(7, WIDTH, 3, 3, generator=torch.Generator().manual_seed(1))
    return functional.conv2d(x, weight, torch.ones(7), padding=1)


def strided(x):
    weight = torch.randn(7, WIDTH, 3, 3, generator=torch.Generator().manual_seed(2))
    return functional.conv2d(functional.pad(x, (0, 1, 0, 1)), weight, stride=2)


def point(x):
    weight = torch.randn(7, WIDTH, 1, 1, generator=torch.Generator().manual_seed(3))
    return functional.conv2d(x, weight)


OPERATIONS = (conv, strided, point, NormSiLU(WIDTH), AverageDown(WIDTH, 4, 2))


@torch.no_grad()
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda f: getattr(f, "__name__", str(f)))
def test_the_values_are_those_of_fast_arithmetic(operation):
    # Always the same numbers: of others one draw in twenty differs by more, where terms cancel.
    x = torch.randn(2, WIDTH, 10, 8, generator=torch.Generator().manual_seed(4)) * 5
    with ShapeInvariant():
        ours = operation(x)
    torch.testing.assert_close(ours, operation(x), atol=2e-5, rtol=1e-5)


@settings(max_examples=30, deadline=None)
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


def test_silu_holds_far_out():
    x = torch.tensor([-200.0, -87.5, -1e-8, 0.0, 1e-8, 30.0, 87.5, 200.0])
    with torch.no_grad(), ShapeInvariant():
        ours = functional.silu(x)
    torch.testing.assert_close(ours, functional.silu(x), atol=1e-30, rtol=3e-7)
