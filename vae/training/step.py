"""One step up to its loss: what DistributedDataParallel and FSDP wrap."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from vae.model import VAE
from vae.objective.losses import Objective, Weights
from vae.training.curriculum import Knobs


class Step(nn.Module):
    """Model and objective as one module.

    Whoever wraps it must see one forward from images to the loss: gradients of a model that is
    called beside its wrapper are not added over the processes.
    """

    def __init__(self, model: VAE, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(
        self, image: Tensor, weights: Weights, rng: np.random.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Reconstruct a batch (b, colours, h, w) in [-1, 1] and weigh what became of it.

        Returns what `Objective` does: scalars (total, {name: value, detached}).

        Raises:
            ValueError: when a weight asks for a term that the objective was built without.
        """
        latents = self.objective.branches(self.model.encode(image), weights)
        reconstruction = self.model.decode(latents.decoded, (image.shape[2], image.shape[3]))
        return self.objective(latents, reconstruction, image, weights, rng)


def take(forward: Step, batches: Iterable[Tensor], knobs: Knobs, seed: int) -> dict[str, Tensor]:
    """Run the micro-batches of a step and add the mean of their gradients to the parameters'.

    `batches` yields them in order, each (b, 3, h, w) in [-1, 1]. Returns the mean over them of
    each of the objective's values and of the total, scalars.
    """
    values: dict[str, list[Tensor]] = {}
    for m, image in enumerate(batches):
        rng = np.random.default_rng([seed, knobs.n, m])
        total, terms = forward(image, knobs.weights, rng)
        (total / knobs.micro_batches).backward()
        for name, value in (terms | {"total": total.detach()}).items():
            values.setdefault(name, []).append(value)
    return {name: torch.stack(column).mean() for name, column in values.items()}
