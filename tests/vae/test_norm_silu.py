"""The step between two convs: compiled on a CPU, written in torch elsewhere."""

import multiprocessing
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.nn import functional

from vae.layers import NormSiLU
from vae.norm_silu import PIXELS, norm_silu_backward, norm_silu_forward


def plain_norm_silu(x, gain):
    return functional.silu(x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6) * gain)


@settings(max_examples=30)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40)),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
    size=st.sampled_from([1e-4, 1.0, 1e4]),
)
def test_compiled_and_written_in_torch_agree(shape, dtype, layout, size):
    generator = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(2, *shape, generator=generator) * size).to(dtype)
    x = x.contiguous(memory_format=layout)
    gain = torch.randn(shape[1], 1, 1, generator=generator).to(dtype)
    y, scale = norm_silu_forward(x, gain)
    ours = (y, scale, *norm_silu_backward(grad, x, gain, scale))
    assert [tensor.dtype for tensor in ours] == [dtype, torch.float32, dtype, dtype]

    x, grad, gain = x.double(), grad.double(), gain.double()
    y, scale = norm_silu_forward(x, gain)
    exact = (y, scale, *norm_silu_backward(grad, x, gain, scale))
    step = 2.0 ** (-22 if dtype == torch.float32 else -8)
    # What cancels leaves an error of the size of its terms.
    pull, reach = grad.abs().max(), gain.abs().max()
    terms = (reach, scale.max(), pull * reach * scale.max(), pull * x[:, 0].numel())
    for found, wanted, term in zip(ours, exact, terms, strict=True):
        atol = 4 * step * term.item()
        torch.testing.assert_close(found.double(), wanted, rtol=4 * step, atol=atol)


def test_bits_depend_neither_on_threads_nor_on_the_other_pixels():
    x, grad = torch.randn(2, 2, 24, 37, PIXELS // 16)
    gain = torch.randn(24, 1, 1)

    def both(x, grad):
        y, scale = norm_silu_forward(x, gain)
        return y, scale, *norm_silu_backward(grad, x, gain, scale)

    alone = both(x, grad)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        shared = both(x, grad)
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, alone, shared))
    part = both(x[:1, :, 5:8, 3:50], grad[:1, :, 5:8, 3:50])
    for whole, cut in zip(alone[:3], part[:3], strict=True):
        assert torch.equal(whole[:1, :, 5:8, 3:50], cut)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_shows_in_its_pixel_alone(dtype, bad):
    x = torch.ones(1, 40, 2, 2, dtype=dtype)
    x[0, 7, 1, 0] = bad
    y, _ = norm_silu_forward(x, torch.ones(40, 1, 1, dtype=dtype))
    wrong = ~y.isfinite().all(1)[0]
    assert wrong.tolist() == [[False, False], [True, False]]


def _in_a_child(results):
    torch.set_num_threads(2)
    y, _ = norm_silu_forward(torch.ones(1, 8, 64, 64), torch.ones(8, 1, 1))
    results.put(np.asarray(y).sum())


def test_a_forked_process_has_threads_of_its_own():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        y, _ = norm_silu_forward(torch.ones(1, 8, 64, 64), torch.ones(8, 1, 1))
    finally:
        torch.set_num_threads(before)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=_in_a_child, args=(results,), daemon=True)
    child.start()
    try:
        assert results.get(timeout=120) == np.asarray(y).sum()
    finally:
        child.kill()
        child.join()


def test_has_the_gradient_of_the_plain_formula():
    x = torch.randn(2, 5, 3, 4, dtype=torch.float64, requires_grad=True)
    norm = NormSiLU(5).double()
    torch.nn.init.normal_(norm.gain)
    assert torch.autograd.gradcheck(
        lambda x, gain: functional_call(norm, {"gain": gain}, x), (x, norm.gain)
    )
    target = torch.randn_like(x)
    ours = torch.autograd.grad((norm(x) * target).sum(), [x, norm.gain])
    plain = torch.autograd.grad((plain_norm_silu(x, norm.gain) * target).sum(), [x, norm.gain])
    torch.testing.assert_close(ours, plain)


def test_of_a_black_pixel_is_zero_with_a_finite_gradient():
    x = torch.zeros(1, 5, 2, 2, requires_grad=True)
    y = NormSiLU(5)(x)
    y.sum().backward()
    assert not y.any()
    assert x.grad.isfinite().all()


def test_keeps_one_map_for_backward():
    kept = []

    def keep(tensor):
        kept.append(tensor.numel())
        return tensor

    x = torch.randn(1, 8, 16, 16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        NormSiLU(8)(x)
    assert sorted(kept) == [8, 16 * 16, 8 * 16 * 16]


def test_no_pixels_are_fine():
    x, gain = torch.empty(0, 5, 3, 4), torch.ones(5, 1, 1)
    y, scale = norm_silu_forward(x, gain)
    grad_x, grad_gain = norm_silu_backward(y, x, gain, scale)
    assert y.shape == grad_x.shape == x.shape
    assert not grad_gain.any()


def test_tensors_without_memory_are_traced():
    with FakeTensorMode():
        x, gain = torch.empty(2, 5, 3, 4), torch.ones(5, 1, 1)
        y, scale = norm_silu_forward(x, gain)
        grad_x, grad_gain = norm_silu_backward(y, x, gain, scale)
    assert (y.shape, scale.shape, grad_x.shape) == (x.shape, (2, 1, 3, 4), x.shape)
    assert grad_gain.shape == gain.shape


def test_on_the_meta_device_shapes_are_the_same():
    x, gain = torch.empty(2, 5, 3, 4, dtype=torch.bfloat16), torch.ones(5, 1, 1)
    gain = gain.to(x.dtype)
    there = norm_silu_forward(x.to("meta"), gain.to("meta"))
    here = norm_silu_forward(x, gain)
    assert [(t.shape, t.dtype) for t in there] == [(t.shape, t.dtype) for t in here]


CHILDREN = """
import os, random, torch
from tests.vae.conftest import TINY
from vae import VAE, VAESettings
from vae.norm_silu import norm_silu_forward

torch.set_num_threads(1)
# Compiled here, so that no child is; on little memory, so that their heaps stay their own.
for channels in (4, 8):
    norm_silu_forward(torch.ones(1, channels, 1, 1), torch.ones(channels, 1, 1))
torch.manual_seed(0)
model = VAE(VAESettings(**TINY))
torch.nn.init.normal_(model.decoder.head.conv.weight)
image = torch.rand(1, 3, 8, 8)
results = set()
for seed in range(60):
    read, write = os.pipe()
    if not os.fork():
        rng = random.Random(seed)
        kept = [torch.empty(rng.randint(1, 3000)) for _ in range(rng.randint(0, 60))]
        del kept[::2]
        output = model(image.clone(memory_format=torch.channels_last))
        os.write(write, output.detach().contiguous().numpy().tobytes())
        os._exit(0)
    os.wait()
    results.add(os.read(read, 4096))
    os.close(read), os.close(write)
print(len(results))
"""


@pytest.mark.slow
def test_bits_do_not_hang_on_where_memory_lies():
    """Each child meets another heap, on which one in ten summed in another order."""
    done = subprocess.run(
        [sys.executable, "-c", CHILDREN], capture_output=True, text=True, check=False
    )
    assert done.stdout == "1\n", done.stderr
