"""The page while it is being chosen: sets text in lines, gives it a place and an ink.

What a layout may ask for is here; where things go is the layout's business. All of it reads
glyphs at their final size, so the boxes it promises are the boxes that will be drawn.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from render.atlas import Atlas
from render.breaks import Text
from render.canvas import Canvas
from render.corpus import Corpus
from render.facts import Facts
from render.fonts import Fonts
from render.glyphs import SPACE, Type
from render.ink import BLACK, PLATE_MARGIN_PX, Ink, choose, tint
from render.kernels import CELL_PX, fill_lines, in_lines, ink_boxes, set_pens, union_boxes
from render.placing import Glyphs, Placed, line_slices, place
from render.plan import Block, Box, Colour, Hinting, Language, Line, Rect, Role

EM_PER_CHARACTER: Mapping[Language, float] = {"en": 0.5, "zh": 1.0, "zh-hant": 1.0, "mixed": 0.9}
"""Mean advance, for estimates of how much text fills a box."""

MARGIN_PX = 3
"""Least distance between ink and the edge of the page."""

SPACE_EM = 0.25
"""Advance of a space in a face that has none."""

ALIGNS = {"left": 0, "justify": 1, "center": 2, "right": 3}
"""The names of alignments, as `set_pens` counts them."""

FACT_ATTEMPTS = 4
"""Short texts tried for a place before it stays empty (our choice)."""

OUTLINE_PX = {"en": 9, "zh": 11}
"""Smallest em that gets an outline: in smaller text it fills the counters (our choice)."""

COMPANION = 0.3
"""Share of Chinese blocks whose Latin letters come from a Latin face, as in careful print."""

UPRIGHT = {ord(a): ord(b) for a, b in zip("“”‘’", "「」『』", strict=True)}
"""Quotation marks that change their form in vertical text."""


@dataclass(frozen=True, slots=True)
class Style:
    """How a block is set: `types` draw it, the first one first; `leading` is in em.

    `colour` is the ink wished for; another one is taken where it cannot be read.
    """

    language: Language
    types: tuple[Type, ...]
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


@dataclass(frozen=True, slots=True)
class Standing:
    """Glyphs in lines.

    `found` (n,) are rows of their strikes, `places` (n,) whole px of their pens along the line,
    `boxes` (n, 4) their ink from the base of the line.
    """

    found: NDArray[np.int32]
    places: NDArray[np.int32]
    boxes: NDArray[np.int32]

    def where(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> "Standing":
        """Return some of them."""
        return Standing(self.found[keep], self.places[keep], self.boxes[keep])


@dataclass(frozen=True, slots=True)
class Composed:
    """A block set in lines, relative to its corner.

    Characters (n,): `text`, `pens` in quarter px, `owners` among `types`, and the `glyphs` that
    stand there. Lines (l,): `lengths`, `bases`, boxes (l, 4). `box` bounds all ink; `whole` says
    whether all of the text is there.
    """

    style: Style
    types: tuple[Type, ...]
    text: str
    pens: NDArray[np.int32]
    owners: NDArray[np.int8]
    glyphs: Standing
    lengths: tuple[int, ...]
    bases: tuple[int, ...]
    lines: NDArray[np.int32]
    box: Box
    whole: bool

    @property
    def width(self) -> int:
        """Return the width of the ink, px."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> int:
        """Return the height of the ink, px."""
        return self.box[3] - self.box[1]


@dataclass(frozen=True, slots=True)
class _Shaped:
    """Characters that will be drawn, with the type of each: what `_shape` returns."""

    codes: NDArray[np.uint32]
    ends: NDArray[np.bool_]
    ranks: NDArray[np.int32]
    owners: NDArray[np.int8]
    types: tuple[Type, ...]

    def of(self, number: int, used: int) -> slice | NDArray[np.int64]:
        """Return where among the first `used` characters those of type `number` are."""
        if len(self.types) == 1:
            return slice(0, used)
        return np.flatnonzero(self.owners[:used] == number)

    def where(self, keep: NDArray[np.bool_]) -> "_Shaped":
        return _Shaped(
            self.codes[keep], self.ends[keep], self.ranks[keep], self.owners[keep], self.types
        )


@dataclass(frozen=True, slots=True)
class _Set:
    """Characters in lines: what `_set` returns.

    `starts`, `stops` (l,); `pens` (n,) quarter px; the `glyphs` of the characters in lines;
    `lost` (n,) where no ink is though there should be.
    """

    starts: NDArray[np.int32]
    stops: NDArray[np.int32]
    pens: NDArray[np.int32]
    glyphs: Standing
    lost: NDArray[np.bool_]


