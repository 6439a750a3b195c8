import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from vae import PRESETS, VAE, VAESettings
from vae.inference.invariant import ShapeInvariant
from vae.inference.tiling import Margin, Tiled, halo, spans, spread

SMALL = {"factor": 4, "channels": 6, "encoder_width": 8, "decoder_width": 12}
KINDS = {
    "none": SMALL | {"multipliers": (1, 1, 2), "encoder_blocks": 1, "skip": "none"},
    "local": SMALL | {"multipliers": (1, 1, 2), "decoder_blocks": 1, "skip": "local"},
    "global": SMALL | {"multipliers": (1, 2, 2), "mid_blocks": 0, "decoder_blocks": 2},
    "learned": SMALL
    | {
        "patch": 2,
        "multipliers": (1, 2),
        "colours": 4,
        "skip": "global-learned",
        "mirror": True,
        "feed_mirror": True,
    },
    "feature": SMALL
    | {"patch": 2, "multipliers": (1, 2), "skip": "global", "merge": "feature", "mirror": True},
}


def awake(values):
    """A model whose silent heads speak and whose gains differ."""
    torch.manual_seed(0)
    model = VAE(VAESettings.model_validate(values)).eval()
    for head in (model.encoder.head, model.decoder.head):
        nn.init.kaiming_uniform_(head.conv.weight)
    for name, parameter in model.named_parameters():
        if name.endswith("gain"):
            nn.init.uniform_(parameter, 0.5, 1.5)
    return model


@pytest.fixture(scope="module", params=KINDS)
def model(request):
    return awake(KINDS[request.param])


@torch.no_grad()
def spoilt(part, x, cut, skip):
    """How many columns next to `cut`, after it and before it, NaN from its other side reaches."""
    left, right = x.clone(), x.clone()
    left[..., cut:] = torch.nan
    right[..., :cut] = torch.nan
    reached = [part(y, skip(y)) for y in (right, left)]
    reached = [y[0] if isinstance(y, tuple) else y for y in reached]
    middle = reached[0].shape[3] * cut // x.shape[3]
    bad = [y.isnan().any(dim=(0, 1, 2)) for y in reached]
    return Margin(int(bad[0][middle:].sum()), int(bad[1][:middle].sum()))


def test_the_margin_is_what_nan_reaches(model):
    factor, channels = model.settings.factor, model.settings.channels
    x, z = (
        torch.zeros(1, model.settings.colours, factor, 48 * factor),
        torch.zeros(1, channels, 1, 48),
    )
    assert spread(model.encoder, Margin(0, 0)) == spoilt(
        model.encoder, x, 24 * factor, model.skip.fold
    )
    assert spread(model.decoder, Margin(0, 0)) == spoilt(model.decoder, z, 24, model.skip.mirror)


def test_the_report_s_models_reach_18_latents():
    with torch.device("meta"):
        for name in ("f16c64", "f32c192"):
            model = VAE(PRESETS[name])
            assert (halo(model.encoder, 16), halo(model.decoder, model.settings.factor)) == (14, 18)


def test_a_layer_of_unknown_reach_is_refused():
    with pytest.raises(TypeError, match="reach of GroupNorm is not known"):
        spread(nn.Sequential(nn.GroupNorm(1, 4)), Margin(0, 0))


@pytest.mark.parametrize(
    ("size", "latents", "threads"), [((41, 66), 11, 1), ((1, 86), 7, 1), ((5, 34), 5, 2)]
)
def test_tiles_have_the_bits_of_the_whole(model, size, latents, threads):
    x = torch.rand(1, model.settings.colours, *size) * 2 - 1
    tiled = Tiled(model, latents * model.settings.factor)
    torch.set_num_threads(threads)
    try:
        with torch.no_grad(), ShapeInvariant():
            assert all(map(torch.equal, tiled.posterior(x), model.posterior(x)))
            z = model.encode(x)
            assert torch.equal(tiled.encode(x), z)
            assert torch.equal(tiled.decode(z), model.decode(z))
            assert torch.equal(tiled(x), model(x))
    finally:
        torch.set_num_threads(1)


@torch.no_grad()
@pytest.mark.parametrize("preset", ["nano", "tiny", "small"])
def test_presets_have_the_bits_of_the_whole_on_any_number_of_threads(preset):
    model = awake(PRESETS[preset].model_dump())
    x = torch.rand(1, 3, *((16, 240) if preset == "small" else (32, 656))) * 2 - 1
    tiled = Tiled(model, 112)
    wholes = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            with ShapeInvariant():
                z = model.encode(x)
                wholes.append((z, model.decode(z)))
                assert all(map(torch.equal, (tiled.encode(x), tiled.decode(z)), wholes[-1]))
    finally:
        torch.set_num_threads(1)
    assert all(map(torch.equal, *wholes))


