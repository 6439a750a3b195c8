"""Faces, and the outlines they draw: FreeType at the final size, never resized afterwards.

FreeType is called through freetype-py's raw functions: its objects cost more than the drawing.
Pens advance by unhinted widths, since hinted ones change the length of a line by up to a tenth.
"""

import ctypes
import importlib
import mmap
import os
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from pathlib import Path
from struct import Struct
from typing import Any

import freetype as _freetype
import freetype.raw as raw
import numpy as np
from numpy.typing import NDArray

from render.plan import Font, Hinting, Language
from render.type.kernels import trim_masks
from render.type.tables import packing, unpacked
from shards import Unreadable

freetype: Any = _freetype
"""The library, which has no types of its own."""

FAINT = 24
"""A glyph whose fullest pixel is below this, of 255, counts as blank at its size."""

LARGEST_EM = 8
"""Largest side of a glyph's ink, and longest advance, in em: beyond it a glyph counts as missing
(our choice; of the embedded faces none is above 2.9). It bounds what a mask takes."""

NO_GLYPH = 2**32 - 1
"""A glyph that no font has: FreeType draws nothing for it."""

PHASES = 4
"""Places of a pen within a pixel for which glyphs are drawn."""

FLAGS: dict[Hinting, int] = {
    "none": freetype.FT_LOAD_NO_HINTING,
    "light": freetype.FT_LOAD_TARGET_LIGHT,
    "full": freetype.FT_LOAD_TARGET_NORMAL,
}

_BITMAP = Struct("@2IiP")
"""How a bitmap of FreeType begins: height, width, bytes from row to row, address of the pixels."""

_OUTLINE = Struct("@2HP")
"""How an outline of FreeType begins: the numbers of contours and points, address of the points."""

_POINT = Struct("@2l")
"""A point of an outline: x and y in 1/64 px."""

_NOTHING = (0, 0, 0, 0, 0, 0)
"""What `trim_masks` is told of a glyph without a bitmap."""

Matrix = tuple[int, int, int, int]
"""(xx, xy, yx, yy) of a linear map, y upwards, in 1/65536."""

Pose = tuple[Matrix | None, int, int]
"""A linear map of a glyph, None for none, and how far right and up it is moved then, 1/64 px."""

