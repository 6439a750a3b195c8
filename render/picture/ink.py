"""The colour of text, chosen so that it can be read where it stands.

A block stands on the bare picture, gets an outline, or a plate is laid under it: whatever comes
first of the ways that its page allows and holds the floor of contrast. An opaque plate always does.
"""

import colorsys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from render.picture.canvas import Canvas
from render.picture.light import TO_SRGB, contrast, extremes, luminance, ratio, worse
from render.plan import Box, Colour, Ground, Rect

CANDIDATES = 8
"""Colours tried before black and white (our choice: most blocks find one among the first three)."""

OPACITIES = (0.35, 0.5, 0.65, 0.8, 1.0)
"""Opacities of plates and sheets, tried in this order: as much of the photograph stays as can."""

PLATE_MARGIN_PX = 3
"""How far a plate reaches beyond the ink: as far as a cell of light under the ink can."""

PREFERRED = 3.0
"""Contrast that is taken where black or white reaches it, however low the floor: what WCAG 2 asks
of large text. Where neither does, STRONG of what the better one reaches."""

STRONG = 0.85
"""Part of the best contrast that will do below PREFERRED: it leaves room for a touch of colour."""

MIDDLE = 0.18
"""Luminance on which black and white are as easily read, about (WCAG 2)."""

BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)

Extremes = Sequence[tuple[float, float]]
"""The luminance of the darkest and the lightest window under each box, as `light.extremes` finds
it: under all of them where some ink holds the floor."""


class Ink(NamedTuple):
    """The colour of a block, its halo or plate if it has one, and the contrast of each box.

    They are the contrasts of the first boxes only where the others cannot be read with them.
    """

    colour: Colour
    halo: Colour | None
    plate: Rect | None
    contrasts: list[float]

    @property
    def ground(self) -> Ground:
        """Return what the block stands on."""
        return "plate" if self.plate else "outline" if self.halo else "bare"


def choose(
    rng: np.random.Generator,
    canvas: Canvas,
    boxes: NDArray[np.int32],
    area: Box,
    size_px: int,
    floor: float,
    *,
    ways: Sequence[Ground],
    wanted: Colour | None,
    tint: Colour | None = None,
    opacities: Sequence[float] = OPACITIES,
    part: bool = False,
) -> Ink | None:
    """Choose the ink of a block that stands on `boxes` (n, 4), and lay its plate on the canvas.

    Every box holds the contrast `floor`, in [1, 15], in its worst window. `area` is the flat box
    that a plate would cover. The `ways` "bare", "outline" and "plate" are tried in their order,
    None when none holds it. A `wanted` colour is tried first. A plate is of the colour `tint` and
    of the first of `opacities` that does; the last is 1. With `part` the first boxes alone will do
    on the bare picture.
    """
    for way in ways:
        if way == "plate":
            assert tint is not None
            return _on_plate(rng, canvas, boxes, area, size_px, floor, tint, opacities)
        if way == "outline":
            ink = _outlined(rng, len(boxes), floor, wanted)
        else:
            ink = _on_bare(rng, canvas, boxes, size_px, floor, wanted, part=part)
        if ink is not None:
            return ink
    return None


def _on_bare(
    rng: np.random.Generator,
    canvas: Canvas,
    boxes: NDArray[np.int32],
    size_px: int,
    floor: float,
    wanted: Colour | None,
    *,
    part: bool,
) -> Ink | None:
    windows = extremes(canvas.pixels, boxes, size_px, floor).tolist()
    if part and len(windows) > 1 and _best(windows) < floor:
        windows.pop()  # the others hold it: light is measured up to the first that does not
    best = _best(windows)
    if best < floor:
        return None
    low, high = _outer(windows)
    wish = max(floor, min(PREFERRED, STRONG * best))
    colour = next(c for c in _candidates(rng, wanted) if contrast(c, low, high) >= wish)
    return Ink(colour, None, None, _contrasts(colour, windows))


