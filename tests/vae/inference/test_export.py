import sys
import warnings

import numpy as np
import pytest
import torch

from shards import UserError
from vae import VAE, VAESettings
from vae.inference.export import export_onnx


def check(model, folder):
    """Both files in onnxruntime say what torch says, at sizes they were not exported with."""
    import onnxruntime

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of its own future
        paths = export_onnx(model, folder)
    encoder, decoder = (
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]) for path in paths
    )
    rng, f = np.random.default_rng(0), model.settings.factor
    for batch, rows, columns in ((1, 1, 1), (1, 2, 5), (3, 4, 2)):
        shape = (batch, model.settings.colours, rows * f, columns * f)
        image = rng.uniform(-1, 1, shape).astype(np.float32)
        (latent,) = encoder.run(["latent"], {"image": image})
        (back,) = decoder.run(["image"], {"latent": latent})
        with torch.no_grad():
            z = model.encode(torch.from_numpy(image))
            y = model.decode(z)
        np.testing.assert_allclose(latent, z, atol=2e-4, rtol=1e-3)
        np.testing.assert_allclose(back, y, atol=2e-4, rtol=1e-3)


def awake(settings):
    torch.manual_seed(0)
    model = VAE(settings)
    for head in (model.encoder.head, model.decoder.head):
        torch.nn.init.kaiming_uniform_(head.conv.weight)
    return model


def test_onnxruntime_says_what_torch_says_at_any_size(tiny, tmp_path):
    pytest.importorskip("onnxscript")
    check(awake(tiny), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("skip", ["local", "global"])
def test_every_kind_of_shortcut_is_exported(tmp_path, skip):
    pytest.importorskip("onnxscript")
    values = {"factor": 4, "channels": 6, "encoder_width": 4, "decoder_width": 4}
    values |= {"multipliers": (1, 1, 2), "skip": skip, "mirror": True}
    check(awake(VAESettings.model_validate(values)), tmp_path)


def test_a_missing_package_is_named_with_a_remedy(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"pip install 'nonpareil\[export\]'"):
        export_onnx(VAE(tiny), tmp_path)
