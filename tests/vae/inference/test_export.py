import sys
import warnings

import numpy as np
import pytest
import torch

from shards import UserError
from tests.vae.conftest import TINY
from vae import VAE, VAESettings
from vae.inference.export import export_onnx


def say_the_same(model, folder):
    """Both files in onnxruntime say what torch says, at sizes they were not exported with."""
    import onnxruntime

    encoder, decoder = (
        onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
        for name in ("encoder.onnx", "decoder.onnx")
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"skip": "local", "feed_mirror": False},
        {"skip": "global", "feed_mirror": False, "multipliers": (1, 1, 2), "patch": 1},
    ],
)
def test_every_kind_of_shortcut_is_exported(tmp_path, change):
    """That of a trained model, global-learned, is in tests/pipelines/test_export.py."""
    pytest.importorskip("onnxscript")
    model = awake(VAESettings.model_validate(TINY | change))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of its own future
        export_onnx(model, tmp_path)
    say_the_same(model, tmp_path)


def test_a_missing_package_is_named_with_a_remedy(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"pip install 'nonpareil\[export\]'"):
        export_onnx(VAE(tiny), tmp_path)
