"""The adaptive weight: how hard the alignment pulls the latent, beside the reconstruction.

VA-VAE (arXiv 2501.01423) finds the norms of both gradients in every step, by two more backward
passes, and each process finds its own. Here the backward pass of a step reads both norms as it
passes the latent, and the ratio in force is that of their running means over past steps. So it is
known before a step begins, needs no pass and no exchange of its own, and does not depend on how the
images of a step are divided.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

HALF_LIFE = 8
"""Steps after which a measured norm counts half.

Our choice: it foretells the ratio of the next step well. From step 100 to 500 of nano on batches of
4 photographs the logarithm of that ratio was off by 0.42 (root mean square), as with 4, by 0.45
with a half-life of 1 and by 0.52 with 128. In the first 100 steps shorter ones did better."""


class Pull(NamedTuple):
    """`ratio`, a scalar, scales the alignment's gradient; backward fills `squares` (2,).

    They are the squared norms of the gradients that reached the latent from the reconstruction and
    from the alignment, the latter before its weight and the ratio.
    """

    ratio: Tensor
    squares: Tensor


class Branches(NamedTuple):
    """One latent (b, C, i, j) twice: as the decoder sees it, and as the alignment does.

    `ratio`, a scalar, scales the gradient of the second; None where the weight is fixed.
    """

    decoded: Tensor
    aligned: Tensor
    ratio: Tensor | None


def split(z: Tensor, weight: float, pull: Pull) -> Branches:
    """Split a latent in two, so that the gradient of the second branch counts `pull.ratio` times.

    The second branch must enter the loss times `weight`, which is above 0. The norms are taken at
    the encoder's output, where VA-VAE takes them at its last weights: that needs no knowledge of
    the encoder.

    The gradient of W does not pass through the split and is not scaled; to Adam that is the same.
    """
    decoded, aligned = _Split.apply(z, weight, *pull)  # pyright: ignore[reportGeneralTypeIssues]
    return Branches(decoded, aligned, pull.ratio)


class Balance:
    """Running means of both squared norms, on `device`, and the ratio that follows from them.

    A step's norms are those of an image's gradient: the squared norm is its mean over the images
    of the step. Means of both start from 0 with the same weights, so their ratio has no bias.

    `measured` is False while there is no step to go by: at first, and after `forget`. Then a step
    must be looked at before it is taken.
    """

    def __init__(self, cap: float, device: torch.device | str = "cpu") -> None:
        self.cap, self.measured = cap, False
        self._means = torch.zeros(2, device=device)

    def ratio(self) -> Tensor:
        """Return what brings the alignment's norm to the reconstruction's, `cap` at most."""
        # A dead alignment divides 0 by the smallest number, not by 0.
        tiny = torch.finfo(self._means.dtype).tiny
        return (self._means[0] / self._means[1].clamp_min(tiny)).sqrt().clamp_max(self.cap)

    def begin(self, squares: Tensor) -> None:
        """Go by one step, measured before it is taken; one without finite norms is no measure."""
        self.measured = bool(squares.isfinite().all())
        if self.measured:
            self._means = squares * _share()

    def update(self, squares: Tensor, bad: Tensor | bool = False) -> None:
        """Add the squared norms (2,) of a step, unless it is `bad`, a flag on the device."""
        keep = torch.as_tensor(bad, device=squares.device).bool()
        moved = self._means.lerp(squares, _share())
        self._means = torch.where(keep, self._means, moved)

    def forget(self) -> None:
        """Go by no step: the alignment is off."""
        self._means, self.measured = torch.zeros_like(self._means), False

    def state(self) -> dict[str, float]:
        """Return what a checkpoint must hold."""
        reconstruction, alignment = self._means.tolist()
        measured = float(self.measured)
        return {"reconstruction": reconstruction, "alignment": alignment, "measured": measured}

    def restore(self, state: Mapping[str, float]) -> None:
        """Go on from what `state` returned."""
        values = [state["reconstruction"], state["alignment"]]
        self._means = torch.tensor(values, device=self._means.device)
        self.measured = bool(state["measured"])


def _share() -> float:
    return 1 - 0.5 ** (1 / HALF_LIFE)


class _Split(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, z: Tensor, weight: float, ratio: Tensor, squares: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.weight, ctx.ratio, ctx.squares = weight, ratio, squares
        return z.view_as(z), z.view_as(z)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, None, None, None]:
        decoder, alignment = gradients
        ctx.squares.copy_(torch.stack([g.float().square().sum() for g in gradients]))
        ctx.squares[1].div_(ctx.weight**2)
        return decoder + ctx.ratio * alignment, None, None, None