UPRIGHT: Pose = (None, 0, 0)


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis of a variable font: its tag and the values we choose from (the first is plain)."""

    tag: str
    values: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Face:
    """One face of one file.

    `name` identifies it in plans: file name (below the user's folder), "#" and index. `family` is
    the font's own word for what it belongs to, `design` the family whose letters it draws. `codes`
    (n,) rise and `glyphs` (n,) are the font's own numbers for them. `checksum` is the font's own
    (table head). `style_class` holds "mono" and "hand" where they apply; `region` is the
    language tag of the region whose forms of Han it holds, where its name says so.
    """

    name: str
    path: Path
    index: int
    family: str
    design: str
    languages: frozenset[Language]
    style_class: frozenset[str]
    region: str
    codes: NDArray[np.uint32]
    glyphs: NDArray[np.uint32]
    x_height_em: float
    axes: tuple[Axis, ...]
    checksum: int

    @property
    def han(self) -> bool:
        """Say whether this is a face for Chinese."""
        return bool(self.languages & {"zh", "zh-hant"})

    @cached_property
    def slot_of(self) -> NDArray[np.int32]:
        """Look up the slot of a code; one more entry than the largest code, for all beyond."""
        table = np.full(int(self.codes[-1]) + 2, -1, np.int32)
        table[self.codes] = np.arange(len(self.codes), dtype=np.int32)
        return table

    def slots(self, codes: NDArray[np.uint32]) -> NDArray[np.int32]:
        """Return the position of each code in `codes` of this face, -1 where it has none."""
        return self.slot_of[np.minimum(codes, len(self.slot_of) - 1)]


class FontInstance:
    """A face at one place on its axes, opened once: measures and draws its glyphs."""

    def __init__(self, face: Face, coordinates: tuple[float, ...]) -> None:
        """Take `coordinates`: a value for each axis of `face`, in the same order.

        `ems` are the advances in em by slot, NaN until `advances` was asked for them.
        """
        self.face = face
        self.coordinates = coordinates
        self.ems = np.full(len(face.codes), np.nan)
        self._vertical_forms: dict[int, tuple[int, int, int, int]] = {}

    @property
    def name(self) -> Font:
        """Return how plans name this instance of its face."""
        return Font(self.face.name, self.coordinates)

    @cached_property
    def _open(self) -> Any:
        try:
            face = freetype.Face(str(self.face.path), self.face.index)
            if self.coordinates:
                face.set_var_design_coords(self.coordinates)
        except freetype.FT_Exception as error:
            raise Unreadable(self.face.name, f"cannot be opened ({error})") from error
        return face

    @cached_property
    def _handle(self) -> Any:
        return self._open._FT_Face  # the raw functions take the raw pointer

    def advances(self, slots: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return the unhinted advance of each glyph in em, (n,); 0 for one beyond LARGEST_EM."""
        advances = self.ems[slots]
        unseen = np.isnan(advances)
        if unseen.any():
            advance = ctypes.c_long()
            em = self._open.units_per_EM
            for slot in np.unique(slots[unseen]):
                failed = raw.FT_Get_Advance(
                    self._handle,
                    int(self.face.glyphs[slot]),
                    freetype.FT_LOAD_NO_SCALE,
                    ctypes.byref(advance),
                )
                known = not failed and 0 <= advance.value <= LARGEST_EM * em
                self.ems[slot] = advance.value / em if known else 0.0
            advances = self.ems[slots]
        return advances

    def draw(
        self,
        glyphs: Iterable[int],
        size_px: int,
        hinting: Hinting,
        poses: Iterable[Pose] = repeat(UPRIGHT),
        faint: int = FAINT,
    ) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """Rasterise glyphs at `size_px` px per em: (masks, rows (m, 5)), cut by `trim_masks`.

        Each is drawn in its pose. Poses of one glyph that follow each other cost least: its outline
        is loaded once. A glyph whose fullest pixel is below `faint` counts as blank, and so does
        one that is broken or larger than LARGEST_EM.
        """
        self._open.set_pixel_sizes(0, size_px)
        handle, flags = self._handle, FLAGS[hinting] | freetype.FT_LOAD_NO_BITMAP
        place = handle.contents.glyph
        slot = place.contents
        bitmap, metrics = slot.bitmap, slot.metrics
        outline, reference = slot.outline, ctypes.byref(slot.outline)
        largest = 64 * LARGEST_EM * size_px
        pieces: list[bytes] = []
        bitmaps = array("q")  # filled faster than one of NumPy
        offset = 0
        last, broken, form, points, loaded = -1, True, 0, 0, b""
        for glyph, (matrix, right, up) in zip(glyphs, poses, strict=False):
            if glyph != last:
                # A broken outline draws nothing and counts as missing.
                failed = raw.FT_Load_Glyph(handle, glyph, flags)
                broken = failed or metrics.width > largest or metrics.height > largest
                last, form = glyph, slot.format
                if not broken:
                    _, count, points = _OUTLINE.unpack_from(outline)
                    loaded = ctypes.string_at(points, count * _POINT.size)
            elif not broken:  # otherwise FreeType may have freed where the last one was
                ctypes.memmove(points, loaded, len(loaded))
            if broken:
                bitmaps.extend(_NOTHING)
                continue
            if matrix:
                raw.FT_Outline_Transform(reference, ctypes.byref(raw.FT_Matrix(*matrix)))
            if right or up:
                raw.FT_Outline_Translate(reference, right, up)
            slot.format = form  # rendering calls it a bitmap
            failed = raw.FT_Render_Glyph(place, freetype.FT_RENDER_MODE_NORMAL)
            height, width, pitch, pixels = _BITMAP.unpack_from(bitmap)
            size = height * pitch
            if failed or size <= 0:
                bitmaps.extend(_NOTHING)
                continue
            pieces.append(ctypes.string_at(pixels, size))
            bitmaps.extend((offset, pitch, width, height, slot.bitmap_left, -slot.bitmap_top))
            offset += size
        masks = np.frombuffer(bytearray().join(pieces), np.uint8)
        cuts = np.frombuffer(bitmaps, np.int64).reshape(-1, 6)
        rows = np.empty((len(cuts), 5), np.int32)
        used = trim_masks(masks, cuts, faint, rows)
        return masks[:used], rows

    def vertical_form(self, slot: int) -> tuple[int, int, int, int]:
        """Return (glyph, right, up, advance) for vertical text, in font units, through HarfBuzz.

        The glyph is the font's vertical form; (right, up) lead from the pen, in the middle of the
        column at the top of the character, to the glyph's origin; `advance` points down.
        """
        form = self._vertical_forms.get(slot)
        if form is None:
            uharfbuzz = _harfbuzz()

            buffer = uharfbuzz.Buffer()
            buffer.add_str(chr(int(self.face.codes[slot])))
            buffer.direction, buffer.script = "ttb", "Hani"
            # Another region's language would replace the forms of the face's own.
            if self.face.region:
                buffer.language = self.face.region
            uharfbuzz.shape(self._shaper, buffer)
            form = (NO_GLYPH, 0, 0, 0)
            if buffer.glyph_infos:  # a font may make nothing of a character
                info, place = buffer.glyph_infos[0], buffer.glyph_positions[0]
                far = LARGEST_EM * self.units_per_em
                if info.codepoint and max(abs(place.x_offset), abs(place.y_offset)) <= far:
                    form = (info.codepoint, place.x_offset, place.y_offset, -place.y_advance)
            self._vertical_forms[slot] = form
        return form

    @cached_property
    def _shaper(self) -> Any:
        uharfbuzz = _harfbuzz()

        with self.face.path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        if packing(data):
            blob = uharfbuzz.Blob(unpacked(data))
        else:
            blob = uharfbuzz.Blob.from_file_path(os.fsencode(self.face.path))
        font = uharfbuzz.Font(uharfbuzz.Face(blob, self.face.index))
        font.set_variations(
            {axis.tag: value for axis, value in zip(self.face.axes, self.coordinates, strict=True)}
        )
        return font

    @cached_property
    def has_vertical_forms(self) -> bool:
        """Say whether the font has forms for vertical text.

        Its comma differs from the usual one; where Traditional forms keep that in the middle of
        its cell, its bracket does.
        """
        mark = "（" if self.face.region in ("zh-hant", "zh-hk") else "，"
        slot = int(self.face.slots(np.array([ord(mark)], np.uint32))[0])
        return slot >= 0 and self.vertical_form(slot)[0] != int(self.face.glyphs[slot])

    @property
    def units_per_em(self) -> int:
        """Return the font units per em."""
        return self._open.units_per_EM


def _harfbuzz() -> Any:
    """Import HarfBuzz, which has no types of its own, when vertical text asks for it."""
    return importlib.import_module("uharfbuzz")
