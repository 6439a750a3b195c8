"""Plan: everything that was chosen for one page, before a pixel is drawn.

Numbers and strings only, so that it travels as JSON beside the sample and paints the same page
again. The pattern (choose first, draw second) follows SynthTIGER's layouts, which separate
`sample` from `apply`.
"""

from collections.abc import Iterator
from typing import Literal

from shards import Settings

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in px of the page; right and bottom lie outside."""

Colour = tuple[int, int, int]
"""(red, green, blue), sRGB in [0, 255]."""

Language = Literal["en", "zh"]
"""What one block is written in."""

Role = Literal["title", "body", "label"]


class Background(Settings):
    """A crop of the photograph named `source`, or, without one, a vertical gradient of colours.

    `crop` is a box in px of the photograph; it is scaled to the page. `passed_over` names the
    photographs that were drawn before it and cannot be read.
    """

    source: str | None = None
    passed_over: tuple[str, ...] = ()
    crop: Box = (0, 0, 0, 0)
    top: Colour = (255, 255, 255)
    bottom: Colour = (255, 255, 255)


class Run(Settings):
    """Neighbouring characters of one line in one face.

    `weight` is the place on the weight axis, None for a face without one. `x_px` holds the pen
    position of every character of `text`, spaces included.
    """

    text: str
    face: str
    weight: int | None
    x_px: tuple[int, ...]


class Line(Settings):
    """One line of text: em size, baseline and runs from left to right.

    `contrast` is the WCAG 2 ratio in [1, 21] of the ink against the worst window of the line's
    background, measured when the colour was chosen.
    """

    size_px: int
    baseline_px: int
    contrast: float
    runs: tuple[Run, ...]

    @property
    def text(self) -> str:
        """Return the characters in drawing order."""
        return "".join(run.text for run in self.runs)


class Plate(Settings):
    """A rectangle of one colour under a block; `opacity` in (0, 1]."""

    box: Box
    colour: Colour
    opacity: float


class Block(Settings):
    """Lines that share a colour and, where the background asked for it, a plate."""

    role: Role
    language: Language
    colour: Colour
    plate: Plate | None
    lines: tuple[Line, ...]


class Plan(Settings):
    """One page. `language` and `layout` are the names that the recipe weighs."""

    seed: int
    index: int
    width: int
    height: int
    language: str
    layout: str
    background: Background
    blocks: tuple[Block, ...]

    def lines(self) -> Iterator[tuple[Block, Line]]:
        """Yield (block, line) in reading order."""
        return ((block, line) for block in self.blocks for line in block.lines)

    @property
    def text(self) -> str:
        """Return the lines in reading order, joined by newlines."""
        return "\n".join(line.text for _, line in self.lines())
