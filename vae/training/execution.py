"""How a run is executed: what changes its speed and its memory, and no number but by rounding."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from shards import UserError
from vae.curriculum.curriculum import Curriculum
from vae.curriculum.stage import Stage, check_world
from vae.training.plan import check_fits, chosen, plan
from vae.training.ranks import Ranks
from vae.training.reductions import Reduce
from vae.training.settings import TrainSettings
from vae.training.step import Step

GRAPHS = 8
"""Of a part: of the first size and of any other, of one image and of more, kept and recomputed."""


def compile_parts(step: Step, backend: str | Callable[..., Any] = "inductor") -> None:
    """Let torch.compile make one kernel of many, a level of the model and a network at a time.

    Parts compile in minutes where the whole takes much longer, and they are what FSDP2 gathers. A
    second size of images makes them compile once more, for any size. What is not a part runs as it
    is: the draws from a numpy Generator, and the split of the latent. To be called before `wrap`.
    """
    model, objective = step.model, step.objective
    parts: list[object] = [objective.perceptual, objective.lpips]
    if objective.alignment is not None:
        parts.append(objective.alignment.teacher)
    for half in (model.encoder, model.decoder):
        parts += [half.stem, *half.levels, half.middle, half.head]
    modules = [part for part in (*parts, model.decoder.finest) if isinstance(part, nn.Module)]
    # Torch counts graphs by the code of a forward, which all parts share, and leaves what is above
    # its limit uncompiled: by default all but eight.
    limit = max(torch._dynamo.config.recompile_limit, GRAPHS * len(modules))  # pyright: ignore
    torch._dynamo.config.recompile_limit = limit  # pyright: ignore
    for module in modules:
        module.compile(backend=backend)


def recomputed(
    settings: TrainSettings,
    curriculum: Curriculum,
    ranks: Ranks,
    reduce: Reduce,
    memory: int | None = None,
) -> frozenset[str]:
    """Return the names of the stages in which blocks are computed a second time in backward.

    With "auto" a stage is among them whose step would not fit into `memory`, bytes, otherwise. It
    is that of the GPU if there is one; elsewhere nobody knows it, and nothing is recomputed.

    Raises:
        UserError: when a step does not fit in the way that its stage allows.
    """
    if memory is None and ranks.device.type == "cuda":
        memory = torch.cuda.get_device_properties(ranks.device).total_memory
    if memory is None:
        return frozenset(stage.name for stage in settings.stages if stage.recompute == "on")
    names = set[str]()
    for stretch in plan(settings, curriculum, world=ranks.world).stretches:
        mode = chosen(stretch, memory, reduce)
        check_fits(stretch, mode, memory)
        if mode.recompute:
            names.add(stretch.stage.name)
    return frozenset(names)


def reduce_on(device: str) -> Reduce:
    """Return how gradients are reduced on a type of device if nobody says: on GPUs what is fast."""
    return "fast" if device == "cuda" else "exact"


def check_shared(stages: Sequence[Stage], world: int, reduce: Reduce) -> None:
    """Raise UserError when `world` ranks cannot share a step's micro-batches, or not in this way.

    To be called before anything is written.
    """
    check_world(stages, world)
    if reduce != "exact":
        return
    if world & (world - 1):
        raise UserError(
            f"reduce=exact sums over ranks in pairs, {world} ranks are no power of two; use "
            f"{1 << world.bit_length() - 1} or {1 << world.bit_length()}, or --reduce fast"
        )
    for stage in stages:
        count = stage.batch // stage.micro
        if count & (count - 1):
            raise UserError(
                f"stage {stage.name}: reduce=exact sums micro-batches in pairs, {count} a step are "
                "no power of two; change batch or micro, or use --reduce fast"
            )
