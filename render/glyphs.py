"""One face: its glyphs at their final size, each rasterised once, and its unhinted advances.

Pillow (FreeType, basic layout) draws. Hinted advances change the length of a line by up to a
tenth, so pens advance by the unhinted width, measured at 1,000 px.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFont

from render.plan import Language

FAINT = 24
"""A glyph whose fullest pixel is below this, of 255, counts as blank at its size."""


@dataclass(frozen=True, eq=False)
class Face:
    """One face of one file.

    `name` identifies it in plans: file name (below the user's folder) and "#" index. `axes` are
    the (tag, default) of a variable font, `weights` its choices on the weight axis.
    """

    name: str
    path: Path
    index: int
    family: str
    languages: frozenset[Language]
    characters: frozenset[int]
    x_height_em: float
    axes: tuple[tuple[str, float], ...]
    weights: tuple[int, ...]

    def open(self, weight: int | None, size_px: int) -> ImageFont.FreeTypeFont:
        """Open at `size_px` px per em; the axes are always set, as some default to Thin."""
        font = ImageFont.truetype(
            self.path, size_px, index=self.index, layout_engine=ImageFont.Layout.BASIC
        )
        if self.axes:
            font.set_variation_by_axes(
                [
                    float(weight) if tag == "wght" and weight is not None else default
                    for tag, default in self.axes
                ]
            )
        return font


Type = tuple[Face, int | None]
"""A face and its place on the weight axis."""


@dataclass(frozen=True, slots=True, eq=False)
class Glyph:
    """Coverage of one character at its final size, cut to its ink.

    `mask` (h, w) uint8 lies with its corner `left`, `top` px from the pen (y grows downwards);
    it is empty for a space.
    """

    mask: NDArray[np.uint8]
    left: int
    top: int


_SPACE = Glyph(np.zeros((0, 0), np.uint8), 0, 0)


class Pen:
    """Draws the characters of one face at one weight and size, each once."""

    def __init__(self, face: Face, weight: int | None, size_px: int) -> None:
        """Draw with `face` at `size_px` px per em."""
        self._face, self._weight, self._size_px = face, weight, size_px
        self._glyphs: dict[str, Glyph | None] = {" ": _SPACE}

    def glyph(self, character: str) -> Glyph | None:
        """Return the glyph, None when the face has none or shows nothing at this size."""
        try:
            return self._glyphs[character]
        except KeyError:
            glyph = self._glyphs[character] = self._draw(character)
            return glyph

    def _draw(self, character: str) -> Glyph | None:
        if ord(character) not in self._face.characters:
            return None
        font = _opened(self._face, self._weight, self._size_px)
        mask, (left, top) = font.getmask2(character, mode="L", anchor="ls")
        inked = mask.getbbox()
        if inked is None:
            return None
        width, height = mask.size
        x0, y0, x1, y1 = inked
        coverage = np.frombuffer(bytes(cast(Any, mask)), np.uint8).reshape(height, width)[
            y0:y1, x0:x1
        ]
        if coverage.max() < FAINT:
            return None
        return Glyph(coverage, int(left) + x0, int(top) + y0)


class Advances(dict[str, float]):
    """Unhinted advance of each character, in em."""

    def __init__(self, face: Face, weight: int | None) -> None:
        """Measure at 1,000 px per em, where hinting moves nothing."""
        super().__init__()
        self._face, self._weight = face, weight

    def __missing__(self, character: str) -> float:
        font = _opened(self._face, self._weight, 1000)
        advance = self[character] = font.getlength(character) / 1000
        return advance


@lru_cache(maxsize=288)
def _opened(face: Face, weight: int | None, size_px: int) -> ImageFont.FreeTypeFont:
    """Keep few files open: each takes 0.2 MB and maps its file; the glyphs outlive it."""
    return face.open(weight, size_px)


@lru_cache(maxsize=4096)
def pen(face: Face, weight: int | None, size_px: int) -> Pen:
    """Return the pen of a face, kept with the glyphs it has drawn."""
    return Pen(face, weight, size_px)


@lru_cache(maxsize=512)
def advances(face: Face, weight: int | None) -> Advances:
    """Return the advances of a face, kept."""
    return Advances(face, weight)