def test_in_fast_arithmetic_tiles_have_the_values_of_the_whole(model):
    x = torch.rand(2, model.settings.colours, 41, 66) * 2 - 1
    tiled = Tiled(model, 11 * model.settings.factor)
    with torch.no_grad():
        torch.testing.assert_close(tiled.encode(x), model.encode(x), atol=2e-5, rtol=0)
        torch.testing.assert_close(tiled(x), model(x), atol=2e-5, rtol=0)


@given(length=st.integers(1, 300), side=st.integers(1, 90), margin=st.integers(0, 40))
def test_spans_cover_every_row_once(length, side, margin):
    found = list(spans(length, side, margin))
    assert [row for span in found for row in range(span.start, span.stop)] == list(range(length))
    sizes = [span.stop - span.start for span in found]
    assert max(sizes) <= side
    assert max(sizes) - min(sizes) <= 1
    for low, start, stop, high in found:
        assert (low, high) == (max(0, start - margin), min(length, stop + margin))


def test_a_margin_one_latent_short_does_not_have_the_bits(monkeypatch):
    model = awake(KINDS["none"])
    z = torch.randn(1, 6, 1, 40)
    enough = halo(model.decoder, 4)
    for margin, equal in ((enough, True), (enough - 1, False)):
        monkeypatch.setattr("vae.inference.tiling.halo", lambda part, factor, margin=margin: margin)
        with torch.no_grad(), ShapeInvariant():
            assert torch.equal(Tiled(model, 16).decode(z), model.decode(z)) is equal


def test_a_blend_of_equal_tiles_is_the_whole(images):
    """A model that starts as a codec of single blocks: tiles agree wherever they overlap."""
    model = VAE(
        VAESettings.model_validate(
            SMALL | {"patch": 2, "multipliers": (1, 2), "skip": "global-dct", "mirror": True}
        )
    )
    tiled = Tiled(model, 8 * 4, overlap=2)
    x = images.tile(1, 1, 5, 3)
    with torch.no_grad():
        torch.testing.assert_close(tiled.encode(x), model.encode(x))
        torch.testing.assert_close(tiled(x), model(x))


def test_the_fast_mode_comes_closer_as_the_overlap_grows():
    model = awake(KINDS["none"])
    z = torch.randn(1, 6, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = model.decode(z)
    errors = [
        (Tiled(model, 24 * 4, overlap).decode(z) - whole).square().mean().sqrt() / whole.std()
        for overlap in (1, 3, 6)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 5


def test_sizes_that_do_not_fit_are_named(tiny):
    model = VAE(tiny)
    for side in (0, 6):
        with pytest.raises(
            ValueError, match=f"side={side} must be a multiple of the model's factor"
        ):
            Tiled(model, side)
    for overlap in (0, 3):
        with pytest.raises(ValueError, match="must be 1 to a quarter of a tile of 8 latents"):
            Tiled(model, 32, overlap)
    tiled = Tiled(model, 32)
    with pytest.raises(ValueError, match=r"give image\[None\]"):
        tiled.encode(torch.zeros(3, 16, 16))
    with pytest.raises(ValueError, match="decodes to 8 px, so h must be 5 to 8"):
        tiled.decode(torch.zeros(1, 6, 2, 2), (9, 8))


def test_tiles_keep_no_graph(tiny):
    z = torch.zeros(1, 6, 12, 12, requires_grad=True)
    assert not Tiled(VAE(tiny), 16).decode(z).requires_grad


def test_the_bound_on_memory_grows_with_the_tile_and_the_image_is_the_rest():
    tiled = [Tiled(VAE(PRESETS["nano"]), side) for side in (256, 512)]
    small, large = (t.decode_bytes((4096, 4096)) for t in tiled)
    assert 4 * 3 * 4096**2 < small < large
    # Beyond the tile only the image itself grows.
    assert tiled[0].decode_bytes((8192, 4090)) - small == 4 * 3 * 4096**2
    assert Tiled(VAE(PRESETS["nano"]), 256, 4).decode_bytes((4096, 4096)) < small


@pytest.mark.slow
def test_decoding_stays_below_the_bound():
    code = "from benchmarks.vae import peak; print(peak('tiny', 1024, 256))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    used, bound = map(float, told.stdout.split())
    assert 0 < used <= bound
