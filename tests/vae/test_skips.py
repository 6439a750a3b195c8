import numpy as np
import pytest
import torch
from pydantic import ValidationError

from shards import UserError
from vae import PRESETS, VAE, DCTCodec, VAESettings
from vae.layers import AverageDown, ChannelToSpace, DuplicateUp, SpaceToChannel
from vae.model import parameter_counts
from vae.settings import SKIP_SETTINGS
from vae.skips import SKIPS, GlobalDCT, GlobalLearned, GlobalSkip, dct_basis

ARMS = {
    "none": {"skip": "none"},
    "local": {"skip": "local"},
    "local, mirrored": {"skip": "local", "mirror": True},
    "global": {"skip": "global"},
    "global, mirrored": {"skip": "global", "mirror": True},
    "global at features": {"skip": "global", "merge": "feature"},
    "dct": {"skip": "global-dct"},
    "dct, mirrored": {"skip": "global-dct", "mirror": True},
    "dct at features": {"skip": "global-dct", "merge": "feature"},
    "dct, 5 channels": {"skip": "global-dct", "mirror": True, "skip_channels": 5},
    "learned": {"skip": "global-learned"},
    "learned, mirrored": {"skip": "global-learned", "mirror": True},
}
FREE = {name: arm for name, arm in ARMS.items() if arm["skip"] != "global-learned"}
PLAIN = {"skip": "none", "mirror": False, "feed_mirror": False}


def varied(settings, arm):
    return VAESettings.model_validate(settings.model_dump() | PLAIN | arm)


def test_every_kind_has_an_arm():
    assert {arm["skip"] for arm in ARMS.values()} == SKIPS.keys() == SKIP_SETTINGS.keys()


@pytest.mark.parametrize("arm", ARMS.values(), ids=ARMS)
@pytest.mark.parametrize("colours", [3, 4])
def test_shapes_follow_the_factor_whatever_the_skip(tiny, arm, colours):
    model = VAE(varied(tiny, {"colours": colours, "channels": 8} | arm))
    x = torch.rand(2, colours, 16, 24) * 2 - 1
    z = model.encode(x)
    assert z.shape == (2, 8, 4, 6)
    assert model.decode(z).shape == x.shape


@pytest.mark.parametrize("preset", ["f16c64", "f16c128", "f32c128", "f32c192", "small", "tiny"])
def test_skips_without_parameters_leave_every_preset_as_large_as_it_is(preset):
    arms = [arm for arm in FREE.values() if "skip_channels" not in arm]
    counts = [parameter_counts(varied(PRESETS[preset], arm)) for arm in arms]
    assert counts == [parameter_counts(PRESETS[preset])] * len(arms)


def test_arms_of_one_seed_start_from_the_same_weights(tiny):
    def start(arm):
        torch.manual_seed(3)
        return VAE(varied(tiny, arm)).state_dict()

    plain = start(ARMS["none"])
    for arm in FREE.values():
        weights = start(arm)
        assert weights.keys() == plain.keys()
        differing = {n for n in plain if not torch.equal(weights[n], plain[n])}
        # Beside a codec the heads start silent.
        assert differing in (
            set(),
            {f"{part}.head.conv.weight" for part in ("encoder", "decoder")},
        )


@pytest.mark.parametrize("arm", [arm for arm in ARMS.values() if arm["skip"] != "none"])
def test_a_skip_changes_what_the_network_alone_would_say(tiny, images, arm):
    def latent(arm):
        torch.manual_seed(3)
        return VAE(varied(tiny, arm)).encode(images)

    assert not torch.allclose(latent(ARMS["none"]), latent(arm), atol=1e-3)


def test_a_mirrored_dct_starts_as_the_dct_codec(tiny, images):
    for skip in ("global-dct", "global-learned"):
        model = VAE(varied(tiny, {"skip": skip, "mirror": True}))
        torch.testing.assert_close(model(images), DCTCodec(4, 6)(images))


def test_a_mirrored_group_mean_starts_flat_in_each_group(tiny):
    model = VAE(varied(tiny, {"skip": "global", "mirror": True}))
    block = torch.rand(1, 3, 4, 4)
    mean = block.flatten(1).reshape(1, 6, 8).mean(2, keepdim=True)
    expected = mean.expand(1, 6, 8).reshape(1, 3, 4, 4)
    torch.testing.assert_close(model(block), expected)


def test_channels_the_skip_does_not_fill_belong_to_the_network(images):
    settings = VAESettings(skip="global-dct", mirror=True, skip_channels=5)
    skip = GlobalDCT(settings)
    z = skip.fold(torch.rand(1, 3, 32, 16))
    assert z.shape == (1, 64, 2, 1)
    assert z[:, :5].all()
    assert not z[:, 5:].any()
    torch.testing.assert_close(skip.mirror(z), DCTCodec(16, 5).decode(z[:, :5]))
    free = torch.zeros_like(z)
    free[:, 5:] = 1
    assert not skip.mirror(free).any()


