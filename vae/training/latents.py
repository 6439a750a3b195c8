"""The latents of a model in training, measured for its checkpoint."""

from math import ceil
from typing import cast

import torch

from vae.curriculum.curriculum import Knobs
from vae.data.batches import Batches
from vae.inference.latents import Moments, latent_moments, set_latents
from vae.model import VAE
from vae.pixels import as_image
from vae.training.ranks import Ranks
from vae.training.whole import whole_model


def measure(model: VAE, batches: Batches, knobs: Knobs, count: int, ranks: Ranks) -> float:
    """Measure the latents of `count` micro-batches, spread over the stage, on all ranks together.

    They are added up in the order of the steps, whoever encoded them. Returns their effective rank.
    """
    curriculum = batches.curriculum
    steps = curriculum.stretches[curriculum.stages.index(knobs.stage)]
    total = len(steps) * knobs.micro_batches
    count = min(count, total)
    places = [divmod(k * total // count, knobs.micro_batches) for k in range(count)]
    encoder = whole_model(model)
    # As many on each rank, the last one again.
    share = range(ranks.rank, ceil(len(places) / ranks.world) * ranks.world, ranks.world)
    mine: dict[int, Moments] = {}
    for k in (min(k, len(places) - 1) for k in share):
        step, m = places[k]
        pixels = batches[curriculum.start(steps[step]), m].images
        pixels = pixels.to(ranks.device, memory_format=torch.channels_last)
        mine[k] = latent_moments(encoder, as_image(pixels))
    parts = cast(list[dict[int, Moments]], ranks.gather(mine))
    moments = {k: value for part in parts for k, value in part.items()}
    return set_latents(model, [moments[k] for k in sorted(moments)])
