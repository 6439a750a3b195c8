"""The model: architecture, objective, curriculum, loader, training loop, checkpoints, scores.

The only package that imports torch. `vae/model.py` is the file to read first, `vae/train.py` the
second.
"""

from vae.checkpoint import load_model
from vae.codecs import DCTCodec
from vae.curriculum import Stage
from vae.latents import measure_latents
from vae.metrics import METRICS, Mean, ned
from vae.model import VAE, VAESettings
from vae.perceptual import PerceptualEffLite0
from vae.presets import PRESETS
from vae.train import TrainSettings, fit

__all__ = [
    "METRICS",
    "PRESETS",
    "VAE",
    "DCTCodec",
    "Mean",
    "PerceptualEffLite0",
    "Stage",
    "TrainSettings",
    "VAESettings",
    "fit",
    "load_model",
    "measure_latents",
    "ned",
]