def _outlined(
    rng: np.random.Generator, count: int, floor: float, wanted: Colour | None
) -> Ink | None:
    colour = wanted or near_grey(rng, light=rng.random() < 0.5)
    halo = near_grey(rng, light=luminance(colour) < MIDDLE)
    value = ratio(luminance(colour), luminance(halo))
    return Ink(colour, halo, None, [round(value, 3)] * count) if value >= floor else None


def _on_plate(
    rng: np.random.Generator,
    canvas: Canvas,
    boxes: NDArray[np.int32],
    area: Box,
    size_px: int,
    floor: float,
    tint: Colour,
    opacities: Sequence[float],
) -> Ink:
    lit = luminance(tint) > 0.5
    inks = [near_grey(rng, light=not lit), BLACK if lit else WHITE]
    bare = _outer(extremes(canvas.pixels, boxes, size_px, floor).tolist())
    for opacity in _likely(inks, tint, bare, floor, opacities):
        under = tint, opacity
        windows = extremes(canvas.pixels, boxes, size_px, floor, under=under).tolist()
        low, high = _outer(windows)
        for colour in inks:
            if contrast(colour, low, high) >= floor:
                plate = Rect(area, *under)
                canvas.lay(plate)
                return Ink(colour, None, plate, _contrasts(colour, windows))
    raise AssertionError("black on an opaque light plate exceeds every allowed floor")


def _likely(
    inks: list[Colour],
    tint: Colour,
    bare: tuple[float, float],
    floor: float,
    opacities: Sequence[float],
) -> Iterator[float]:
    """Yield the opacities worth trying over a ground of these extremes, the thinnest first."""
    for opacity in opacities:
        low, high = (tinted(light, tint, opacity) for light in bare)
        if opacity == 1 or any(contrast(colour, low, high) >= floor for colour in inks):
            yield opacity


def thicknesses(least: float, densest: float) -> list[float]:
    """Return the opacities within a range, or its upper end, and then those above it."""
    within = [opacity for opacity in OPACITIES if least <= opacity <= densest] or [densest]
    return within + [opacity for opacity in OPACITIES if opacity > densest]


def tinted(light: float, tint: Colour, opacity: float) -> float:
    """Estimate the luminance of a grey of luminance `light` under a tint: its grain may differ."""
    grey = int(TO_SRGB[round(65535 * light)])
    red, green, blue = (round(grey + (part - grey) * opacity) for part in tint)
    return luminance((red, green, blue))


def _best(windows: Extremes) -> float:
    """Return the contrast of black or white: no colour does better above or below all windows."""
    low, high = _outer(windows)
    return max(contrast(BLACK, low, high), contrast(WHITE, low, high))


def _outer(windows: Extremes) -> tuple[float, float]:
    """Return the darkest and the lightest of all windows."""
    lows, highs = zip(*windows, strict=True)
    return min(lows), max(highs)


def _contrasts(colour: Colour, windows: Extremes) -> list[float]:
    own = luminance(colour)
    return [round(worse(own, low, high), 3) for low, high in windows]


def _candidates(rng: np.random.Generator, wanted: Colour | None) -> Iterator[Colour]:
    if wanted is not None:
        yield wanted
    for _ in range(CANDIDATES):
        yield _colour(rng)
    yield from (BLACK, WHITE)


def _colour(rng: np.random.Generator) -> Colour:
    """Draw what people print in: mostly near black or near white, at times a strong colour."""
    kind, hue, saturation, value = rng.random(4).tolist()
    if kind < 0.7:
        return near_grey(rng, light=kind < 0.35)
    return of_hsv(hue, 0.6 + 0.4 * saturation, 0.35 + 0.65 * value)


def near_grey(rng: np.random.Generator, *, light: bool) -> Colour:
    """Draw a near white or a near black with a touch of colour (luminance > 0.7 or < 0.02)."""
    hue, saturation, value = rng.random(3).tolist()
    if light:
        return of_hsv(hue, 0.1 * saturation, 0.95 + 0.05 * value)
    return of_hsv(hue, 0.6 * saturation, 0.15 * value)


def of_hsv(hue: float, saturation: float, value: float) -> Colour:
    """Return the sRGB colour of hue, saturation and value, each in [0, 1]."""
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)
