"""The objective: L1, a perceptual distance and the alignment, weighed and named.

The report's loss is L1 + lambda_lpips LPIPS + lambda_align (L_mcos + L_mdms), without KL and GAN.
Its weights and margins are published nowhere; docs/objective.md says what we chose.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from shards import Settings
from vae.objective.alignment import Alignment, AlignmentSettings
from vae.objective.balance import Branches, Pull, split
from vae.objective.lpips import LPIPS
from vae.objective.perceptual import PerceptualEffLite0
from vae.objective.teacher import Teacher
from vae.settings import VAESettings

Distance = Callable[[Tensor, Tensor], Tensor]
"""(reconstruction, image), both (b, 3, h, w) in [-1, 1] -> (b,)."""


class Weights(Settings):
    """How much each term counts, and the margins of the alignment: all that a curriculum may move.

    A weight of 0 leaves its term out, and what it needs is not even loaded. Margins run from 0,
    strict, to 2, where a hinge can never be above zero.
    """

    l1: float = Field(default=1.0, ge=0)
    perceptual: float = Field(default=0.0, ge=0)
    lpips: float = Field(default=0.0, ge=0)
    alignment: float = Field(default=0.0, ge=0)
    cosine_margin: float = Field(default=0.0, ge=0, le=2)
    distance_margin: float = Field(default=0.0, ge=0, le=2)


def l1(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Mean absolute difference of two (b, c, h, w) in [-1, 1]: a scalar, 2 at most."""
    return (reconstruction - image).abs().mean()


def cropped(
    pair: tuple[Tensor, Tensor], side: int | None, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Cut the same place of both images of each pair, (b, c, h, w), to `side` px at most.

    In channels-last order, which the convs of GPUs are made for.
    """
    h, w = pair[0].shape[2:]
    if side is None or max(h, w) <= side:
        return pair
    down, across = min(h, side), min(w, side)
    places = [(rng.integers(h - down + 1), rng.integers(w - across + 1)) for _ in pair[0]]

    def cut(images: Tensor) -> Tensor:
        cuts = [
            image[:, y : y + down, x : x + across]
            for image, (y, x) in zip(images, places, strict=True)
        ]
        return torch.stack(cuts).contiguous(memory_format=torch.channels_last)

    first, second = pair
    return cut(first), cut(second)


class Objective(nn.Module):
    """Weigh what a model made of images, by the terms that have a weight.

    It does not run the model: vae/training/step.py does. Of its parameters only the alignment's
    projection learns. LPIPS sees a random crop of images with a side above `lpips_side` px; None
    shows it all of each.
    """

    def __init__(
        self,
        *,
        perceptual: Distance | None = None,
        lpips: Distance | None = None,
        alignment: Alignment | None = None,
        lpips_side: int | None = None,
    ) -> None:
        super().__init__()
        self.perceptual, self.lpips, self.alignment = perceptual, lpips, alignment
        self.lpips_side = lpips_side

    def branches(self, z: Tensor, weights: Weights, pull: Pull | None = None) -> Branches:
        """Return the latent (b, C, i, j) as the decoder and as the alignment are to see it.

        They see the same values. With `pull` the gradient of the alignment is scaled, and both
        gradients are measured (vae/objective/balance.py).

        Raises:
            ValueError: when a weight asks for what was not given to the constructor.
        """
        self._check(weights)
        if weights.alignment and pull is not None:
            return split(z, weights.alignment, pull)
        return Branches(z, z, None)

    def forward(
        self,
        latents: Branches,
        reconstruction: Tensor,
        image: Tensor,
        weights: Weights,
        rng: np.random.Generator,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return scalars (total, {name: value, detached}) of what a model made of `image`.

        `reconstruction` and `image` are (b, colours, h, w) in [-1, 1]; `latents` come from
        `branches`. L1 counts alpha, where there is one; networks and teacher know RGB and see no
        alpha. `rng` draws crops for LPIPS and the positions of images too large to compare all
        pairs. The values are
        the terms before weighing, and of the alignment also its parts, the shares of hinges above
        zero and, where it is adaptive, its weight in effect.

        The total holds all that learns. What has no weight counts 0 times: where processes train
        together, each parameter must have a gradient.
        """
        watched: dict[str, Tensor] = {}
        terms = {"l1": l1(reconstruction, image)}
        reconstruction, image = reconstruction[:, :3], image[:, :3]
        if weights.perceptual and self.perceptual is not None:
            terms["perceptual"] = self.perceptual(reconstruction, image).mean()
        if weights.lpips and self.lpips is not None:
            seen = cropped((reconstruction, image), self.lpips_side, rng)
            terms["lpips"] = self.lpips(*seen).mean()
        if weights.alignment and self.alignment is not None:
            cosine, distance = self.alignment(
                latents.aligned, image, weights.cosine_margin, weights.distance_margin, rng
            )
            terms["alignment"] = cosine.value + distance.value
            if latents.ratio is not None:
                watched["alignment_weight"] = weights.alignment * latents.ratio
            watched |= {"mcos": cosine.value, "mcos_active": cosine.active}
            watched |= {"mdms": distance.value, "mdms_active": distance.active}
        total = image.new_zeros(())
        for name, value in terms.items():
            total = total + getattr(weights, name) * value
        if "alignment" not in terms:
            for parameter in self.learned().values():
                total = total + 0 * parameter.sum()
        return total, {name: value.detach() for name, value in (terms | watched).items()}

    def learned(self) -> dict[str, nn.Parameter]:
        """Return what is trained and saved beside the model: the projection, if there is one."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def _check(self, weights: Weights) -> None:
        for name in ("perceptual", "lpips", "alignment"):
            if getattr(weights, name) and getattr(self, name) is None:
                raise ValueError(
                    f"weights.{name} is above 0 but the objective was built without it; "
                    "build it with the largest weights of any step"
                )


def build_objective(
    weights: Weights,
    alignment: AlignmentSettings,
    model: VAESettings,
    vgg: Path | None = None,
    seed: int = 0,
    *,
    lpips_side: int | None = None,
    load: bool = True,
) -> Objective:
    """Load what the weights ask for, and nothing else; the projection starts from the seed.

    Without `load` the networks are made and their weights are not read: something to count with.

    Raises:
        UserError: when weights of a network cannot be had.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        aligned: Alignment | None = None
        if weights.alignment:
            teacher = Teacher(alignment.teacher, alignment.layer, load=load)
            aligned = Alignment(alignment, model.channels, model.factor, teacher)
        return Objective(
            perceptual=PerceptualEffLite0(load=load) if weights.perceptual else None,
            lpips=LPIPS(vgg, load=load) if weights.lpips else None,
            alignment=aligned,
            lpips_side=lpips_side,
        )
