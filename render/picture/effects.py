"""Effects: what happens to pictures on their way, drawn over the finished page and labelled.

Geometry stays as it is, so every box stays true. A new effect is a class here and a line in
EFFECTS.
"""

from typing import Protocol

import numpy as np

from render.plan import Effect
from shards import RGB


class Kind(Protocol):
    """One way to change a picture by a strength."""

    low: float
    high: float

    def apply(self, pixels: RGB, effect: Effect) -> RGB:
        """Return the changed picture, (h, w, 3) uint8 sRGB."""
        ...


class Jpeg:
    """Recompression as JPEG with half the chroma, as the web does; strength is the quality."""

    low, high = 60.0, 95.0

    def apply(self, pixels: RGB, effect: Effect) -> RGB:
        """Encode and decode."""
        import cv2

        return _recompressed(pixels, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, round(effect.strength)])


class WebP:
    """Recompression as lossy WebP; strength is the quality."""

    low, high = 60.0, 95.0

    def apply(self, pixels: RGB, effect: Effect) -> RGB:
        """Encode and decode."""
        import cv2

        return _recompressed(pixels, ".webp", [cv2.IMWRITE_WEBP_QUALITY, round(effect.strength)])


class Blur:
    """A Gaussian, as of a lens slightly out of focus; strength is its sigma in px."""

    low, high = 0.4, 0.9

    def apply(self, pixels: RGB, effect: Effect) -> RGB:
        """Blur with a kernel of 5 x 5."""
        import cv2

        return np.asarray(cv2.GaussianBlur(pixels, (5, 5), effect.strength), np.uint8)


class Noise:
    """Gaussian noise, as of a sensor; strength is its sigma in sRGB levels."""

    low, high = 2.0, 8.0

    def apply(self, pixels: RGB, effect: Effect) -> RGB:
        """Add noise of its own for each channel, from the effect's seed."""
        rng = np.random.default_rng([effect.seed, 3])
        noise = rng.standard_normal(pixels.shape, np.float32)
        noise *= np.float32(effect.strength)
        noise += pixels
        np.rint(noise, out=noise)
        return np.clip(noise, 0, 255, out=noise).astype(np.uint8)


def _recompressed(pixels: RGB, ending: str, options: list[int]) -> RGB:
    import cv2

    done, data = cv2.imencode(ending, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    assert done, "OpenCV encodes any uint8 image"
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None, "OpenCV decodes what it has encoded"
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)


def draw(rng: np.random.Generator, shares: dict[str, float]) -> tuple[Effect, ...]:
    """Draw the effects of a page: each on its own, with the probability `shares` gives it.

    Blur and noise happen in the camera, so they come before recompression.
    """
    chosen: list[Effect] = []
    for kind in EFFECTS:
        if rng.random() < shares.get(kind, 0.0):
            low, high = EFFECTS[kind].low, EFFECTS[kind].high
            strength = round(low + (high - low) * float(rng.random()), 3)
            chosen.append(Effect(kind, strength, int(rng.integers(2**31))))
    return tuple(chosen)


EFFECTS: dict[str, Kind] = {"blur": Blur(), "noise": Noise(), "jpeg": Jpeg(), "webp": WebP()}