class Sizes:
    """The distribution of em sizes: px and their shares."""

    def __init__(self, shares: Mapping[int, float]) -> None:
        """Take the share of each size; one at least is positive."""
        self._shares = {size: shares[size] for size in sorted(shares) if shares[size] > 0}
        self.low, self.high = min(self._shares), max(self._shares)
        self._cut: dict[tuple[int, int], tuple[list[int], list[float]]] = {}

    def near(self, size_px: float) -> int:
        """Return the size nearest to `size_px`."""
        return min(self._shares, key=lambda size: abs(size - size_px))

    def draw(self, rng: np.random.Generator, low: int, high: int) -> int:
        """Draw a size within [low, high] cut to the range; the nearest size where none is."""
        if (low, high) not in self._cut:
            inside = [size for size in self._shares if low <= size <= high]
            inside = inside or [self.near(low)]
            self._cut[low, high] = inside, list(accumulate(self._shares[one] for one in inside))
        inside, ends = self._cut[low, high]
        return inside[bisect_right(ends, rng.random() * ends[-1])]


@dataclass
class Page:
    """A page of `width` x `height` px with its generator, sources and what was placed so far.

    `language` is what the page is written in, `placed` are the glyphs of `blocks`, `taken` the
    boxes of their ink, `inks` the last colour of each set of types: what is set alike is coloured
    alike. `photograph` says whether there is one to show. Layouts keep to `area`, which a warp
    makes smaller than the page.
    """

    rng: np.random.Generator
    width: int
    height: int
    language: Language
    sizes: Sizes
    contrast_floor: float
    outline_share: float
    hinting: Hinting
    subpixel: bool
    fonts: Fonts
    atlas: Atlas
    corpus: Corpus
    facts: Facts
    canvas: Canvas
    photograph: bool
    blocks: list[Block] = field(default_factory=list[Block])
    placed: list[Placed] = field(default_factory=list[Placed])
    rects: list[Rect] = field(default_factory=list[Rect])
    marks: list[Rect] = field(default_factory=list[Rect])
    taken: list[Box] = field(default_factory=list[Box])
    inks: dict[tuple[Type, ...], Colour] = field(default_factory=dict[tuple[Type, ...], Colour])

    @cached_property
    def area(self) -> Box:
        """Return the box that ink may stand in."""
        inset = MARGIN_PX
        if self.canvas.warp is not None:
            inset = self.canvas.warp.inset(self.width, self.height, MARGIN_PX + 1)
        return inset, inset, self.width - inset, self.height - inset

    @cached_property
    def veil(self) -> Colour:
        """Return the tint that all plates of this page share.

        A light veil over a light page and a dark one over a dark page change the picture least.
        """
        mean = self.canvas.light.mean((0, 0, self.width, self.height))
        light = self.chance(min(0.9, max(0.1, 0.5 + 2.0 * (mean - 0.25))))
        return tint(self.rng, light=light)

    @cached_property
    def outlined(self) -> bool:
        """Say whether blocks of this page get outlines where no colour can be read."""
        return self.chance(self.outline_share)

    def _outlines(self, style: Style) -> bool:
        least = OUTLINE_PX["en" if style.language == "en" else "zh"]
        return style.size_px >= least and self.outlined

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
        manner: str = "",
        like: Style | None = None,
        vertical: bool = False,
        colour: Colour | None = None,
    ) -> Style:
        """Draw language, types and leading for a block of this size, or take those of `like`."""
        if like is not None:
            return replace(like, size_px=size_px, align=align, indent_em=0.0, colour=colour)
        language = self.spoken()
        han = language != "en"
        types = [self.fonts.draw(self.rng, language, size_px, manner=manner, vertical=vertical)]
        if language == "mixed" or (han and not vertical and self.chance(COMPANION)):
            latin = self.fonts.draw(self.rng, "en", size_px, manner=manner)
            types.append(latin)
        leading = self.between(1.25, 1.6) if han else self.between(1.15, 1.5)
        indent_em = (2.0 if han else 1.2) if indent else 0.0
        return Style(language, tuple(types), size_px, leading, align, indent_em, vertical, colour)

    def spoken(self) -> Language:
        """Draw the language of a block: pages of "mixed" hold blocks of either tongue too."""
        if self.language != "mixed":
            return self.language
        return ("mixed", "mixed", "zh", "en")[self.count(0, 3)]

    def fact(self, kind: str, language: Language) -> str:
        """Draw a short text of a kind that `facts.py` lists."""
        return self.facts.draw(self.rng, kind, "zh" if language == "mixed" else language)

    def prose(self, style: Style, width_px: int, height_px: int, lines: float) -> Text:
        """Draw running text for about `lines` lines, no more than the box can hold."""
        per_line = style.characters_in(height_px if style.vertical else width_px)
        across = width_px if style.vertical else height_px
        # A quarter more than fits on average: narrow letters, and what the wrap leaves over.
        most = 1.25 * (across // style.pitch_px + 1) * per_line
        characters = max(1, int(min(lines * per_line, most)))
        return self.corpus.draw(self.rng, style.language, characters)

    def compose(
        self,
        style: Style,
        text: Text | str,
        width_px: int,
        height_px: int,
        most_lines: int = 1000,
    ) -> Composed | None:
        """Set as much of `text` as the box holds; None if nothing."""
        shaped = self._shape(Text.of(text) if isinstance(text, str) else text, style)
        along, across = (height_px, width_px) if style.vertical else (width_px, height_px)
        tight = self._set(shaped, style, along, most_lines)
        if tight.lost.any():
            shaped = self._mended(shaped, tight.lost, style)
            tight = self._set(shaped, style, along, most_lines)
        starts, stops = tight.starts, tight.stops
        unions = union_boxes(tight.glyphs.boxes, starts, stops)
        bases = _bases(unions, style, across)
        if not bases:
            return None
        chosen = list(zip(starts.tolist(), stops.tolist(), strict=True))[: len(bases)]
        keep = in_lines(starts[: len(bases)], stops[: len(bases)])
        lines = unions[: len(bases)].copy()
        lines[:, 0 if style.vertical else 1] += bases
        lines[:, 2 if style.vertical else 3] += bases
        return Composed(
            style=style,
            types=shaped.types,
            text=shaped.codes[keep].tobytes().decode("utf-32-le"),
            pens=tight.pens[keep],
            owners=shaped.owners[keep],
            glyphs=tight.glyphs.where(keep),
            lengths=tuple(stop - start for start, stop in chosen),
            bases=tuple(bases),
            lines=lines,
            box=_bounds(lines),
            whole=chosen[-1][1] > int(np.flatnonzero(shaped.codes != SPACE)[-1]),
        )

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
        plated: bool = True,
    ) -> Box | None:
        """Put a block with its corner at (left, top), choose its ink, and return its ink's box.

        Overhanging ink is moved inside the area. None, and nothing placed, when it is larger than
        the area or, with `plated=False`, when no ink can be read here.
        """
        x0, y0, x1, y1 = composed.box
        least_x, least_y, most_x, most_y = self.area
        if x1 - x0 > most_x - least_x or y1 - y0 > most_y - least_y:
            return None
        left = min(max(left, least_x - x0), most_x - x1)
        top = min(max(top, least_y - y0), most_y - y1)
        box: Box = (left + x0, top + y0, left + x1, top + y1)
        boxes = composed.lines + np.array([left, top, left, top], np.int32)
        slices = warped = None
        if self.canvas.warp is not None:
            flat = self._block(composed, left, top, role, None, [1.0] * len(boxes))
            warped = place(flat, self.fonts, self.atlas, self.hinting, self.canvas.warp)
            boxes, slices = warped.boxes, line_slices(composed.lengths)
        inked = boxes[:, 2] > boxes[:, 0]
        ink = choose(
            self.rng,
            self.canvas,
            boxes[inked],
            _grown(box, self.width, self.height, 1 if slices is None else 2),
            composed.style.size_px,
            self.contrast_floor,
            outlined=plated and self._outlines(composed.style),
            veil=self.veil if plated else None,
            wanted=composed.style.colour or self.inks.get(composed.style.types),
        )
        if ink is None:
            return None
        if composed.style.colour is None:
            self.inks[composed.style.types] = ink.colour
        if ink.plate is not None:
            self.rects.append(ink.plate)
        contrasts = ink.contrasts
        if slices is not None:
            every = np.full(len(boxes), 21.0)
            every[inked] = contrasts
            contrasts = [float(every[part].min()) for part in slices]
        self.blocks.append(self._block(composed, left, top, role, ink, contrasts))
        self.placed.append(warped or self._stood(composed, left, top))
        self.taken.append(box)
        return box

    def _stood(self, composed: Composed, left: int, top: int) -> Placed:
        """Return what `place` finds for the block on a flat page, without looking for it again."""
        style = composed.style
        along, across = (top, left) if style.vertical else (left, top)
        bases = np.repeat(np.array(composed.bases, np.int32) + np.int32(across), composed.lengths)
        places = composed.glyphs.places + np.int32(along)
        xs, ys = (bases, places) if style.vertical else (places, bases)
        boxes = composed.glyphs.boxes.copy()
        shifts = (bases, along) if style.vertical else (along, bases)
        for side, shift in enumerate(shifts * 2):
            boxes[:, side] += shift
        groups: list[Glyphs] = []
        for number, type_ in enumerate(composed.types):
            own = (
                np.flatnonzero(composed.owners == number)
                if len(composed.types) > 1
                else slice(None)
            )
            strike = self.atlas.strike(type_, style.size_px, self.hinting, vertical=style.vertical)
            found = composed.glyphs.found[own]
            groups.append(Glyphs(strike.masks, strike.rows, found, xs[own], ys[own]))
        return Placed(tuple(groups), boxes)

    def lay(self, box: Box, colour: Colour | None, opacity: float = 1.0) -> None:
        """Paint a rectangle under the text to come; what lies outside the page is cut off."""
        cut = self._cut(box)
        if cut is not None:
            rect = Rect(cut, colour, opacity)
            self.canvas.lay(rect)
            self.rects.append(rect)

    def mark(self, box: Box, colour: Colour) -> None:
        """Draw a rule or a tick with the text: it is no ground that the text stands on."""
        cut = self._cut(box)
        if cut is not None:
            self.marks.append(Rect(cut, colour))

    def frame(self, box: Box, colour: Colour, px: int = 1) -> None:
        """Draw the outline of a box, `px` px wide, inside it."""
        left, top, right, bottom = box
        self.mark((left, top, right, top + px), colour)
        self.mark((left, bottom - px, right, bottom), colour)
        self.mark((left, top + px, left + px, bottom - px), colour)
        self.mark((right - px, top + px, right, bottom - px), colour)

    @property
    def gap_px(self) -> int:
        """Return how far blocks must be apart for no plate to change the light under another."""
        cell = CELL_PX - 1
        return (
            PLATE_MARGIN_PX + cell if self.canvas.warp is None else 2 * PLATE_MARGIN_PX + cell + 3
        )

    def _cut(self, box: Box) -> Box | None:
        left, top = max(0, box[0]), max(0, box[1])
        right, bottom = min(self.width, box[2]), min(self.height, box[3])
        return (left, top, right, bottom) if left < right and top < bottom else None

    def _block(
        self,
        composed: Composed,
        left: int,
        top: int,
        role: Role,
        ink: Ink | None,
        contrasts: Sequence[float],
    ) -> Block:
        style = composed.style
        along, across = (top, left) if style.vertical else (left, top)
        pens = tuple((composed.pens + 4 * along).tolist())
        owners = composed.owners.tolist() if len(composed.types) > 1 else None
        lines = tuple(
            Line(
                text=composed.text[part],
                baseline_px=base + across,
                pens=pens[part],
                contrast=contrast,
                fonts=tuple(owners[part]) if owners else (),
            )
            for part, base, contrast in zip(
                line_slices(composed.lengths), composed.bases, contrasts, strict=True
            )
        )
        return Block(
            role=role,
            language=style.language,
            size_px=style.size_px,
            vertical=style.vertical,
            fonts=tuple(type_.font for type_ in composed.types),
            colour=ink.colour if ink else BLACK,
            aid="none" if ink is None else ink.aid,
            halo=ink.halo if ink else None,
            lines=lines,
        )

    def _shape(self, text: Text, style: Style) -> _Shaped:
        """Give each character a type that shows it at this size; drop those that none does."""
        codes, ends = text.codes, text.ends
        if style.vertical:
            codes = _upright(codes)
            own = (codes >= 0x2E80) & (codes != 0xFFFF)
            codes, ends = codes[own], ends[own]
        owners = np.zeros(len(codes), np.int8)
        ranks = style.types[0].face.ranks(codes)
        if len(style.types) > 1:
            latin = style.types[1].face.ranks(codes)
            use = (codes < 0x250) & (codes != SPACE) & (latin >= 0)
            owners[use], ranks = 1, np.where(use, latin, ranks)
        return _Shaped(codes, ends, ranks, owners, style.types)

    def _set(self, shaped: _Shaped, style: Style, along: int, most_lines: int) -> _Set:
        """Break lines, put the pens, and look at the ink there."""
        spaces = shaped.codes == SPACE
        advances = self._advances(shaped, style)
        indent = style.indent_em * style.size_px
        starts, stops = fill_lines(
            advances, shaped.ends, spaces, float(along), indent, max(1, most_lines)
        )
        fine = self.subpixel and not style.vertical and not shaped.types[0].face.han
        pens = set_pens(
            advances, shaped.ends, starts, stops, float(along), indent, ALIGNS[style.align],
            1 if fine else 4,
        )  # fmt: skip
        used = int(stops[-1]) if len(stops) else 0
        lost = np.zeros(len(pens), np.bool_)
        glyphs = Standing(*(np.zeros(shape, np.int32) for shape in (used, used, (used, 4))))
        for number, type_ in enumerate(shaped.types):
            own = shaped.of(number, used)
            strike = self.atlas.strike(type_, style.size_px, self.hinting, vertical=style.vertical)
            places, phases = strike.stand(pens[own])
            found = strike.find(shaped.ranks[own], phases)
            still = np.zeros_like(places)
            xs, ys = (still, places) if style.vertical else (places, still)
            glyphs.found[own], glyphs.places[own] = found, places
            glyphs.boxes[own] = ink_boxes(strike.rows, found, xs, ys)
            lost[own] = found < 0
        lost &= ~spaces
        return _Set(starts, stops, pens, glyphs, lost)

    def _mended(self, shaped: _Shaped, lost: NDArray[np.bool_], style: Style) -> _Shaped:
        """Give lost characters to other types that show them; drop those that none does."""
        types, owners, ranks = list(shaped.types), shaped.owners.copy(), shaped.ranks.copy()
        for code in np.unique(shaped.codes[lost]).tolist():
            found = self._substitute(code, style)
            if found is None:
                continue
            at = lost & (shaped.codes == code)
            type_, rank = found
            if type_ not in types:
                types.append(type_)
            owners[at], ranks[at], lost[at] = types.index(type_), rank, False
        # Where a line may end after a dropped character it may end before it too.
        ends = shaped.ends.copy()
        for at in np.flatnonzero(lost & ends):
            ends[max(0, at - 1)] = True
        return _Shaped(shaped.codes, ends, ranks, owners, tuple(types)).where(~lost)

    def _substitute(self, code: int, style: Style) -> tuple[Type, int] | None:
        """Return the first type that shows a character at this size, and its rank there."""
        for type_ in self.fonts.holders(code):
            strike = self.atlas.strike(type_, style.size_px, self.hinting, vertical=style.vertical)
            rank = type_.face.ranks(np.array([code], np.uint32))
            if strike.find(rank, 0)[0] >= 0:
                return type_, int(rank[0])
        return None

    def _advances(self, shaped: _Shaped, style: Style) -> NDArray[np.float64]:
        """Return the unhinted advance of each character, px."""
        if style.vertical:
            return np.full(len(shaped.codes), float(style.size_px))
        advances = np.empty(len(shaped.codes))
        for number, type_ in enumerate(shaped.types):
            own = shaped.of(number, len(advances))
            advances[own] = type_.advances(shaped.ranks[own])
        advances[shaped.ranks < 0] = SPACE_EM
        return advances * style.size_px


