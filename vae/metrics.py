"""Scores of a reconstruction, as OmniDoc-TokenBench takes them.

PSNR and SSIM compare images (b, 3, h, w) in [0, 1] and give one value per image; NED compares two
readings of the same image. A mean leaves out values that are not finite and counts them.
"""

import math
from collections.abc import Callable, Iterable

from rapidfuzz.distance import Levenshtein
from torch import Tensor


def psnr(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, (b,), of (b, 3, h, w) in [0, 1]; inf for equal images."""
    return -10 * (reconstruction - image).square().mean((1, 2, 3)).log10()


def ssim(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Structural similarity, (b,), of (b, 3, h, w) in [0, 1]; 1 for equal images.

    piq's, with its 11 px window and without downsampling. Sides below 11 px are an error of piq.
    """
    # piq imports torchvision, which takes a second.
    import piq

    values = piq.ssim(
        reconstruction.clamp(0, 1), image.clamp(0, 1), downsample=False, reduction="none"
    )
    assert isinstance(values, Tensor)
    return values


def ned(reference: str, hypothesis: str) -> float | None:
    """Return 1 - Levenshtein distance / longer length: 1 for equal readings.

    Raw strings, nothing normalised. None when the reference is empty: such an image is skipped.
    """
    if not reference:
        return None
    longer = max(len(reference), len(hypothesis))
    return 1 - Levenshtein.distance(reference, hypothesis) / longer


class Mean:
    """A running mean of finite values that counts what it leaves out."""

    def __init__(self) -> None:
        self.total, self.count, self.skipped = 0.0, 0, 0

    def update(self, values: Iterable[float | None]) -> None:
        """Add values; None, infinite and NaN ones are counted as skipped."""
        for value in values:
            if value is None or not math.isfinite(value):
                self.skipped += 1
            else:
                self.total += value
                self.count += 1

    def compute(self) -> float:
        """Return the mean, NaN when there was no value."""
        return self.total / self.count if self.count else math.nan


METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"psnr": psnr, "ssim": ssim}
"""Metrics of images, all (reconstruction, image) in [0, 1] -> (b,), higher is better."""
