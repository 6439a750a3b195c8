import numpy as np
import pytest
import torch

from vae import PRESETS, VAE
from vae.layers import ResBlock

diffusers = pytest.importorskip("diffusers")
from diffusers.image_processor import VaeImageProcessor  # noqa: E402

from vae.inference.adapter import AutoencoderNonpareil  # noqa: E402


@pytest.fixture
def adapter(tiny):
    vae = VAE(tiny)
    vae.latent_mean.copy_(torch.linspace(-1, 1, 6))
    vae.latent_std.copy_(torch.linspace(0.1, 3, 6))
    return AutoencoderNonpareil.of(vae).eval()


class Pipeline(diffusers.DiffusionPipeline):
    """The last step of every text-to-image pipeline: latents to pictures."""

    def __init__(self, vae):
        super().__init__()
        self.register_modules(vae=vae)
        self.processor = VaeImageProcessor(vae_scale_factor=vae.spatial_compression_ratio)

    @torch.no_grad()
    def __call__(self, z):
        mean = torch.tensor(self.vae.config.latents_mean)[:, None, None]
        std = torch.tensor(self.vae.config.latents_std)[:, None, None]
        image = self.vae.decode(z * std + mean, return_dict=False)[0]
        return self.processor.postprocess(image, output_type="np")


def test_saved_and_loaded_it_has_the_same_bits(adapter, images, tmp_path):
    adapter.save_pretrained(tmp_path)
    assert [f.name for f in tmp_path.glob("*.safetensors")]
    loaded = AutoencoderNonpareil.from_pretrained(tmp_path)
    assert loaded.config.latents_std == adapter.config.latents_std
    assert loaded.vae.settings == adapter.vae.settings
    for name, value in adapter.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert torch.equal(loaded(images).sample, adapter(images).sample)


def test_it_says_what_the_model_says(adapter, images):
    with torch.no_grad():
        z = adapter.encode(images).latent_dist.mode()
        assert torch.equal(z, adapter.vae.encode(images))
        assert torch.equal(adapter.decode(z).sample, adapter.vae.decode(z))
        drawn = adapter(images, sample_posterior=True, generator=torch.Generator().manual_seed(0))
    assert drawn.sample.shape == images.shape


def test_a_pipeline_decodes_with_it_and_comes_back_from_disk(adapter, tmp_path):
    pipe = Pipeline(adapter)
    z = torch.randn(1, 6, 3, 5, generator=torch.Generator().manual_seed(0))
    picture = pipe(z)
    assert picture.shape == (1, 12, 20, 3)
    assert 0 <= picture.min() <= picture.max() <= 1
    pipe.save_pretrained(tmp_path)
    vae = AutoencoderNonpareil.from_pretrained(tmp_path / "vae")
    assert np.array_equal(Pipeline(vae)(z), picture)


def test_a_picture_goes_through_the_image_processor(adapter):
    processor = VaeImageProcessor(vae_scale_factor=adapter.spatial_compression_ratio)
    x = processor.preprocess(np.random.default_rng(0).random((2, 18, 26, 3), "float32"))
    assert x.shape == (2, 3, 16, 24)
    assert adapter(x).sample.shape == x.shape


def test_slicing_and_tiling_do_not_change_the_picture(adapter, images):
    x = images.tile(1, 1, 4, 4)
    with torch.no_grad():
        whole = adapter(x).sample
        adapter.enable_slicing()
        torch.testing.assert_close(adapter(x).sample, whole)
        adapter.enable_tiling(side=16)
        torch.testing.assert_close(adapter(x).sample, whole)
        adapter.disable_tiling()
        adapter.disable_slicing()
        assert torch.equal(adapter(x).sample, whole)


def test_tiles_that_do_not_fit_are_refused_at_once(adapter):
    with pytest.raises(ValueError, match="side=18 must be a multiple"):
        adapter.enable_tiling(side=18)
    assert not adapter.use_tiling


def test_gradient_checkpointing_reaches_the_blocks_and_keeps_the_gradients(adapter, images):
    gradients = []
    for switch in (adapter.enable_gradient_checkpointing, adapter.disable_gradient_checkpointing):
        switch()
        adapter.zero_grad()
        adapter(images).sample.square().mean().backward()
        gradients.append([p.grad for p in adapter.parameters() if p.grad is not None])
        blocks = [m for m in adapter.modules() if isinstance(m, ResBlock)]
        on = switch == adapter.enable_gradient_checkpointing
        assert all(block.gradient_checkpointing is on for block in blocks)
    assert all(map(torch.equal, *gradients))


def test_every_preset_fits_a_config():
    for settings in PRESETS.values():
        with torch.device("meta"):
            made = AutoencoderNonpareil(settings.model_dump(mode="json"))
        assert made.spatial_compression_ratio == settings.factor
