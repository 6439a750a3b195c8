"""The colour of text, chosen so that it can be read where it stands.

Contrast is the ratio of WCAG 2 (relative luminance, section 1.4.3), taken against the lightest
and the darkest window under a line, not against the mean of the picture. Where no ink holds the
floor a plate is laid under the block; an opaque one always ends the search.
"""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render.plan import Box, Colour, Plate
from shards import RGB

CANDIDATES = 8
"""Colours tried before black and white (our choice: most blocks find one among the first three)."""

OPACITIES = (0.5, 0.65, 0.8, 1.0)
"""Opacities of a plate, tried in this order: as much of the photograph stays as can."""

PLATE_MARGIN_PX = 3
"""How far a plate reaches beyond the ink; layouts keep blocks further apart than this."""


def _linear() -> NDArray[np.float32]:
    value = np.arange(256) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(
        np.float32
    )


_LINEAR = _linear()
_SHARES = (0.2126, 0.7152, 0.0722)
_WEIGHTS = np.array(_SHARES, np.float32)


def luminance(pixels: RGB) -> NDArray[np.float32]:
    """Return the relative luminance of (..., 3) uint8 sRGB, in [0, 1] (WCAG 2)."""
    return _LINEAR[pixels] @ _WEIGHTS


def ratio(one: float, other: float) -> float:
    """Return the WCAG 2 contrast ratio of two luminances, in [1, 21]."""
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def windows(pixels: RGB, size_px: int) -> tuple[float, float]:
    """Return the luminance of the darkest and of the lightest window of (h, w, 3) uint8 sRGB.

    A window is half an em square, about one letter (our choice: a smaller one would follow the
    grain of the picture, a larger one would hide a bright patch behind a word). The grain inside
    it counts by one standard deviation, as gravel swallows text that its mean would carry.
    """
    import cv2

    side = max(3, size_px // 2)
    light = luminance(pixels)
    means, squares = (
        cv2.blur(part, (side, side), borderType=cv2.BORDER_REPLICATE) for part in (light, light**2)
    )
    grain = np.sqrt(np.maximum(squares - means**2, 0))
    return max(0.0, float((means - grain).min())), min(1.0, float((means + grain).max()))


def contrast(colour: Colour, extremes: tuple[float, float]) -> float:
    """Return the contrast of `colour` in the worst window: 1 when it lies between the extremes."""
    own = sum(float(_LINEAR[part]) * weight for part, weight in zip(colour, _SHARES, strict=True))
    low, high = extremes
    return 1.0 if low <= own <= high else min(ratio(own, low), ratio(own, high))


def lay(canvas: RGB, plate: Plate) -> None:
    """Blend `plate` into `canvas` (h, w, 3) uint8 in place; the same integers every time."""
    left, top, right, bottom = plate.box
    part = canvas[top:bottom, left:right]
    share = round(plate.opacity * 255)
    colour = np.array(plate.colour, np.uint16)
    part[...] = (part.astype(np.uint16) * (255 - share) + colour * share + 127) // 255


@dataclass(frozen=True, slots=True)
class Ink:
    """The colour of a block, its plate if it needs one, and the contrast of each line."""

    colour: Colour
    plate: Plate | None
    contrasts: tuple[float, ...]


def choose(
    rng: np.random.Generator,
    canvas: RGB,
    boxes: Sequence[Box],
    size_px: int,
    floor: float,
    *,
    plated: bool = True,
) -> Ink | None:
    """Choose the ink of a block whose lines have the ink `boxes`, and lay its plate on `canvas`.

    Every line holds the contrast `floor`, in [1, 15], in its worst window. With `plated=False`
    None is returned where only a plate would do; without it never.
    """
    extremes = [windows(canvas[y0:y1, x0:x1], size_px) for x0, y0, x1, y1 in boxes]
    whole = min(low for low, _ in extremes), max(high for _, high in extremes)
    candidates = [_colour(rng) for _ in range(CANDIDATES)] + [(0, 0, 0), (255, 255, 255)]
    for colour in candidates:
        if contrast(colour, whole) >= floor:
            return Ink(colour, None, tuple(contrast(colour, pair) for pair in extremes))
    return _on_plate(rng, canvas, boxes, size_px, floor) if plated else None


def _on_plate(
    rng: np.random.Generator, canvas: RGB, boxes: Sequence[Box], size_px: int, floor: float
) -> Ink:
    height, width = canvas.shape[:2]
    area = (
        max(0, min(box[0] for box in boxes) - PLATE_MARGIN_PX),
        max(0, min(box[1] for box in boxes) - PLATE_MARGIN_PX),
        min(width, max(box[2] for box in boxes) + PLATE_MARGIN_PX),
        min(height, max(box[3] for box in boxes) + PLATE_MARGIN_PX),
    )
    patch = canvas[area[1] : area[3], area[0] : area[2]]
    # A light veil over a light place and a dark one over a dark place change the picture least.
    light = bool(rng.random() < np.clip(0.5 + 2.0 * (luminance(patch).mean() - 0.25), 0.1, 0.9))
    tint = _tint(rng, light=light)
    inks = [_tint(rng, light=not light), (0, 0, 0) if light else (255, 255, 255)]
    for opacity in OPACITIES:
        plate = Plate(box=area, colour=tint, opacity=opacity)
        trial = canvas.copy()
        lay(trial, plate)
        extremes = [windows(trial[y0:y1, x0:x1], size_px) for x0, y0, x1, y1 in boxes]
        for colour in inks:
            contrasts = tuple(contrast(colour, pair) for pair in extremes)
            if min(contrasts) >= floor:
                lay(canvas, plate)
                return Ink(colour, plate, contrasts)
    raise AssertionError("black on an opaque light plate exceeds every allowed floor")


def _colour(rng: np.random.Generator) -> Colour:
    """Draw what people print in: mostly near black or near white, at times a strong colour."""
    kind = rng.random()
    if kind < 0.7:
        return _tint(rng, light=bool(rng.random() < 0.5))
    hue, saturation = rng.random(), rng.uniform(0.6, 1.0)
    return _of_hsv(hue, saturation, rng.uniform(0.35, 1.0))


def _tint(rng: np.random.Generator, *, light: bool) -> Colour:
    """Draw a near white or a near black with a touch of colour (luminance > 0.75 or < 0.02)."""
    if light:
        return _of_hsv(rng.random(), rng.uniform(0.0, 0.1), rng.uniform(0.95, 1.0))
    return _of_hsv(rng.random(), rng.uniform(0.0, 0.6), rng.uniform(0.0, 0.15))


def _of_hsv(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue
