"""Is an image large, sharp and clean enough to teach fine detail?"""

from typing import Literal

import numpy as np
from pydantic import Field, PositiveInt

from filters.edges import MIN_SIDE, Gray, edge_marks, gray, richest_tiles, sharpness
from shards import RGB, Settings


class Resolution(Settings):
    """Drop images whose shorter side is below `minimum` px.

    Default 256 (our choice): the crop the first training stage takes.
    """

    kind: Literal["resolution"] = "resolution"
    minimum: PositiveInt = 256

    def score(self, pixels: RGB) -> dict[str, float]:
        """Return `short_side_px`."""
        return {"short_side_px": float(min(pixels.shape[:2]))}

    def reason(self, scores: dict[str, float]) -> str | None:
        """Decide from scores: `too_small` or None."""
        return "too_small" if scores["short_side_px"] < self.minimum else None


class Clarity(Settings):
    """Drop blurred, enlarged and shaken images.

    `minimum` is the least sharpness in [0, 1] of the sharpest of the richest tiles, see
    `filters.edges.sharpness`. The default is a first calibration on few photographs, see WEIGHTS
    there.

    Where no tile has MIN_EDGE_PIXELS there is no evidence of blur or of sharpness. Such an image
    (fog, a blank wall, a photograph blurred beyond recognition) is dropped as `flat` unless
    `flat = "keep"`: it has no edge that a model could learn to keep, and smooth areas are
    plentiful in the images that stay. The reason is apart from `blurry` because nothing was
    found wrong with it.
    """

    kind: Literal["clarity"] = "clarity"
    minimum: float = Field(default=0.3, ge=0, le=1)
    flat: Literal["drop", "keep"] = "drop"

    def score(self, pixels: RGB) -> dict[str, float]:
        """Return `sharpness` with its three parts, or nothing where there is no evidence."""
        judged = [marks for tile in richest_tiles(gray(pixels)) if (marks := edge_marks(tile))]
        if not judged:
            return {}
        best = max(judged, key=sharpness)
        scores = {"sharpness": sharpness(best), **best._asdict()}
        return {name: round(float(score), 4) for name, score in scores.items()}

    def reason(self, scores: dict[str, float]) -> str | None:
        """Decide from scores: `blurry`, `flat` or None."""
        if "sharpness" not in scores:
            return "flat" if self.flat == "drop" else None
        return "blurry" if scores["sharpness"] < self.minimum else None


class Compression(Settings):
    """Drop images with the 8 px grid of strong JPEG compression, also after a crop or re-save.

    `maximum` bounds `blockiness`, in octaves. The default is a first calibration on 85 crops of
    17 photographs reduced to 0.4-0.6, set where none of the clean, enlarged, q95, q90 and q85
    copies is dropped: q75 22 %, q60 72 % and q30 99 % are, also when cropped off the grid, 64 %
    when that crop is saved again at q95. The grid is gone when an image was resized after
    compression (q30 then 0 %), and does not show on pages of text, which ring instead.
    """

    kind: Literal["compression"] = "compression"
    maximum: float = Field(default=0.35, ge=0)

    def score(self, pixels: RGB) -> dict[str, float]:
        """Return `blockiness`."""
        return {"blockiness": round(blockiness(gray(pixels)), 4)}

    def reason(self, scores: dict[str, float]) -> str | None:
        """Decide from scores: `blocky` or None."""
        return "blocky" if scores["blockiness"] > self.maximum else None


MASKING = 4.0
"""Grey levels added to both sides of the ratio, so that a grid too faint to be seen does not
count. Of 0.25 to 4, the one that best told q60 from q85: with less, q90 skies scored as q60."""


def blockiness(luma: Gray) -> float:
    """Measure the 8 px grid: how much one phase of 8 stands out, in octaves from 0.

    At each boundary between neighbours, the step in excess of its two neighbours' mean,
    |2 d(x) - d(x-1) - d(x+1)| / 2, averaged down the column; the median over the columns of each
    phase of 8; the log2 of the largest phase over the largest of those not next to it. The
    lesser of both axes, so that columns of text or window frames, a grid in one, do not count.
    Taking the best phase makes it blind to where a crop began; taking the second instead of the
    mean, to the grid of 2 px that enlarging leaves. Our choice, after the second-difference
    measures of JPEG blocking (e.g. Wang, Bovik and Evans 2000). 0 below MIN_SIDE.
    """
    if min(luma.shape) < MIN_SIDE:
        return 0.0
    return max(0.0, min(_grid(luma), _grid(np.ascontiguousarray(luma.T))))


def _grid(luma: Gray) -> float:
    step = np.diff(luma.astype(np.int16), axis=1)
    excess = np.abs(2 * step[:, 1:-1] - step[:, :-2] - step[:, 2:]).mean(axis=0) / 2
    phases = np.array([np.median(excess[phase::8]) for phase in range(8)])
    best = int(phases.argmax())
    others = max(phases[(best + apart) % 8] for apart in range(2, 7))
    return float(np.log2((phases[best] + MASKING) / (others + MASKING)))
