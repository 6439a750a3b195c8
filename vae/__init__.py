"""The model: architecture, objective, curriculum, loader, training loop, checkpoints, scores.

The only package that imports torch. `vae/model.py` is the file to read first, `vae/train.py` the
second.
"""

from vae.checkpoint import load_model
from vae.codecs import DCTCodec
from vae.curriculum import Stage
from vae.metrics import METRICS, Mean, ned
from vae.model import PRESETS, VAE, VAESettings
from vae.perceptual import PerceptualEffLite0
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
    "ned",
]
