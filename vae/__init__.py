"""The model: architecture, objective, curriculum, loader, training loop, checkpoints, scores.

The only package that imports torch. `vae/model.py` is the file to read first, `vae/train.py` the
second.
"""

from vae.alignment import AlignmentSettings, mcos, mdms
from vae.checkpoint import load_model
from vae.codecs import DCTCodec
from vae.curriculum import Stage
from vae.latents import measure_latents
from vae.losses import Objective, Weights
from vae.lpips import LPIPS
from vae.metrics import METRICS, Mean, ned
from vae.model import VAE, VAESettings
from vae.perceptual import PerceptualEffLite0
from vae.presets import PRESETS
from vae.train import TrainSettings, fit

__all__ = [
    "LPIPS",
    "METRICS",
    "PRESETS",
    "VAE",
    "AlignmentSettings",
    "DCTCodec",
    "Mean",
    "Objective",
    "PerceptualEffLite0",
    "Stage",
    "TrainSettings",
    "VAESettings",
    "Weights",
    "fit",
    "load_model",
    "mcos",
    "mdms",
    "measure_latents",
    "ned",
]
