"""Specimens: what every face of a run looks like, to be looked at before anything is made."""

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from render.plan import Font
from render.type.fonts import Fonts
from render.type.glyphs import Face, FontInstance
from shards import RGB

SIZES_PX = (8, 12, 24)
"""Sizes at which each face is shown, px: the smallest that is common, a plain one, a large one."""

SAMPLES = {"en": "Hamburgefonstiv 0123 Il|`~", "zh": "天地玄黄永国，。", "zh-hant": "讓體鬱龜，。"}
"""What a face is shown by in each language that it has."""

WIDTH_PX, MARGIN_PX = 1280, 8

LABEL_PX = 10


def specimen(fonts: Fonts) -> RGB:
    """Draw every face, at each place on its axes: (h, WIDTH_PX, 3) uint8 sRGB, black on white.

    Each has a line with its name, and one in which it is set in the sizes of SIZES_PX.
    """
    strips: list[NDArray[np.uint8]] = []
    label = _label_font(fonts)
    for face in sorted(fonts.faces.values(), key=lambda face: (face.design, face.name)):
        for coordinates in product(*(axis.values for axis in face.axes)):
            font = fonts.instance(Font(face.name, coordinates))
            axes = ", ".join(
                f"{axis.tag} {value:g}"
                for axis, value in zip(face.axes, coordinates, strict=True)
                if len(axis.values) > 1
            )
            title = f"{face.design}: {face.name}{f', {axes}' if axes else ''}"
            strips += [_line([(title, LABEL_PX)], label), _line([*_samples(face)], font)]
    page = np.concatenate(strips) if strips else np.full((1, WIDTH_PX), 255, np.uint8)
    return np.repeat(page[:, :, None], 3, axis=2)


def _samples(face: Face) -> Iterator[tuple[str, int]]:
    text = " ".join(sample for name, sample in SAMPLES.items() if name in face.languages)
    return ((text, size_px) for size_px in SIZES_PX)


def _label_font(fonts: Fonts) -> FontInstance:
    """Return what names are written in: a Latin face, or the first there is."""
    faces = [*fonts.faces.values()]
    plain = [face for face in faces if "en" in face.languages and not face.han]
    return fonts.plain((plain or faces)[0])


def _line(parts: list[tuple[str, int]], font: FontInstance) -> NDArray[np.uint8]:
    """Set texts, each of a size, side by side on one baseline: (h, WIDTH_PX) uint8."""
    largest = max(size_px for _, size_px in parts)
    strip = np.full((round(1.7 * largest), WIDTH_PX), 255, np.uint8)
    baseline, x = round(1.2 * largest), float(MARGIN_PX)
    for text, size_px in parts:
        slots = font.face.slots(np.array([ord(sign) for sign in text], np.uint32))
        slots = slots[slots >= 0]
        glyphs = font.face.glyphs[slots].tolist()
        masks, rows = font.draw(glyphs, size_px, "none")
        for (offset, width, height, left, top), advance in zip(
            rows.tolist(), font.advances(slots).tolist(), strict=True
        ):
            x0, y0 = round(x) + left, baseline + top
            if x0 >= 0 and x0 + width <= WIDTH_PX and y0 >= 0 and y0 + height <= len(strip):
                mask = masks[offset : offset + width * height].reshape(height, width)
                under = strip[y0 : y0 + height, x0 : x0 + width]
                np.minimum(under, 255 - mask, out=under)
            x += advance * size_px
        x += 2 * MARGIN_PX
    return strip
