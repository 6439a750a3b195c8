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
from vae.model import VAE
from vae.objective.alignment import Alignment, AlignmentSettings, balance
from vae.objective.lpips import LPIPS
from vae.objective.perceptual import PerceptualEffLite0

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


class Objective(nn.Module):
    """Run a model and weigh the terms that have a weight.

    Of its parameters only the alignment's projection learns.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        perceptual: Distance | None = None,
        lpips: Distance | None = None,
        alignment: Alignment | None = None,
    ) -> None:
        super().__init__()
        self.weights = weights
        self.perceptual, self.lpips, self.alignment = perceptual, lpips, alignment

    def forward(
        self, model: VAE, image: Tensor, rng: np.random.Generator, weights: Weights | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return scalars (total, {name: value, detached}) of a batch (b, colours, h, w) in [-1, 1].

        L1 counts alpha, where there is one; networks and teacher know RGB and see no alpha.
        `rng` draws the positions of images too large to compare all pairs. `weights` stands in for
        the objective's own for this step. The values are the terms before weighing, and of the
        alignment also its parts, the shares of hinges above zero and, where it is adaptive, its
        effective weight, which the backward pass fills in.

        Raises:
            ValueError: when a weight asks for what was not given to the constructor.
        """
        at = self.weights if weights is None else weights
        self._check(at)
        alignment = self.alignment if at.alignment else None
        watched: dict[str, Tensor] = {}
        z = aligned = model.encode(image)
        if alignment is not None and alignment.settings.adaptive:
            z, aligned, effective = balance(z, at.alignment, alignment.settings.cap)
            watched["alignment_weight"] = effective
        reconstruction = model.decode(z, (image.shape[2], image.shape[3]))
        terms = {"l1": l1(reconstruction, image)}
        reconstruction, image = reconstruction[:, :3], image[:, :3]
        if at.perceptual and self.perceptual is not None:
            terms["perceptual"] = self.perceptual(reconstruction, image).mean()
        if at.lpips and self.lpips is not None:
            terms["lpips"] = self.lpips(reconstruction, image).mean()
        if alignment is not None:
            cosine, distance = alignment(aligned, image, at.cosine_margin, at.distance_margin, rng)
            terms["alignment"] = cosine.value + distance.value
            watched |= {"mcos": cosine.value, "mcos_active": cosine.active}
            watched |= {"mdms": distance.value, "mdms_active": distance.active}
        total = image.new_zeros(())
        for name, value in terms.items():
            total = total + getattr(at, name) * value
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
    model: VAE,
    vgg: Path | None = None,
    seed: int = 0,
) -> Objective:
    """Load what the weights ask for, and nothing else; the projection starts from the seed.

    Raises:
        UserError: when weights of a network cannot be had.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Objective(
            weights,
            perceptual=PerceptualEffLite0() if weights.perceptual else None,
            lpips=LPIPS(vgg) if weights.lpips else None,
            alignment=Alignment(alignment, model.settings.channels, model.settings.factor)
            if weights.alignment
            else None,
        )
