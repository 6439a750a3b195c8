"""The page while it is being chosen: sets text in lines, gives it a place and an ink.

What a layout may ask for is here; where things go is the layout's business. All of it reads
glyphs at their final size, so the boxes it promises are the boxes that will be drawn.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from render.breaks import wrap
from render.corpus import Corpus
from render.fonts import Fonts, legible
from render.glyphs import Face, Glyph, Type, advances, pen
from render.ink import choose
from render.plan import Block, Box, Language, Line, Role, Run
from shards import RGB

EM_PER_CHARACTER: Mapping[Language, float] = {"en": 0.5, "zh": 1.0}
"""Mean advance, for estimates of how much text fills a box."""

MARGIN_PX = 3
"""Least distance between ink and the edge of the page."""


@dataclass(frozen=True, slots=True)
class Style:
    """How a block is set; `leading` is the distance of baselines in em."""

    language: Language
    face: Face
    weight: int | None
    size_px: int
    leading: float
    align: str = "left"
    indent_em: float = 0.0


@dataclass(frozen=True, slots=True)
class Character:
    """One character that will be drawn, with the face that draws it."""

    text: str
    face: Face
    weight: int | None
    glyph: Glyph


@dataclass(frozen=True, slots=True)
class SetLine:
    """A line relative to the corner of its block: runs, baseline and the box of its ink."""

    runs: tuple[Run, ...]
    baseline_px: int
    box: Box


@dataclass(frozen=True, slots=True)
class Composed:
    """Lines set in `style`; `box` bounds their ink relative to the corner of the block."""

    style: Style
    lines: tuple[SetLine, ...]
    box: Box


@dataclass(slots=True)
class Page:
    """A page of `width` x `height` px with its generator, sources and the blocks placed so far.

    `canvas` is the background with the plates of those blocks, `taken` the boxes of their ink.
    """

    rng: np.random.Generator
    width: int
    height: int
    languages: tuple[Language, ...]
    sizes_px: tuple[int, int]
    contrast_floor: float
    fonts: Fonts
    cases: Mapping[Language, tuple[Type, ...]]
    corpus: Corpus
    canvas: RGB
    blocks: list[Block] = field(default_factory=list[Block])
    taken: list[Box] = field(default_factory=list[Box])

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return bool(self.rng.random() < probability)

    def size_px(self, low: int = 0, high: int = 1000) -> int:
        """Draw an em size, uniform over the settings' range cut to [low, high]."""
        least, most = self.sizes_px
        low, high = min(max(low, least), most), max(min(high, most), least)
        return int(self.rng.integers(min(low, high), high + 1))

    def style(self, size_px: int, *, align: str = "left", indent: bool = False) -> Style:
        """Draw language, face, weight and leading for a block of this size."""
        language = self.languages[self.rng.integers(len(self.languages))]
        types = legible(self.cases[language], language, size_px)
        face, weight = types[int(self.rng.integers(len(types)))]
        leading = self.rng.uniform(1.15, 1.5) if language == "en" else self.rng.uniform(1.25, 1.6)
        indent_em = (2.0 if language == "zh" else 1.2) if indent else 0.0
        return Style(language, face, weight, size_px, leading, align, indent_em)

    def compose(
        self, style: Style, width_px: int, height_px: int, characters: int, most_lines: int = 1000
    ) -> Composed | None:
        """Draw text of about `characters` and set as much as the box holds; None if nothing."""
        pitch = round(style.size_px * style.leading)
        room = min(most_lines, height_px // pitch + 1) * width_px
        # A quarter more than fits on average: narrow letters, and what the wrap leaves over.
        most = int(1.25 * room / (style.size_px * EM_PER_CHARACTER[style.language]))
        text = self.corpus.draw(self.rng, style.language, max(1, min(characters, most)))
        shaped = self._shape(text, style)
        text = "".join(character.text for character in shaped)
        em, table = style.size_px, {}
        edges = [0.0]
        for character in shaped:
            key = (character.face, character.weight)
            if key not in table:
                table[key] = advances(*key)
            edges.append(edges[-1] + table[key][character.text] * em)
        indent = style.indent_em * em
        spans = wrap(text, edges, width_px, indent=indent)[:most_lines]
        lines: list[SetLine] = []
        baseline = bottom = 0
        for number, (start, end) in enumerate(spans):
            first = 0.0 if number else indent
            slack = width_px - first - (edges[end] - edges[start])
            last = number == len(spans) - 1
            steps = _offsets(style.align, text[start:end], slack, width_px, last=last)
            pens = [
                round(first + edges[i] - edges[start] + steps[i - start]) for i in range(start, end)
            ]
            line = shaped[start:end]
            left, top, right, low = _bounds(line, pens)
            baseline = max(baseline + pitch, bottom + 1 - top) if number else -top
            if baseline + low > height_px:
                break
            bottom = baseline + low
            box = (left, baseline + top, right, bottom)
            lines.append(SetLine(_runs(line, pens), baseline, box))
        if not lines:
            return None
        return Composed(style, tuple(lines), _union([line.box for line in lines]))

    def place(
        self, composed: Composed, left: int, top: int, role: Role, *, plated: bool = True
    ) -> Box | None:
        """Put a block with its corner at (left, top), choose its ink, and return its ink's box.

        Overhanging ink is moved inside the page. None, and nothing placed, when it is larger than
        the page or, with `plated=False`, when no ink can be read here.
        """
        x0, y0, x1, y1 = composed.box
        if x1 - x0 > self.width - 2 * MARGIN_PX or y1 - y0 > self.height - 2 * MARGIN_PX:
            return None
        left = min(max(left, MARGIN_PX - x0), self.width - MARGIN_PX - x1)
        top = min(max(top, MARGIN_PX - y0), self.height - MARGIN_PX - y1)
        boxes = [_moved(line.box, left, top) for line in composed.lines]
        size_px = composed.style.size_px
        ink = choose(self.rng, self.canvas, boxes, size_px, self.contrast_floor, plated=plated)
        if ink is None:
            return None
        lines = tuple(
            Line(
                size_px=size_px,
                baseline_px=line.baseline_px + top,
                contrast=round(contrast, 3),
                runs=tuple(
                    Run(
                        text=run.text,
                        face=run.face,
                        weight=run.weight,
                        x_px=tuple(x + left for x in run.x_px),
                    )
                    for run in line.runs
                ),
            )
            for line, contrast in zip(composed.lines, ink.contrasts, strict=True)
        )
        language = composed.style.language
        self.blocks.append(
            Block(role=role, language=language, colour=ink.colour, plate=ink.plate, lines=lines)
        )
        self.taken.append(_moved(composed.box, left, top))
        return self.taken[-1]

    def _shape(self, text: str, style: Style) -> list[Character]:
        """Give each character a face that shows it at this size; drop those that none does."""
        own = pen(style.face, style.weight, style.size_px)
        shaped: list[Character] = []
        for character in text:
            glyph = own.glyph(character)
            if glyph is not None:
                shaped.append(Character(character, style.face, style.weight, glyph))
                continue
            other = self.fonts.substitute(character, style.size_px)
            if other is not None:
                glyph = pen(*other, style.size_px).glyph(character)
                assert glyph is not None, "substitute returns a face that shows the character"
                shaped.append(Character(character, *other, glyph))
        while shaped and shaped[0].text == " ":
            shaped.pop(0)
        return shaped


def _offsets(align: str, text: str, slack: float, width: float, *, last: bool) -> list[float]:
    """Return how far alignment moves each character to the right, in px."""
    if align == "justify" and not last and 0 < slack < 0.2 * width:
        spaces = " " in text
        gaps = [character == " " if spaces else True for character in text[:-1]]
        step = slack / max(1, sum(gaps))
        steps = [0.0]
        for gap in gaps:
            steps.append(steps[-1] + step * gap)
        return steps
    shift = {"center": slack / 2, "right": slack}.get(align, 0.0)
    return [max(0.0, shift)] * len(text)


def _bounds(line: list[Character], pens: list[int]) -> Box:
    """Return the box of a line's ink relative to its baseline."""
    boxes = [
        (x + g.left, g.top, x + g.left + g.mask.shape[1], g.top + g.mask.shape[0])
        for x, g in zip(pens, (character.glyph for character in line), strict=True)
        if g.mask.size
    ]
    return _union(boxes)


def _union(boxes: list[Box]) -> Box:
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _moved(box: Box, x: int, y: int) -> Box:
    return box[0] + x, box[1] + y, box[2] + x, box[3] + y


def _runs(line: list[Character], pens: list[int]) -> tuple[Run, ...]:
    runs: list[Run] = []
    pairs = zip(line, pens, strict=True)
    for (face, weight), group in groupby(pairs, key=lambda pair: (pair[0].face, pair[0].weight)):
        members = list(group)
        runs.append(
            Run(
                text="".join(character.text for character, _ in members),
                face=face.name,
                weight=weight,
                x_px=tuple(x for _, x in members),
            )
        )
    return tuple(runs)
