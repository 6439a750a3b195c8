"""The weights that come with the package: whole, findable, and worth having."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from render import Renderer, RenderSettings
from shards import UserError
from vae import PRESETS, DCTCodec, load_model, to_image
from vae.metrics import psnr
from vae.training.checkpoint import PUBLISHED, newest, published

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", published())
def test_a_published_model_is_whole_and_is_packed(name):
    checkpoint = newest(name).verify()
    assert checkpoint.header.model == PRESETS[name]
    model = load_model(name)
    assert not model.training
    assert model.latent_std.tolist() == pytest.approx(checkpoint.header.latent_std)
    packed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert any(
        file.match(f"{PUBLISHED.parent}/{pattern}")
        for file in (PUBLISHED / name).iterdir()
        for pattern in packed["package-data"]["*"]
    )


def test_nano_is_ahead_of_the_dct_codec_on_pages_of_a_seed_of_their_own():
    model, codec = load_model("nano"), DCTCodec(16, 64).eval()
    renderer = Renderer(RenderSettings(width=128, height=128, size_px=(8, 20)), seed=77)
    gains = []
    for number in range(4):
        pixels = renderer.sample(number).pixels()
        with torch.inference_mode():
            x = to_image(pixels)[None]
            model_db, codec_db = (psnr(each(x) / 2, x / 2).item() for each in (model, codec))
        gains.append(model_db - codec_db)
    assert np.mean(gains) > 1.5


def test_a_folder_of_that_name_is_given_with_its_dot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nano").mkdir()
    load_model("nano")
    with pytest.raises(UserError, match="no good checkpoint"):
        load_model("./nano")
