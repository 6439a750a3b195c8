import numpy as np
import pytest
import torch
from pydantic import ValidationError

from shards import UserError
from vae import PRESETS, VAE, DCTCodec, VAESettings
from vae.layers import ChannelToSpace, PixelNorm, SpaceToChannel
from vae.model import parameter_counts
from vae.skips import SKIPS, GlobalLinear, GlobalSkip, dct_basis


def test_the_report_preset_has_the_parameter_counts_of_table_1():
    counts = parameter_counts(PRESETS["f16c64"])
    assert counts == {"skip": 0, "encoder": 75_536_192, "decoder": 247_750_851}
    assert (round(counts["encoder"] / 1e6), round(counts["decoder"] / 1e6)) == (76, 248)


@pytest.mark.parametrize(
    ("factor", "channels", "multipliers", "millions"),
    [
        (16, 128, (1, 2, 4, 8, 8), (76, 248)),
        (32, 128, (1, 1, 2, 4, 8, 8), (77, 250)),
        (32, 192, (1, 1, 2, 4, 8, 8), (78, 250)),
    ],
)
def test_the_other_rows_of_table_1_follow_from_the_same_structure(
    factor, channels, multipliers, millions
):
    counts = parameter_counts(
        VAESettings(factor=factor, channels=channels, multipliers=multipliers)
    )
    assert (round(counts["encoder"] / 1e6), round(counts["decoder"] / 1e6)) == millions


@pytest.mark.parametrize("skip", list(SKIPS))
def test_shapes_follow_the_factor_whatever_the_skip(tiny, images, skip):
    model = VAE(tiny.model_copy(update={"skip": skip}))
    z = model.encode(images)
    assert z.shape == (2, 6, 4, 6)
    assert model.decode(z).shape == images.shape


def test_nano_takes_any_multiple_of_16():
    model = VAE(PRESETS["nano"])
    assert model.encode(torch.zeros(1, 3, 16, 48)).shape == (1, 64, 1, 3)


@pytest.mark.parametrize("codec", [VAE, DCTCodec])
def test_sides_that_are_no_multiple_are_named(codec, tiny):
    model = VAE(tiny) if codec is VAE else DCTCodec(4, 6)
    with pytest.raises(ValueError, match=r"h=250, w=256 but f=4 needs positive multiples of 4"):
        model.encode(torch.zeros(1, 3, 250, 256))
    with pytest.raises(ValueError, match=r"\(b, 3, h, w\)"):
        model.encode(torch.zeros(1, 4, 16, 16))
    with pytest.raises(ValueError, match=r"\(b, 6, i, j\)"):
        model.decode(torch.zeros(1, 7, 2, 2))


def test_global_linear_starts_as_the_dct_codec(tiny, images):
    torch.testing.assert_close(VAE(tiny)(images), DCTCodec(4, 6)(images))


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


def test_dct_basis_is_orthonormal_and_complete():
    basis = dct_basis(4, 48)
    np.testing.assert_allclose(basis @ basis.T, np.eye(48), atol=1e-6)
    x = torch.rand(1, 3, 8, 8) * 2 - 1
    torch.testing.assert_close(DCTCodec(4, 48)(x), x, atol=1e-5, rtol=0)


def test_dct_of_a_flat_grey_image_is_its_first_coefficient():
    z = DCTCodec(4, 6).encode(torch.full((1, 3, 4, 4), 0.5))
    assert z[0, 0].item() == pytest.approx(0.5 * 3**0.5)
    assert z[0, 1:].abs().max().item() < 1e-6


def test_dct_refuses_more_channels_than_values():
    with pytest.raises(UserError, match="1 to 48"):
        dct_basis(4, 49)


def test_global_skip_is_the_mean_of_groups_of_the_fold():
    x = torch.arange(48.0).reshape(1, 3, 4, 4)
    assert GlobalSkip(4, 6).fold(x).flatten().tolist() == [3.5, 11.5, 19.5, 27.5, 35.5, 43.5]


def test_global_skip_names_channels_that_do_not_divide(tiny):
    with pytest.raises(UserError, match="channels=7"):
        VAE(tiny.model_copy(update={"skip": "global", "channels": 7}))


def test_fold_and_unfold_are_inverse(images):
    assert torch.equal(ChannelToSpace(4)(SpaceToChannel(4)(images)), images)


def test_pixel_norm_gives_every_pixel_unit_mean_square():
    y = PixelNorm(5)(torch.randn(2, 5, 3, 3))
    torch.testing.assert_close(y.square().mean(1), torch.ones(2, 3, 3), atol=1e-3, rtol=0)


def test_multipliers_must_give_the_factor():
    with pytest.raises(ValidationError, match="make factor 8, not 16"):
        VAESettings(multipliers=(1, 2, 4, 8))


def test_no_six_numbers_keep_more_of_the_blocks_they_started_from():
    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    x[:, 1:] = x[:, :1]
    skip = GlobalLinear(4, 6)

    def error():
        return (skip.mirror(skip.fold(x)) - x).square().mean().item()

    before = error()
    skip.start_from([x[:2], x[2:]])
    blocks = SpaceToChannel(4)(x).movedim(1, -1).flatten(0, -2).double()
    lost = torch.linalg.eigvalsh(blocks.T @ blocks)[:-6].sum().item() / x.numel()
    assert error() == pytest.approx(lost, rel=1e-4)
    assert error() < before
