"""The alignment of latents with a frozen teacher.

Two terms (report, L_mcos and L_mdms; after VA-VAE, arXiv 2501.01423) over the N = i j positions of
an image. z' = W z is the latent brought to the teacher's width by a learned W, f the feature there:

    L_mcos = 1/N   sum_p   relu(1 - cos(z'_p, f_p) - m_cos)
    L_mdms = 1/N^2 sum_p,q relu(|cos(z'_p, z'_q) - cos(f_p, f_q)| - m_dist)

The first pulls every latent towards its feature. The second makes two latents as similar as their
features are. The bars are part of the formula: without them latents less similar than their
features would cost nothing.
"""

from typing import Literal, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from shards import Settings
from shards.places import NameOrPlace
from vae.objective.teacher import Teacher
from vae.sizes import pad

BLOCK = 256
"""Rows of the N x N similarities that exist at a time."""

CELL = 16
"""Pixels a side of the cell that becomes one patch of the teacher, 14 px; a latent's at f16."""

SOFT = 1e-3
"""Added in square to a vector's length, so that a latent near zero has a finite gradient."""


class AlignmentSettings(Settings):
    """What latents are aligned with, and how.

    `teacher` is a hub id or a folder, `layer` the block whose output counts (None: the middle one,
    12 of DINOv2-L's 24). `match` says how its grid is brought to that of the latents where they
    differ: the `features` are averaged over a latent's pixels, the `latents` are interpolated, or
    the teacher's `input` is resized. For f16 the three are the same. For f32 the teacher would see
    an `input` of half the size and too little in it, so `features` is the default (our choice).

    `adaptive` scales the alignment's gradient to `weights.alignment` times the reconstruction's, by
    a factor of `cap` at most; otherwise the weight counts as it stands. As margins loosen, fewer
    hinges stay above zero. Without the cap those few would be pulled as hard as all were before
    (our choice).

    Up to `exact` positions (an image of 1024 px at f16) all pairs are compared. Of more positions
    `sampled` random ones are, with each other.
    """

    teacher: NameOrPlace = "facebook/dinov2-large"
    layer: int | None = Field(default=None, ge=1)
    match: Literal["features", "latents", "input"] = "features"
    adaptive: bool = True
    cap: float = Field(default=100.0, gt=0)
    exact: int = Field(default=4096, ge=2)
    sampled: int = Field(default=2048, ge=2)

    @model_validator(mode="after")
    def _a_sample_is_a_part(self) -> Self:
        if self.sampled > self.exact:
            raise ValueError(
                f"sampled={self.sampled} is more than exact={self.exact}: images that are sampled "
                "may have fewer positions than that; lower sampled or raise exact"
            )
        return self


class Hinge(NamedTuple):
    """A mean of hinges, and the share of them above zero: those that still pull."""

    value: Tensor
    active: Tensor


def mcos(z: Tensor, features: Tensor, margin: float) -> Hinge:
    """L_mcos of (b, d, i, j) and (b, d, i, j): 0 to 2, the mean over images; float32 or better.

    Raises:
        ValueError: when the shapes differ.
    """
    if z.shape != features.shape:
        raise ValueError(f"latents {tuple(z.shape)} and features {tuple(features.shape)} differ")
    gap = 1 - (_unit(z) * _unit(features)).sum(1) - margin
    return Hinge(gap.relu().mean(), _share(gap))


def mdms(z: Tensor, features: Tensor, margin: float, *, block: int = BLOCK) -> Hinge:
    """L_mdms of (b, d, i, j) and (b, e, i, j): 0 to 2, the mean over images; float32 or better.

    The N x N similarities are computed `block` rows at a time, and once more in the backward pass.
    That takes O(block N) memory beside the (d + e) N of the inputs and gives the same sum.

    Raises:
        ValueError: when the grids differ.
    """
    if (z.shape[0], *z.shape[2:]) != (features.shape[0], *features.shape[2:]):
        raise ValueError(f"latents {tuple(z.shape)} and features {tuple(features.shape)} differ")
    return _mdms(z.flatten(2), features.flatten(2), margin, block)


