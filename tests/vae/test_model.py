import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from vae import PRESETS, VAE, DCTCodec, VAESettings
from vae.layers import Conv, ResBlock, Up
from vae.model import parameter_counts
from vae.sizes import crop, pad

TABLE_1 = {
    "f16c64": (76, 248),
    "f16c128": (76, 248),
    "f32c128": (77, 250),
    "f32c192": (78, 250),
}


@pytest.mark.parametrize("preset", TABLE_1)
def test_the_presets_of_the_report_have_the_parameter_counts_of_table_1(preset):
    counts = parameter_counts(PRESETS[preset])
    assert (round(counts["encoder"] / 1e6), round(counts["decoder"] / 1e6)) == TABLE_1[preset]
    assert counts["skip"] == 0


def test_presets_are_named_by_what_they_are():
    for name in TABLE_1:
        settings = PRESETS[name]
        assert name == f"f{settings.factor}c{settings.channels}"
    assert parameter_counts(PRESETS["f16c64"]) == {
        "skip": 0,
        "encoder": 75_536_192,
        "decoder": 247_750_851,
    }


def test_small_presets_have_the_latent_of_f16c64():
    for name in PRESETS.keys() - TABLE_1:
        latent = VAE(PRESETS[name]).encode(torch.zeros(1, 3, 16, 48))
        assert latent.shape == (1, 64, 1, 3)


@pytest.mark.parametrize("codec", [VAE, DCTCodec])
def test_any_size_is_padded_and_cropped(codec, tiny):
    model = VAE(tiny) if codec is VAE else DCTCodec(4, 6)
    for h, w in ((1, 1), (3, 8), (4, 9), (7, 5)):
        x = torch.rand(2, 3, h, w) * 2 - 1
        z = model.encode(x)
        assert z.shape == (2, 6, -(-h // 4), -(-w // 4))
        assert torch.equal(z, model.encode(pad(x, 4)))
        y = model(x)
        assert y.shape == x.shape
        assert torch.equal(y, model.decode(z)[:, :, :h, :w])
        assert torch.equal(y, model.decode(z, (h, w)))


def test_whole_blocks_are_neither_padded_nor_cropped(images):
    assert pad(images, 8) is images
    assert torch.equal(crop(images, (16, 24), 4), images)


def test_padding_repeats_the_last_row_and_column():
    x = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert pad(x, 4)[0, 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]]


@pytest.mark.parametrize("codec", [VAE, DCTCodec])
def test_what_cannot_be_coded_is_named_with_a_remedy(codec, tiny):
    model = VAE(tiny) if codec is VAE else DCTCodec(4, 6)
    for x, message in (
        (torch.zeros(1, 4, 16, 16), r"\(b, 3, h, w\) of some size, got \(1, 4, 16, 16\); give RGB"),
        (torch.zeros(3, 16, 16), r"give image\[None\]"),
        (torch.zeros(1, 3, 0, 16), r"got \(1, 3, 0, 16\)"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), r"uint8; give to_image\(pixels\)"),
    ):
        with pytest.raises(ValueError, match=message):
            model.encode(x)
    with pytest.raises(ValueError, match=r"\(b, 6, i, j\), got \(1, 7, 2, 2\)"):
        model.decode(torch.zeros(1, 7, 2, 2))
    for size in ((9, 8), (8, 4)):
        with pytest.raises(ValueError, match=r"decodes to 8 px, so . must be 5 to 8"):
            model.decode(torch.zeros(1, 6, 2, 2), size)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_another_type_layout_or_range_than_the_models_is_named(tiny, dtype):
    model = VAE(tiny).eval()
    for x, message in (
        (
            torch.zeros(1, 3, 16, 16, dtype=dtype),
            r"expected float32 .*; give x.to\(torch.float32\)",
        ),
        (torch.zeros(1, 16, 16, 3), r"give x.permute\(0, 3, 1, 2\)"),
        (torch.full((1, 3, 16, 16), 255.0), r"\[-1, 1\], got up to 255; give to_image\(pixels\)"),
    ):
        with pytest.raises(ValueError, match=message):
            model.encode(x)
    with pytest.raises(ValueError, match=r"expected float32 as the weights are"):
        model.decode(torch.zeros(1, 6, 2, 2, dtype=dtype))
    with torch.autocast("cpu", torch.bfloat16):
        model(torch.zeros(1, 3, 16, 16, dtype=torch.bfloat16))
    assert model.to(torch.bfloat16)(torch.zeros(1, 3, 8, 8, dtype=torch.bfloat16)).isfinite().all()


