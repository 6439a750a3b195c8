import pytest
import torch

from shards import UserError
from vae import VAE, fit, load_model, measure_latents
from vae.data.batches import Batches, open_streams, sizes_of
from vae.pixels import as_image
from vae.training.retention import CheckpointSettings


def test_mean_and_std_are_those_of_every_latent_position(tiny):
    model = VAE(tiny)
    batches = [torch.rand(2, 3, 8, 12) * 2 - 1, torch.rand(1, 3, 5, 7) - 0.5]
    assert not model.latent_mean.any()
    assert (model.latent_std == 1).all()
    measure_latents(model, batches)
    with torch.no_grad():
        z = torch.cat([model.encode(batch).transpose(0, 1).flatten(1) for batch in batches], 1)
    assert z.shape == (6, 2 * 2 * 3 + 2 * 2)
    torch.testing.assert_close(model.latent_mean, z.mean(1))
    torch.testing.assert_close(model.latent_std, z.std(1, correction=0))


def test_a_channel_that_never_varies_has_std_0(tiny):
    model = VAE(tiny)
    measure_latents(model, [torch.full((1, 3, 8, 8), 0.3)])
    assert (model.latent_std < 1e-6).all()


def test_no_images_are_named(tiny):
    with pytest.raises(UserError, match="no images to measure"):
        measure_latents(VAE(tiny), [])


def test_every_checkpoint_has_measured_its_latents_on_its_stage(settings, streams, tmp_path):
    settings = settings.model_copy(
        update={"latent_batches": 4, "checkpoint": CheckpointSettings(keep=9)}
    )
    fit(settings, streams, tmp_path / "out")
    readers = open_streams(streams, settings.stages)
    batches = Batches(readers, settings.curriculum(sizes_of(readers)))
    for name, places in {
        "step-000003": [(n, 0) for n in (0, 4, 8, 12)],
        "step-000006": [(n, 0) for n in (16, 18, 20, 22)],
        "step-000008": [(n, 0) for n in (16, 18, 20, 22)],
    }.items():
        model = load_model(tmp_path / "out" / name)
        held = model.latent_mean.clone(), model.latent_std.clone()
        measure_latents(model, [as_image(batches[place].images) for place in places])
        torch.testing.assert_close(held, (model.latent_mean, model.latent_std))
