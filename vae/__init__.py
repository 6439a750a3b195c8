"""The model: architecture, objective, curriculum, loader, training loop, checkpoints, scores.

The only package that imports torch. `vae/model.py` is the file to read first,
`vae/training/train.py` the second.
"""

from vae.codecs import DCTCodec
from vae.curriculum.stage import Stage
from vae.data.em import size_class
from vae.inference.latents import measure_latents
from vae.metrics import METRICS, Mean, ned
from vae.model import VAE
from vae.objective.alignment import AlignmentSettings, mcos, mdms
from vae.objective.losses import Objective, Weights
from vae.objective.lpips import LPIPS
from vae.objective.perceptual import PerceptualEffLite0
from vae.pixels import to_image, to_pixels
from vae.presets import PRESETS
from vae.settings import VAESettings
from vae.training.checkpoint import load_model
from vae.training.settings import TrainSettings
from vae.training.step import Step
from vae.training.train import fit

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
    "Step",
    "TrainSettings",
    "VAESettings",
    "Weights",
    "fit",
    "load_model",
    "mcos",
    "mdms",
    "measure_latents",
    "ned",
    "size_class",
    "to_image",
    "to_pixels",
]