def _bases(unions: NDArray[np.int32], style: Style, room: int) -> list[int]:
    """Stack lines a pitch apart, further where ink would touch; as many as `room` px hold.

    Baselines go down the page; the columns of vertical text go from right to left.
    """
    bases: list[int] = []
    if style.vertical:
        for _, (left, _, right, _) in enumerate(unions.tolist()):
            base = bases[-1] - style.pitch_px if bases else room - right
            if base + left < 0:
                break
            bases.append(base)
        return bases
    bottom = 0
    for _, top, _, low in unions.tolist():
        base = max(bases[-1] + style.pitch_px, bottom + 1 - top) if bases else -top
        if base + low > room:
            break
        bases.append(base)
        bottom = base + low
    return bases


def _bounds(boxes: NDArray[np.int32]) -> Box:
    lefts, tops, rights, bottoms = zip(*boxes.tolist(), strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _grown(box: Box, width: int, height: int, times: int) -> Box:
    """Return what a plate under `box` covers."""
    px = PLATE_MARGIN_PX * times
    return (
        max(0, box[0] - px), max(0, box[1] - px), min(width, box[2] + px), min(height, box[3] + px)
    )  # fmt: skip


def _upright(codes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the codes of vertical text: full-width letters and digits, standing quotes."""
    codes = np.where((codes > SPACE) & (codes < 0x7F), codes + np.uint32(0xFEE0), codes)
    for flat, standing in UPRIGHT.items():
        codes = np.where(codes == flat, np.uint32(standing), codes)
    return codes