def test_rgba_asks_for_alpha(tiny):
    model = VAE(tiny.model_copy(update={"colours": 4}))
    assert model(torch.zeros(1, 4, 5, 6)).shape == (1, 4, 5, 6)
    with pytest.raises(
        ValueError, match=r"append alpha \(1 is opaque\), or use a model of colours=3"
    ):
        model.encode(torch.zeros(1, 3, 8, 8))


def test_the_latent_is_the_mean_unless_a_sample_is_asked_for(tiny, images):
    model = VAE(tiny)
    with torch.no_grad():
        # The head starts silent: log variance 0, then -2 ln 2.
        model.encoder.head.conv.bias[6:] = -2 * torch.log(torch.tensor(2.0))
    mean, log_variance = model.posterior(images)
    assert torch.equal(model.encode(images), mean)
    assert log_variance.shape == mean.shape

    def noise(seed):
        drawn = model.encode(images, torch.Generator().manual_seed(seed))
        return (drawn - mean).detach()

    assert torch.equal(noise(1), noise(1))
    assert not torch.equal(noise(1), noise(2))
    assert torch.cat([noise(k) for k in range(20)]).std().item() == pytest.approx(0.5, abs=0.02)


def test_a_sample_trains_the_variance(tiny, images):
    model = VAE(tiny)
    model.encode(images, torch.Generator().manual_seed(0)).square().sum().backward()
    assert model.encoder.head.conv.bias.grad[6:].all()


def test_every_parameter_of_nano_gets_a_gradient_after_one_step():
    model = VAE(PRESETS["nano"])
    image = torch.rand(1, 3, 32, 32) * 2 - 1
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for _ in range(3):
        # Silent heads pass no gradient further down at first; the decoder's head opens, then ours.
        optimizer.zero_grad()
        (model(image) - image).square().mean().backward()
        optimizer.step()
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


@pytest.mark.parametrize("size", [(5, 7), (12, 13)], ids=["few pixels", "many"])
def test_up_is_nearest_and_a_conv(size):
    up = Up(6).double()
    x = torch.randn(2, 6, *size, dtype=torch.float64, requires_grad=True)
    plain = up.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
    torch.testing.assert_close(up(x), plain)
    target = torch.randn_like(plain)
    learned = [x, up.conv.weight, up.conv.bias]
    torch.testing.assert_close(
        torch.autograd.grad(up(x), learned, target), torch.autograd.grad(plain, learned, target)
    )


@pytest.mark.parametrize("layer", [Up(6), ResBlock(6, 4)], ids=["up", "block"])
def test_autocast_reaches_into_our_own_steps(layer):
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(torch.randn(1, 6, 4, 4))
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    assert {p.grad.dtype for p in layer.parameters()} == {torch.float32}


@pytest.mark.parametrize("frozen", ["encoder", "decoder"])
def test_a_frozen_half_leaves_the_gradients_of_the_other(tiny, images, frozen):
    model = VAE(tiny)

    def gradients():
        model.zero_grad()
        (model(images) - images).abs().mean().backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    everything = gradients()
    getattr(model, frozen).requires_grad_(False)
    half = gradients()
    assert half
    assert not [name for name in half if name.startswith(frozen)]
    assert all(torch.equal(half[name], everything[name]) for name in half)


def test_a_conv_passes_on_the_variance_of_what_it_sees():
    x = torch.randn(4, 64, 32, 32)
    assert Conv(64, 128, 3)(x).std().item() == pytest.approx(1, rel=0.1)


def test_a_step_in_bfloat16_keeps_the_maps_in_bfloat16(tiny, images):
    model = VAE(tiny)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(images)
        maps = model.encoder.levels(model.encoder.stem(images))
    (output - images).square().mean().backward()
    assert maps.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), model(images), atol=0.05, rtol=0.05)
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.slow
def test_a_compiled_model_is_one_graph_and_says_the_same(tiny):
    settings = VAESettings.model_validate(
        tiny.model_dump() | {"skip": "local", "mirror": True, "feed_mirror": False}
    )
    model = VAE(settings)
    x = torch.rand(1, 3, 15, 16) * 2 - 1

    def step(forward):
        model.zero_grad()
        output = forward(x)
        (output - x).square().mean().backward()
        return output.detach(), [p.grad.clone() for p in model.parameters()]

    torch.testing.assert_close(step(torch.compile(model, fullgraph=True)), step(model))


def test_multipliers_must_give_the_factor():
    with pytest.raises(ValidationError, match="make factor 8, not 16"):
        VAESettings(multipliers=(1, 2, 4, 8))
