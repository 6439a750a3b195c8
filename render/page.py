"""The page while it is being chosen: gives set text a place and an ink.

What a layout may ask for is here; where things go is the layout's business, and how text is set
that of `setting.py`.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate

import numpy as np

from render.picture.canvas import Canvas
from render.picture.ink import PLATE_MARGIN_PX, Ink, choose, near_grey, thicknesses
from render.picture.kernels import CELL_PX
from render.picture.light import mean
from render.plan import (
    Block,
    Box,
    Choices,
    Colour,
    Ground,
    HanVariant,
    Language,
    Line,
    Rect,
    Role,
)
from render.text.breaks import Text
from render.text.corpus import Corpus
from render.text.facts import Facts
from render.type.atlas import Atlas
from render.type.fonts import Fonts
from render.type.glyphs import FontInstance
from render.type.kernels import move
from render.type.placing import Placed, SetText, line_slices, place
from render.type.setting import Composed, Compositor, Style

MARGIN_PX = 3
"""Least distance between ink and the edge of the page."""

FACT_ATTEMPTS = 4
"""Short texts tried for a place before it stays empty (our choice)."""

OUTLINE_PX = {"en": 9, "zh": 11}
"""Smallest em that gets an outline: in smaller text it fills the counters (our choice)."""

WAYS: dict[Ground, tuple[Ground, ...]] = {
    "flat": ("bare", "outline", "plate"),
    "bare": ("bare", "outline", "plate"),
    "outline": ("outline", "bare", "plate"),
    "plate": ("plate",),
    "sheet": ("bare", "outline", "plate"),
}
"""What blocks of a page try in turn, by its ground: what hides least of the photograph comes before
what hides more. Blocks beside a sheet are those of a bare page."""

COMPANION = 0.3
"""Share of Chinese blocks whose Latin letters come from a Latin face, as in careful print."""


class Sizes:
    """The distribution of em sizes: px and their shares of characters.

    A draw decides over a block or a page that holds the fewer characters the larger they are,
    by size ** `thinning`; so larger sizes are drawn the more often.
    """

    def __init__(self, shares: Mapping[int, float], thinning: float = 0.0) -> None:
        """Take the share of each size; one at least is positive."""
        self._shares = {
            size: shares[size] * size**thinning for size in sorted(shares) if shares[size] > 0
        }
        self.low, self.high = min(self._shares), max(self._shares)
        self._cut: dict[tuple[int, int], tuple[list[int], list[float]]] = {}

    def at(self, part: float) -> float:
        """Return the px that lie this part of the way from the smallest size to the largest."""
        return self.low + part * (self.high - self.low)

    def near(self, size_px: float) -> int:
        """Return the size nearest to `size_px`."""
        return min(self._shares, key=lambda size: abs(size - size_px))

    def draw(self, rng: np.random.Generator, low: int, high: int) -> int:
        """Draw a size within [low, high] cut to the range; the nearest size where none is."""
        if (low, high) not in self._cut:
            inside = [size for size in self._shares if low <= size <= high]
            inside = inside or [self.near(low)]
            self._cut[low, high] = inside, list(accumulate(self._shares[size] for size in inside))
        inside, sums = self._cut[low, high]
        return inside[bisect_right(sums, rng.random() * sums[-1])]


@dataclass(frozen=True, slots=True)
class Material:
    """What pages are made of: read once, shared by all."""

    fonts: Fonts
    atlas: Atlas
    corpus: Corpus
    facts: Facts


@dataclass
class Page:
    """A page with its generator, what was chosen for it, and what was placed so far.

    `han_variant` is the standard of its Traditional Han, `placed` are the glyphs of `blocks`,
    `taken` the boxes of their ink, `inks` the last colour of each set of fonts: what is set alike
    is coloured alike. Layouts keep to `area`, which a warp makes smaller than the page. The
    opacities are the least and the most that the recipe allows; `fallbacks` counts the blocks and
    sheets that need more, or a ground that hides more than the page's own.
    """

    rng: np.random.Generator
    choices: Choices
    material: Material
    sizes: Sizes
    contrast_floor: float
    plate_opacity: tuple[float, float]
    sheet_opacity: tuple[float, float]
    canvas: Canvas
    han_variant: HanVariant | None = None
    blocks: list[Block] = field(default_factory=list[Block])
    placed: list[Placed] = field(default_factory=list[Placed])
    rects: list[Rect] = field(default_factory=list[Rect])
    marks: list[Rect] = field(default_factory=list[Rect])
    taken: list[Box] = field(default_factory=list[Box])
    inks: dict[tuple[FontInstance, ...], Colour] = field(
        default_factory=dict[tuple[FontInstance, ...], Colour]
    )
    fallbacks: int = 0

    @cached_property
    def box(self) -> Box:
        """Return the box of the whole page."""
        return self.choices.box

    @cached_property
    def area(self) -> Box:
        """Return the box that ink may stand in."""
        inset = MARGIN_PX
        if self.canvas.warp is not None:
            inset = self.canvas.warp.inset(self.box.width, self.box.height, MARGIN_PX + 1)
        return self.box.grown(-inset)

    @cached_property
    def compositor(self) -> Compositor:
        """Return what sets the text of this page."""
        material, choices = self.material, self.choices
        return Compositor(
            material.fonts, material.atlas, choices.hinting, subpixel=choices.subpixel
        )

    @cached_property
    def tint(self) -> Colour:
        """Return the tint that all plates of this page share.

        A light tint over a light page and a dark one over a dark page change the picture least.
        """
        share = 0.5 + 2.0 * (mean(self.canvas.pixels) - 0.25)
        light = self.chance(min(0.9, max(0.1, share)))
        return near_grey(self.rng, light=light)

    @property
    def on_sheet(self) -> bool:
        """Say whether the text of this page is to lie on a sheet."""
        return self.choices.ground == "sheet"

    def _ways(self, style: Style, *, sheet: bool, aided: bool) -> tuple[Ground, ...]:
        """Return what a block may stand on, in the order to try it."""
        if sheet:
            return ("bare",)
        least = OUTLINE_PX["en" if style.language == "en" else "zh"]
        ways = WAYS[self.choices.ground]
        if style.size_px < least:
            ways = _without("outline", ways)
        return ways if aided else ways[:1]

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return bool(self.rng.random() < probability)

    def between(self, low: float, high: float) -> float:
        """Draw uniformly from [low, high)."""
        return low + (high - low) * float(self.rng.random())

    def count(self, low: int, high: int) -> int:
        """Draw a whole number, uniform over [low, high]."""
        return low + int(self.rng.random() * (high - low + 1))

    def size_px(self, low: float = 0, high: float = 1000) -> int:
        """Draw an em size of the recipe's distribution, cut to [low, high]."""
        return self.sizes.draw(self.rng, round(low), round(high))

    def style(
        self,
        size_px: int,
        *,
        align: str = "left",
        indent: bool = False,
        style_class: str = "",
        like: Style | None = None,
        vertical: bool = False,
        colour: Colour | None = None,
    ) -> Style:
        """Draw language, fonts and leading for a block of this size, or take those of `like`."""
        if like is not None:
            return replace(like, size_px=size_px, align=align, indent_em=0.0, colour=colour)
        language = self.spoken()
        han = language != "en"
        fonts = self.material.fonts
        drawn = [
            fonts.draw(self.rng, language, size_px, style_class=style_class, vertical=vertical)
        ]
        if language == "mixed" or (han and not vertical and self.chance(COMPANION)):
            drawn.append(fonts.draw(self.rng, "en", size_px, style_class=style_class))
        leading = self.between(1.25, 1.6) if han else self.between(1.15, 1.5)
        indent_em = (2.0 if han else 1.2) if indent else 0.0
        return Style(language, tuple(drawn), size_px, leading, align, indent_em, vertical, colour)

    def spoken(self) -> Language:
        """Draw the language of a block: pages of "mixed" hold blocks of either tongue too."""
        if self.choices.language != "mixed":
            return self.choices.language
        return ("mixed", "mixed", "zh", "en")[self.count(0, 3)]

    def fact(self, kind: str, language: Language) -> str:
        """Draw a short text of a kind that `facts.py` lists."""
        written = "zh" if language == "mixed" else language
        return self.material.facts.draw(self.rng, kind, written, self.han_variant)

    def prose(self, style: Style, width_px: int, height_px: int, lines: float) -> Text:
        """Draw running text for about `lines` lines, no more than the box can hold."""
        per_line = style.characters_in(height_px if style.vertical else width_px)
        across = width_px if style.vertical else height_px
        # A quarter more than fits on average: narrow letters, and what the wrap leaves over.
        room = 1.25 * (across // style.pitch_px + 1) * per_line
        characters = max(1, int(min(lines * per_line, room)))
        return self.material.corpus.draw(self.rng, style.language, characters, self.han_variant)

    def compose(
        self,
        style: Style,
        text: Text | str,
        width_px: int,
        height_px: int,
        most_lines: int = 1000,
    ) -> Composed | None:
        """Set as much of `text` as the box holds; None if nothing."""
        text = Text.of(text) if isinstance(text, str) else text
        return self.compositor.compose(style, text, width_px, height_px, most_lines)

    def compose_fact(
        self, style: Style, kind: str, width_px: int, height_px: int, most_lines: int
    ) -> Composed | None:
        """Draw short texts of a kind until one fits the box as a whole; None when none does."""
        for _ in range(FACT_ATTEMPTS):
            fact = self.fact(kind, style.language)
            composed = self.compose(style, fact, width_px, height_px, most_lines)
            if composed is not None and composed.whole:
                return composed
        return None

    def place(
        self,
        composed: Composed,
        left: int,
        top: int,
        role: Role,
        *,
        sheet: bool = False,
        aided: bool = True,
        part: bool = False,
    ) -> Box | None:
        """Put a block with its corner at (left, top), choose its ink, and return its ink's box.

        On a `sheet` the layout has laid what it stands on. Elsewhere it is on the ground of the
        page or, if `aided`, on another one where no ink can be read on that. With `part` its first
        lines are put where no ink can be read on all of them. Overhanging ink is moved inside the
        area. None, and nothing placed, when it is larger than the area or cannot be read here.
        """
        ink_box, area = composed.box, self.area
        if ink_box.width > area.width or ink_box.height > area.height:
            return None
        left = min(max(left, area.left - ink_box.left), area.right - ink_box.right)
        top = min(max(top, area.top - ink_box.top), area.bottom - ink_box.bottom)
        box = ink_box.moved(left, top)
        warped = self.canvas.warp is not None
        ways = self._ways(composed.style, sheet=sheet, aided=aided)
        # At once while the glyphs are at hand, but not where no ink may be found, as on gravel.
        at_once = warped or ways[0] != "bare"
        placed = self._placed(composed, left, top) if at_once else None
        inked = None
        if placed is not None and warped:
            inked = placed.boxes[:, 2] > placed.boxes[:, 0]
            boxes = placed.boxes[inked]
        else:
            boxes = np.empty_like(composed.lines)
            move(composed.lines, left, top, boxes)
        ink = choose(
            self.rng,
            self.canvas,
            boxes,
            box.grown(PLATE_MARGIN_PX * (2 if warped else 1)).intersection(self.box),
            composed.style.size_px,
            self.contrast_floor,
            ways=ways,
            wanted=composed.style.colour or self.inks.get(composed.style.fonts),
            tint=self.tint if "plate" in ways else None,
            opacities=self._plate_opacities,
            part=part and not warped,
        )
        if ink is None:
            return None
        if len(ink.contrasts) < len(boxes):
            composed = composed.first(len(ink.contrasts))
            box = composed.box.moved(left, top)
            placed = None
        if composed.style.colour is None:
            self.inks[composed.style.fonts] = ink.colour
        if ink.plate is not None:
            self.rects.append(ink.plate)
        self.fallbacks += self._hides_more(ink)
        contrasts = ink.contrasts
        if inked is not None:
            of_all = np.full(len(inked), 21.0)
            of_all[inked] = contrasts
            contrasts = [float(of_all[part].min()) for part in line_slices(composed.lengths)]
        placed = placed or self._placed(composed, left, top)
        across = left if composed.style.vertical else top
        ground = ink.ground
        if ground == "bare":
            ground = "sheet" if sheet else self._background
        self.blocks.append(_block(composed, placed.text, across, role, ink, ground, contrasts))
        self.placed.append(placed)
        self.taken.append(box)
        return box

    @cached_property
    def _background(self) -> Ground:
        return "bare" if self.choices.background.source else "flat"

    @cached_property
    def _plate_opacities(self) -> list[float]:
        return thicknesses(*self.plate_opacity)

    def _hides_more(self, ink: Ink) -> bool:
        """Say whether an ink hides more of the photograph than the recipe asks."""
        if ink.plate is not None:
            return self.choices.ground != "plate" or ink.plate.opacity > self.plate_opacity[1]
        return ink.halo is not None and self.choices.ground != "outline"

    def _placed(self, composed: Composed, left: int, top: int) -> Placed:
        text, warp = composed.characters, self.canvas.warp
        if warp is None:
            return composed.placed.moved(text, left, top)
        return place(text.moved(left, top), self.material.atlas, self.choices.hinting, warp)

    def lay(self, box: Box, colour: Colour | None, opacity: float = 1.0) -> None:
        """Paint a rectangle under the text to come; what lies outside the page is cut off."""
        cut = box.intersection(self.box)
        if not cut.empty:
            rect = Rect(cut, colour, opacity)
            self.canvas.lay(rect)
            self.rects.append(rect)

    def mark(self, box: Box, colour: Colour) -> None:
        """Draw a rule or a tick with the text: it is no ground that the text stands on."""
        cut = box.intersection(self.box)
        if not cut.empty:
            self.marks.append(Rect(cut, colour))

    def frame(self, box: Box, colour: Colour, px: int = 1) -> None:
        """Draw the outline of a box, `px` px wide, inside it."""
        left, top, right, bottom = box
        self.mark(Box(left, top, right, top + px), colour)
        self.mark(Box(left, bottom - px, right, bottom), colour)
        self.mark(Box(left, top + px, left + px, bottom - px), colour)
        self.mark(Box(right - px, top + px, right, bottom - px), colour)

    @property
    def gap_px(self) -> int:
        """Return how far blocks must be apart for no plate to change the light under another."""
        cell = CELL_PX - 1
        return (
            PLATE_MARGIN_PX + cell if self.canvas.warp is None else 2 * PLATE_MARGIN_PX + cell + 3
        )


def _without(ground: Ground, ways: tuple[Ground, ...]) -> tuple[Ground, ...]:
    return tuple(way for way in ways if way != ground)


def _block(
    composed: Composed,
    text: SetText,
    across: int,
    role: Role,
    ink: Ink,
    ground: Ground,
    contrasts: Sequence[float],
) -> Block:
    """Return a composed block as the plan keeps it, its lines moved `across` px."""
    style = composed.style
    font_index = text.font_index.tolist() if len(text.fonts) > 1 else []
    lines: list[Line] = []
    stop = 0
    for length, base, contrast in zip(composed.lengths, composed.bases, contrasts, strict=True):
        start, stop = stop, stop + length
        part, fonts = composed.text[start:stop], tuple(font_index[start:stop])
        lines.append(Line(part, base + across, text.pens[start:stop], contrast, fonts))
    return Block(
        role=role,
        language=style.language,
        size_px=style.size_px,
        vertical=style.vertical,
        fonts=tuple(font.name for font in text.fonts),
        colour=ink.colour,
        ground=ground,
        halo=ink.halo,
        source=composed.source,
        lines=tuple(lines),
    )
