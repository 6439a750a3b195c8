"""One micro-batch up to its loss, and a step of them up to its gradient."""

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vae.curriculum.curriculum import Knobs
from vae.data.batch import Batch
from vae.data.em import text_sums
from vae.model import VAE
from vae.objective.balance import Balance, Pull
from vae.objective.losses import Objective, Weights
from vae.pixels import as_image
from vae.training.reductions import Reduction

Precision = Literal["float32", "bfloat16"]
"""What convs and matrix products are computed in. Weights, sums of gradients, moments and the
cosines of the alignment are float32 in both."""


class Step(nn.Module):
    """Model and objective as one module.

    Whoever wraps it must see one forward from images to the loss: gradients of a model that is
    called beside its wrapper are not added over the processes.
    """

    def __init__(self, model: VAE, objective: Objective, precision: Precision = "float32") -> None:
        super().__init__()
        self.model, self.objective, self.precision = model, objective, precision

    def forward(
        self,
        images: Tensor,
        weights: Weights,
        rng: np.random.Generator,
        pull: Pull | None = None,
        em: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Reconstruct images (b, colours, h, w), uint8 or in [-1, 1], and weigh what became of it.

        `pull` makes the weight of the alignment adaptive. Returns what `Objective` does: scalars
        (total, {name: value, detached}), and with `em`, a map of the em, the sums of
        `text_sums` among them.

        Raises:
            ValueError: when a weight asks for a term that the objective was built without.
        """
        image = as_image(images)
        lower = torch.autocast(images.device.type, torch.bfloat16)
        with lower if self.precision == "bfloat16" else nullcontext():
            latents = self.objective.branches(self.model.encode(image), weights, pull)
            reconstruction = self.model.decode(latents.decoded, (image.shape[2], image.shape[3]))
            total, terms = self.objective(latents, reconstruction, image, weights, rng)
        return total, terms if em is None else terms | text_sums(reconstruction, image, em)


class Outcome(NamedTuple):
    """What a step came to, the same on all ranks, on the device; nothing has been read back.

    `terms` (M, len(names)) float32 are those of each micro-batch of the step, `total` the last.
    `norm` is that of the gradient of the model before clipping, `learned` of what the objective
    learns. `squares` is what `Balance` keeps of the step; None where no weight is adaptive.
    """

    names: tuple[str, ...]
    terms: Tensor
    norm: Tensor
    learned: Tensor
    squares: Tensor | None

    @property
    def losses(self) -> Tensor:
        """The total of each micro-batch, (M,)."""
        return self.terms[:, -1]

    @property
    def gradient(self) -> Tensor:
        """The norm, which is finite only where that of what the objective learns is, too."""
        return self.norm + 0 * self.learned

    def values(self) -> dict[str, Tensor]:
        """Return the means over the micro-batches by name, and the norm: scalars."""
        means = dict(zip(self.names, self.terms.mean(0), strict=True))
        return means | {"gradient_norm": self.norm}


def take(
    reduction: Reduction,
    batches: Iterable[Batch],
    knobs: Knobs,
    seed: int,
    balance: Balance | None = None,
) -> Outcome:
    """Leave the gradient of a step, the mean over its micro-batches, at the parameters.

    `batches` are those of this rank's part, in order. With `balance` the
    weight of the alignment is adaptive, by the steps before this one; where there is none the step
    is run twice, and measured the first time.
    """
    if balance is not None and not knobs.weights.alignment:
        balance.forget()
    adaptive = balance if knobs.weights.alignment else None
    if adaptive is not None and not adaptive.measured:
        batches = list(batches)
        first = _run(reduction, batches, knobs, seed, adaptive)
        assert first.squares is not None, "an adaptive step is measured"
        adaptive.begin(first.squares)
    return _run(reduction, batches, knobs, seed, adaptive)


def _run(
    reduction: Reduction,
    batches: Iterable[Batch],
    knobs: Knobs,
    seed: int,
    balance: Balance | None,
) -> Outcome:
    ranks = reduction.ranks
    part = ranks.part(knobs.micro_batches)
    ratio = None if balance is None else balance.ratio()
    rows: list[Tensor] = []
    names: tuple[str, ...] = ()
    reduction.begin(knobs.micro_batches)
    for m, batch in zip(part, batches, strict=True):
        rng = np.random.default_rng([seed, knobs.n, m])
        pull = None if ratio is None else Pull(ratio, ratio.new_full((2,), torch.nan))
        images = batch.images.to(ranks.device, memory_format=torch.channels_last, non_blocking=True)
        em = None if batch.em is None else batch.em.to(ranks.device, non_blocking=True)
        total, terms = reduction.run(images, knobs.weights, rng, pull, em, last=m == part[-1])
        terms |= {"total": total}
        names = tuple(terms)
        row = torch.stack([value.float() for value in terms.values()])
        # The gradient of a mean over b images is a b-th of each one's.
        rows.append(row if pull is None else torch.cat([row, len(images) * pull.squares]))
    # One exchange for all that is measured; added up in the same order on every rank.
    measured = ranks.rows(torch.stack(rows))
    norm, learned = reduction.end()
    squares = None if balance is None else measured[:, len(names) :].mean(0)
    return Outcome(names, measured[:, : len(names)], norm, learned, squares)
