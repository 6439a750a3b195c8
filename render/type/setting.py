"""Setting text: which font shows each character, where lines end, and the ink that stands there.

All of it reads glyphs at their final size, so the boxes it promises are the boxes that will be
drawn. A block is a handful of compiled loops over its characters; Python sees whole arrays only.
What is made for each block is a named tuple: a frozen dataclass takes many times as long to make.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from render.plan import Box, Colour, Hinting, Language, TextSource
from render.text.breaks import SPACE, Text
from render.text.facts import QUOTES
from render.type.atlas import Atlas
from render.type.fonts import Fonts
from render.type.glyphs import FontInstance
from render.type.kernels import set_lines, shape, stack_lines
from render.type.placing import Placed, SetText, place

EM_PER_CHARACTER: Mapping[Language, float] = {"en": 0.5, "zh": 1.0, "zh-hant": 1.0, "mixed": 0.9}
"""Mean advance, for estimates of how much text fills a box."""

ALIGNS = {"left": 0, "justify": 1, "center": 2, "right": 3}
"""The names of alignments, as `set_pens` counts them."""


@dataclass(frozen=True, slots=True)
class Style:
    """How a block is set: `fonts` draw it, the first one first; `leading` is in em.

    `colour` is the ink wished for; another one is taken where it cannot be read.
    """

    language: Language
    fonts: tuple[FontInstance, ...]
    size_px: int
    leading: float
    align: str = "left"
    indent_em: float = 0.0
    vertical: bool = False
    colour: Colour | None = None

    @property
    def pitch_px(self) -> int:
        """Return the distance of baselines in px."""
        return max(self.size_px + 1, round(self.size_px * self.leading))

    def characters_in(self, width_px: float) -> float:
        """Estimate how many characters fit in a line of this width."""
        return width_px / (self.size_px * EM_PER_CHARACTER[self.language])


class Composed(NamedTuple):
    """A block set in lines, relative to its corner.

    Characters (n,): `text`, and where each stands, `characters`; `placed` are their glyphs, and
    those of what did not fit, as `Placed.moved` takes them. Lines (l,): `lengths`, `bases`, the
    boxes of their ink (l, 4). `box` bounds all ink; `whole` says whether all of the text is there,
    `source` where it comes from.
    """

    style: Style
    source: TextSource
    text: str
    characters: SetText
    placed: Placed
    lengths: tuple[int, ...]
    bases: tuple[int, ...]
    lines: NDArray[np.int32]
    box: Box
    whole: bool

    def first(self, count: int) -> "Composed":
        """Return its first lines alone, at least one; itself where it has no more."""
        if count >= len(self.lengths):
            return self
        n, set_ = sum(self.lengths[:count]), self.characters
        return self._replace(
            text=self.text[:n],
            characters=set_._replace(
                font_index=set_.font_index[:n],
                slots=set_.slots[:n],
                pens=set_.pens[:n],
                bases=set_.bases[:n],
            ),
            lengths=self.lengths[:count],
            bases=self.bases[:count],
            lines=self.lines[:count],
            box=Box.union(self.lines[:count].tolist()),
            whole=False,
        )


class _Shaped(NamedTuple):
    """Characters (n,) that will be drawn: `slots` in the face of their font.

    `advances` are unhinted px.
    """

    codes: NDArray[np.uint32]
    breaks: NDArray[np.bool_]
    spaces: NDArray[np.bool_]
    slots: NDArray[np.int32]
    font_index: NDArray[np.int8]
    advances: NDArray[np.float64]
    fonts: tuple[FontInstance, ...]

    def where(self, keep: NDArray[np.bool_]) -> "_Shaped":
        return _Shaped(
            self.codes[keep], self.breaks[keep], self.spaces[keep], self.slots[keep],
            self.font_index[keep], self.advances[keep], self.fonts,
        )  # fmt: skip


class _Lines(NamedTuple):
    """Characters in lines (k,): their `places` in the whole text, `set` with every base at 0.

    `text` is what they say, `lengths` (l,) are the characters of each line, `placed` the glyphs.
    `lost` counts the characters that show no ink though they are no spaces; `whole` says whether
    all are there.
    """

    places: NDArray[np.int32]
    text: str
    set: SetText
    lengths: NDArray[np.int32]
    placed: Placed
    lost: int
    whole: bool


class Compositor:
    """Sets the text of one page. `subpixel` says whether pens stand on quarters of a px."""

    def __init__(self, fonts: Fonts, atlas: Atlas, hinting: Hinting, *, subpixel: bool) -> None:
        """Take glyphs from `atlas`; what a style lacks, other faces of `fonts` give."""
        self.fonts = fonts
        self.atlas = atlas
        self.hinting: Hinting = hinting
        self.subpixel = subpixel

    def compose(
        self, style: Style, text: Text, width_px: int, height_px: int, most_lines: int
    ) -> Composed | None:
        """Set as much of `text` as the box holds, None if nothing."""
        shaped = _shape(text, style)
        along, across = (height_px, width_px) if style.vertical else (width_px, height_px)
        lines = self._set(shaped, style, along, most_lines)
        if lines.lost:
            shaped = self._mended(shaped, _lost(shaped, lines), style)
            lines = self._set(shaped, style, along, most_lines)
        characters, set_count = lines.set, len(lines.lengths)
        bases_of_all = np.empty(len(lines.places), np.int32)
        bases, boxes = np.empty(set_count, np.int32), np.empty((set_count, 4), np.int32)
        count, n = stack_lines(
            lines.placed.boxes, lines.lengths, style.pitch_px, across, style.vertical,
            bases_of_all, bases, boxes,
        )  # fmt: skip
        if not count:
            return None
        boxes = boxes[:count]
        return Composed(
            style=style,
            source=text.source,
            text=lines.text[:n],
            characters=SetText(
                shaped.fonts,
                style.size_px,
                style.vertical,
                characters.font_index[:n],
                characters.slots[:n],
                characters.pens[:n],
                bases_of_all[:n],
            ),
            placed=lines.placed,
            lengths=tuple(lines.lengths[:count].tolist()),
            bases=tuple(bases[:count].tolist()),
            lines=boxes,
            box=Box.union(boxes.tolist()),
            whole=lines.whole and count == set_count,
        )

    def _set(self, shaped: _Shaped, style: Style, along: int, most_lines: int) -> _Lines:
        """Break lines, put the pens, and find the ink there."""
        fine = self.subpixel and not style.vertical and not shaped.fonts[0].face.han
        n = len(shaped.codes)
        places, pens, lengths = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int32)
        count, k, whole = set_lines(
            shaped.advances, shaped.breaks, shaped.spaces, float(along),
            style.indent_em * style.size_px, max(1, most_lines), ALIGNS[style.align],
            1 if fine else 4, places, pens, lengths,
        )  # fmt: skip
        places = places[:k]
        characters = SetText(
            shaped.fonts, style.size_px, style.vertical, shaped.font_index.take(places),
            shaped.slots.take(places), pens[:k], np.zeros(k, np.int32),
        )  # fmt: skip
        text = shaped.codes.take(places).tobytes().decode("utf-32-le")
        placed = place(characters, self.atlas, self.hinting)
        lost = k - placed.inked - text.count(" ")
        return _Lines(places, text, characters, lengths[:count], placed, lost, whole)

    def _mended(self, shaped: _Shaped, lost: NDArray[np.bool_], style: Style) -> _Shaped:
        """Give lost characters to other fonts that show them; drop those that none does."""
        fonts, font_index, slots = list(shaped.fonts), shaped.font_index.copy(), shaped.slots.copy()
        advances = shaped.advances.copy()
        for code in np.unique(shaped.codes[lost]).tolist():
            substitute = self._substitute(code, style)
            if substitute is None:
                continue
            at = lost & (shaped.codes == code)
            font, slot = substitute
            if font not in fonts:
                fonts.append(font)
            font_index[at], slots[at], lost[at] = fonts.index(font), slot, False
            if not style.vertical:
                advances[at] = font.advances(slots[at]) * style.size_px
        # Where a line may end after a dropped character it may end before it too.
        breaks = shaped.breaks.copy()
        for at in np.flatnonzero(lost & breaks):
            breaks[max(0, at - 1)] = True
        return _Shaped(
            shaped.codes, breaks, shaped.spaces, slots, font_index, advances, tuple(fonts)
        ).where(~lost)

    def _substitute(self, code: int, style: Style) -> tuple[FontInstance, int] | None:
        """Return the first font that shows a character at this size, and its slot there."""
        for font in self.fonts.holders(code):
            strike = self.atlas.strike(font, style.size_px, self.hinting, vertical=style.vertical)
            slot = font.face.slots(np.array([code], np.uint32))
            if strike.find(slot)[0] >= 0:
                return font, int(slot[0])
        return None


def _shape(text: Text, style: Style) -> _Shaped:
    """Give each character to the font that is to show it."""
    codes, breaks = text.codes, text.breaks
    if style.vertical:
        codes = _upright(codes)
        own = (codes >= 0x2E80) & (codes != 0xFFFF)
        codes, breaks = codes[own], breaks[own]
    n = len(codes)
    slots, font_index, advances = np.empty(n, np.int32), np.empty(n, np.int8), np.empty(n)
    for number, font in enumerate(style.fonts):
        while not shape(
            codes, number, font.face.slot_of, font.ems, float(style.size_px), style.vertical,
            slots, font_index, advances,
        ):  # fmt: skip
            font.advances(slots[(font_index == number) & (slots >= 0)])  # learns what is unknown
    return _Shaped(codes, breaks, codes == SPACE, slots, font_index, advances, style.fonts)


def _lost(shaped: _Shaped, lines: _Lines) -> NDArray[np.bool_]:
    """Return (n,) True where no ink is though there should be."""
    lost = np.zeros(len(shaped.codes), np.bool_)
    boxes = lines.placed.boxes
    lost[lines.places[boxes[:, 2] <= boxes[:, 0]]] = True
    return lost & ~shaped.spaces


def _upright(codes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the codes of vertical text: full-width letters and digits, corner brackets."""
    codes = np.where((codes > SPACE) & (codes < 0x7F), codes + np.uint32(0xFEE0), codes)
    for flat, upright in QUOTES.items():
        codes = np.where(codes == flat, np.uint32(upright), codes)
    return codes
