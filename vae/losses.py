"""The objective: L1 plus a perceptual distance, weighed and named.

The report's loss is L1 + LPIPS + alignment, without KL and without a GAN; its weights
are published nowhere. Each term is a function of two images; `Objective` adds them up.
"""

from collections.abc import Callable

from pydantic import Field
from torch import Tensor, nn

from shards import Settings
from vae.perceptual import PerceptualEffLite0


class Weights(Settings):
    """How much each term counts; 0 leaves it out, and what it needs is not even loaded."""

    l1: float = Field(default=1.0, ge=0)
    perceptual: float = Field(default=0.0, ge=0)


def l1(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Mean absolute difference of two (b, 3, h, w) in [-1, 1]: a scalar, 2 at most."""
    return (reconstruction - image).abs().mean()


class Objective(nn.Module):
    """Weigh the terms that have a weight.

    `perceptual` is any module or function (reconstruction, image) -> (b,); by default the
    embedded EfficientNet-Lite0.
    """

    def __init__(
        self, weights: Weights, perceptual: Callable[[Tensor, Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.weights = weights
        if weights.perceptual and perceptual is None:
            perceptual = PerceptualEffLite0()
        self.perceptual = perceptual

    def forward(self, reconstruction: Tensor, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (total, {term: value before weighing, detached}), scalars.

        Both arguments are (b, 3, h, w) in [-1, 1].
        """
        terms: dict[str, Tensor] = {"l1": l1(reconstruction, image)}
        if self.weights.perceptual and self.perceptual is not None:
            terms["perceptual"] = self.perceptual(reconstruction, image).mean()
        total = image.new_zeros(())
        for name, value in terms.items():
            total = total + getattr(self.weights, name) * value
        return total, {name: value.detach() for name, value in terms.items()}
