"""A run as it is before its first step: model, objective and optimizer, from settings and seed."""

import torch

from vae.model import VAE
from vae.objective.balance import Balance
from vae.objective.losses import Objective, build_objective
from vae.training.average import Average
from vae.training.execution import compile_parts
from vae.training.guard import Guard
from vae.training.ranks import ALONE, Ranks
from vae.training.reductions import Reduce, wrap
from vae.training.settings import TrainSettings
from vae.training.start import freeze
from vae.training.state import State
from vae.training.step import Step


def begin(settings: TrainSettings, ranks: Ranks = ALONE, reduce: Reduce = "exact") -> State:
    """Build model, objective and optimizer as they are before the first step."""
    model = build(settings).to(ranks.device)
    freeze(model, settings.train)
    objective = build_objective(
        settings.largest_weights(),
        settings.alignment,
        model.settings,
        settings.vgg,
        settings.seed,
        lpips_side=settings.lpips_side,
    ).to(ranks.device)
    step = Step(model, objective, settings.precision)
    if settings.compile:
        compile_parts(step)
    # Of a frozen encoder the alignment moves nothing that could be balanced.
    adaptive = settings.alignment.adaptive and settings.train != "decoder"
    balanced = adaptive and objective.alignment is not None
    return State(
        model,
        objective,
        wrap(reduce, step, ranks),  # before the optimizer: it may exchange the parameters
        build_optimizer(model, objective, settings),
        Balance(settings.alignment.cap, ranks.device) if balanced else None,
        Guard(settings.guard, ranks.device),
        Average(model, settings.average) if settings.average else None,
    )


def build(settings: TrainSettings) -> VAE:
    """Build the model; its start weights follow from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return VAE(settings.model())


def build_optimizer(model: VAE, objective: Objective, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW in groups: the network, the skip at `skip_rate`, what the objective learns.

    What is frozen is in none of them and has no moments.
    """
    scaled = [
        ([*model.encoder.parameters(), *model.decoder.parameters()], 1.0),
        ([*model.skip.parameters()], settings.skip_rate),
        ([*objective.learned().values()], 1.0),
    ]
    groups = [
        {"params": [p for p in parameters if p.requires_grad], "scale": scale}
        for parameters, scale in scaled
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.rate.peak,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=True,
    )