def mdms_sampled(
    z: Tensor, features: Tensor, margin: float, count: int, rng: np.random.Generator
) -> Hinge:
    """Estimate L_mdms from the pairs among `count` random positions of each image, without bias.

    A position paired with itself costs nothing. Of all N^2 pairs N are such, of a sample's K^2
    pairs K, which is a larger part; the factor below corrects for it.
    """
    n = z.shape[2] * z.shape[3]
    chosen = np.stack([rng.choice(n, count, replace=False) for _ in range(len(z))])
    # A few kilobytes: CUDA keeps a copy of them and nobody waits.
    index = torch.from_numpy(chosen).to(z.device, non_blocking=True)[:, None]
    z, features = (x.flatten(2).take_along_dim(index, 2) for x in (z, features))
    value, active = _mdms(z, features, margin, BLOCK)
    unbiased = (n - 1) / n * count / (count - 1)
    return Hinge(value * unbiased, active * unbiased)


class Alignment(nn.Module):
    """Both terms, with the teacher and the learned W; only W is trained and saved.

    For latents of `channels` channels and `factor` px a side. `teacher` stands in for the one that
    the settings name.
    """

    def __init__(
        self,
        settings: AlignmentSettings,
        channels: int,
        factor: int,
        teacher: Teacher | None = None,
    ) -> None:
        super().__init__()
        self.settings, self.factor = settings, factor
        self.teacher = teacher or Teacher(settings.teacher, settings.layer)
        self.projection = nn.Conv2d(channels, self.teacher.width, 1, bias=False)

    def forward(
        self,
        z: Tensor,
        image: Tensor,
        cosine_margin: float,
        distance_margin: float,
        rng: np.random.Generator,
    ) -> tuple[Hinge, Hinge]:
        """Return (mcos, mdms) of latents (b, C, i, j) and their images (b, 3, h, w) in [-1, 1]."""
        z, features = self.matched(z, image)
        # Cosines of bfloat16 vectors are off by more than a strict margin.
        with torch.autocast(z.device.type, enabled=False):
            projected = self.projection(z.float())
            cosine = mcos(projected, features, cosine_margin)
            if z.shape[2] * z.shape[3] <= self.settings.exact:
                return cosine, mdms(projected, features, distance_margin)
            count = self.settings.sampled
            return cosine, mdms_sampled(projected, features, distance_margin, count, rng)

    def matched(self, z: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return latents (b, C, u, v) and features (b, d, u, v) on one grid.

        The teacher sees the image padded to whole latents, as the encoder did.
        """
        image = pad(image, self.factor)
        latents = (z.shape[2], z.shape[3])
        if self.settings.match == "input":
            return z, self.teacher(image, latents)
        i, j = (max(round(n * self.factor / CELL), 1) for n in latents)
        features = self.teacher(image, (i, j))
        if self.settings.match == "latents":
            return functional.interpolate(z, (i, j), mode="bilinear"), features
        return z, functional.interpolate(features, latents, mode="area")


def _unit(x: Tensor) -> Tensor:
    """(b, d, ...) -> the same in unit length over d, in float32 at least."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    return x * torch.rsqrt(x.square().sum(1, keepdim=True) + SOFT**2)


def _share(gap: Tensor) -> Tensor:
    return (gap.detach() > 0).float().mean()


def _mdms(z: Tensor, features: Tensor, margin: float, block: int) -> Hinge:
    """L_mdms of (b, d, n) and (b, e, n)."""
    b, _, n = z.shape
    z, features = (_unit(x).mT for x in (z, features))
    blocks = list(zip(z.split(block, 1), features.split(block, 1), strict=True))
    sums = z.new_zeros(2)
    for rows in blocks:
        if len(blocks) == 1:
            sums = sums + _pairs(*rows, z, features, margin)
        else:
            sums = sums + checkpoint(
                _pairs, *rows, z, features, margin, use_reentrant=False, preserve_rng_state=False
            )
    value, active = sums / (b * n * n)
    return Hinge(value, active.detach())


def _pairs(
    rows: Tensor, feature_rows: Tensor, z: Tensor, features: Tensor, margin: float
) -> Tensor:
    """Return [sum of hinges, number above zero] of (b, m, d), (b, m, e) against (b, n, ...)."""
    gap = (rows @ z.mT - feature_rows @ features.mT).abs() - margin
    return torch.stack([gap.relu().sum(), (gap.detach() > 0).sum().to(gap.dtype)])
