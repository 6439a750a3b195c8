import pytest
import torch
from torch import nn

from vae import PRESETS, VAE
from vae.inference.memory import SavedTensors, checkpoint_blocks, saved_bytes
from vae.layers import Head, ResBlock
from vae.ops import norm_silu_conv


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("preset", ["tiny", "nano"])
def test_the_count_is_what_a_real_pass_keeps(preset, blocks):
    model = VAE(PRESETS[preset])
    checkpoint_blocks(model, blocks)
    kept, addresses = [], set()

    def keep(tensor):
        if tensor.data_ptr() not in addresses:
            addresses.add(tensor.data_ptr())
            kept.append(tensor)
        return tensor

    weights = {p.data_ptr() for p in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.rand(1, 3, 64, 64))
    real = sum(t.untyped_storage().nbytes() for t in kept if t.data_ptr() not in weights)
    assert saved_bytes(PRESETS[preset], 64, blocks=blocks, dtype=torch.float32) == real


def test_the_report_s_f16_keeps_at_most_half_a_gibibyte_of_a_256_px_image():
    settings = PRESETS["f16c64"]
    kept = saved_bytes(settings, 256)
    assert saved_bytes(settings, 256, blocks=True) < 0.7 * kept < kept <= 2**29
    assert saved_bytes(settings, 512) == pytest.approx(4 * kept, rel=1e-3)


def test_a_residual_block_keeps_two_maps_and_one_when_checkpointed():
    block = ResBlock(8, 8)
    x = torch.randn(1, 8, 16, 16, requires_grad=True)
    numbers = [(False, 2 * 8 + 2), (True, 8)]
    for on, maps in numbers:
        checkpoint_blocks(block, on)
        with SavedTensors(block) as kept:
            block(x)
        assert kept.bytes == 4 * maps * 16 * 16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blocks_computed_again_have_gradients_of_the_same_bits(tiny, images, dtype):
    model = VAE(tiny)
    gradients = []
    for on in (False, True):
        checkpoint_blocks(model, on)
        model.zero_grad()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            output = model(images)
        (output.float() - images).square().mean().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert all(map(torch.equal, *gradients))


def test_norm_silu_conv_has_the_bits_and_gradients_of_its_parts():
    head = Head(6, 5)
    nn.init.normal_(head.norm.gain)
    x = torch.randn(2, 6, 7, 9, requires_grad=True)
    target = torch.randn(2, 5, 7, 9)
    values = [norm_silu_conv(x, head.norm.gain, head.conv), head.conv(head.norm(x))]
    assert torch.equal(*values)
    ours, plain = (torch.autograd.grad((y * target).sum(), [x, *head.parameters()]) for y in values)
    torch.testing.assert_close(ours, plain)


def test_norm_silu_conv_passes_gradcheck():
    head = Head(3, 2).double()
    x = torch.randn(1, 3, 4, 5, dtype=torch.float64, requires_grad=True)

    def apply(x, gain, weight, bias):
        parameters = {"norm.gain": gain, "conv.weight": weight, "conv.bias": bias}
        return torch.func.functional_call(head, parameters, x)

    assert torch.autograd.gradcheck(apply, (x, *head.parameters()))