def test_global_skip_is_the_mean_of_groups_of_the_fold(tiny):
    x = torch.arange(48.0).reshape(1, 3, 4, 4)
    skip = GlobalSkip(varied(tiny, {"skip": "global"}))
    assert skip.fold(x).flatten().tolist() == [3.5, 11.5, 19.5, 27.5, 35.5, 43.5]
    assert skip.mirror(x) is None


def test_local_shortcuts_surround_the_levels_that_change_resolution():
    model = VAE(varied(PRESETS["tiny"], {"skip": "local", "mirror": True}))
    down = [type(level.shortcut) for level in model.encoder.levels]
    up = [type(level.shortcut) for level in model.decoder.levels]
    assert down == [AverageDown] * 4 + [type(None)]
    assert up == [DuplicateUp] * 4
    assert model.decoder.finest.shortcut is None


def test_average_down_undoes_duplicate_up():
    z = torch.randn(2, 6, 3, 2)
    torch.testing.assert_close(AverageDown(3, 6, 4)(DuplicateUp(6, 3, 4)(z)), z)
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert AverageDown(1, 1, 2)(x).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


def test_fold_and_unfold_are_inverse(images):
    assert torch.equal(ChannelToSpace(4)(SpaceToChannel(4)(images)), images)


def test_widths_that_do_not_divide_are_named(tiny):
    with pytest.raises(UserError, match=r"3 channels of 4x4 pixels .* 7 equal groups; use a div"):
        VAE(varied(tiny, {"skip": "global", "channels": 7}))
    with pytest.raises(UserError, match=r"4 channels of 2x2 pixels .* 12 equal groups"):
        VAE(varied(tiny, {"skip": "local", "multipliers": [1, 3, 3], "patch": 1}))
    mirrored = {"skip": "local", "mirror": True, "multipliers": [1, 1, 3], "patch": 1}
    with pytest.raises(UserError, match="12 channels cannot be repeated evenly to 4 channels"):
        VAE(varied(tiny, mirrored))


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        (
            {"skip": "none", "mirror": True},
            "mirror=True means nothing to skip='none'; set it to False",
        ),
        ({"skip": "local", "merge": "feature"}, "choose global, global-dct, global-learned"),
        ({"skip": "global", "skip_channels": 3}, "skip_channels=3 means nothing to skip='global'"),
        ({"skip": "local", "mirror": True, "feed_mirror": True}, "feed_mirror=True means nothing"),
        ({"skip": "global", "feed_mirror": True}, "set mirror=true"),
        ({"skip": "global-dct", "skip_channels": 7}, "skip_channels=7 is more than the 6 channels"),
    ],
)
def test_settings_a_skip_does_not_take_are_refused(tiny, arm, message):
    with pytest.raises(ValidationError, match=message):
        varied(tiny, arm)


@pytest.mark.parametrize("colours", [3, 4])
def test_dct_basis_is_orthonormal_and_complete(colours):
    values = colours * 16
    basis = dct_basis(4, values, colours)
    np.testing.assert_allclose(basis @ basis.T, np.eye(values), atol=1e-6)


def test_alpha_has_waves_of_its_own():
    basis = dct_basis(4, 12, 4).reshape(12, 4, 4, 4)
    alpha, colour = basis[:, 3].any((1, 2)), basis[:, :3].any((1, 2, 3))
    assert alpha.any()
    assert (alpha ^ colour).all()


def test_the_complete_dct_loses_nothing():
    x = torch.rand(1, 3, 8, 8) * 2 - 1
    torch.testing.assert_close(DCTCodec(4, 48)(x), x, atol=1e-5, rtol=0)


def test_dct_of_a_flat_grey_image_is_its_first_coefficient():
    z = DCTCodec(4, 6).encode(torch.full((1, 3, 4, 4), 0.5))
    assert z[0, 0].item() == pytest.approx(0.5 * 3**0.5)
    assert z[0, 1:].abs().max().item() < 1e-6


def test_dct_refuses_more_channels_than_values():
    with pytest.raises(
        UserError, match="1 to 48 values; lower it, or set skip_channels to at most 48"
    ):
        dct_basis(4, 49)


@pytest.mark.parametrize("merge", ["latent", "feature"])
def test_no_six_numbers_keep_more_of_the_blocks_they_started_from(tiny, merge):
    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    x[:, 1:] = x[:, :1]
    arm = {"skip": "global-learned", "mirror": True, "merge": merge}
    skip = GlobalLearned(varied(tiny, arm))

    def error():
        return (skip.mirror(skip.fold(x)[:, :6]) - x).square().mean().item()

    before = error()
    skip.start_from([x[:2], x[2:]])
    blocks = SpaceToChannel(4)(x).movedim(1, -1).flatten(0, -2).double()
    lost = torch.linalg.eigvalsh(blocks.T @ blocks)[:-6].sum().item() / x.numel()
    assert error() == pytest.approx(lost, rel=1e-4)
    assert error() < before
