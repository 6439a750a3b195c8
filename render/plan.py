"""Plan: everything that was chosen for one page, before a pixel is drawn.

Numbers, strings and arrays of numbers only, so that it travels as JSON beside the sample and
paints the same page again. The pattern (choose first, draw second) follows SynthTIGER's layouts,
which separate `sample` from `apply`. Plain frozen dataclasses, as a page makes hundreds of them
in a millisecond; pydantic checks them only when they come back from a file.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, PlainValidator, TypeAdapter, ValidationError

from shards import UserError


class Box(NamedTuple):
    """A rectangle of whole px: from `left` and `top` up to `right` and `bottom`, which lie outside.

    One whose right is not beyond its left, or whose bottom is not below its top, is empty.
    """

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def union(cls, boxes: Iterable[Sequence[int]]) -> Self:
        """Return the smallest box around all of `boxes`, at least one."""
        lefts, tops, rights, bottoms = zip(*boxes, strict=True)
        return cls(min(lefts), min(tops), max(rights), max(bottoms))

    @property
    def width(self) -> int:
        """Return the width, px."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Return the height, px."""
        return self.bottom - self.top

    @property
    def empty(self) -> bool:
        """Say whether no pixel lies inside."""
        return self.right <= self.left or self.bottom <= self.top

    @property
    def slices(self) -> tuple[slice, slice]:
        """Return what cuts the box out of a picture (h, w, ...)."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def moved(self, right: int, down: int) -> Self:
        """Return the box, moved."""
        left, top = self.left + right, self.top + down
        return type(self)(left, top, self.right + right, self.bottom + down)

    def grown(self, px: int) -> Self:
        """Return a box `px` px larger on every side."""
        return type(self)(self.left - px, self.top - px, self.right + px, self.bottom + px)

    def inner(self, px: int) -> Self:
        """Return a box `px` px smaller on every side, but at least 2 px wide and high."""
        return self.grown(-min(px, (self.width - 2) // 2, (self.height - 2) // 2))

    def intersection(self, other: "Box") -> Self:
        """Return what lies inside both; it may be empty."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        return type(self)(left, top, min(self.right, other.right), min(self.bottom, other.bottom))

    def apart(self, others: Iterable["Box"], gap_px: int) -> bool:
        """Say whether the box keeps `gap_px` px from all others."""
        left, top, right, bottom = self.grown(gap_px)
        return all(
            left >= other.right or other.left >= right or top >= other.bottom or other.top >= bottom
            for other in others
        )


EMPTY = Box(0, 0, 0, 0)

Level = Annotated[int, Field(ge=0, le=255)]

Colour = tuple[Level, Level, Level]
"""(red, green, blue), sRGB in [0, 255]."""

Language = Literal["en", "zh", "zh-hant", "mixed"]
"""What one block is written in: English, Simplified or Traditional Chinese, or Chinese with
English inside its lines."""

LANGUAGES: tuple[Language, ...] = get_args(Language)

HanVariant = Literal["tw", "hk", "t"]
"""The standard that a page of zh-hant keeps to, as OpenCC names them: Taiwan's, Hong Kong's, or
OpenCC's own (裏, 爲, 着), which is near to older print."""

HAN_VARIANTS: tuple[HanVariant, ...] = get_args(HanVariant)

Role = Literal["title", "heading", "body", "item", "label", "caption", "cell", "number", "footer"]

Hinting = Literal["none", "light", "full"]
"""How outlines are fitted to the pixel grid: not at all, in height only, or as the font says."""

Blending = Literal["srgb", "linear"]

Ground = Literal["flat", "bare", "outline", "plate", "sheet"]
"""What a block stands on: plain paper where a page has no photograph, the bare photograph, its own
outline on it, a plate behind the block alone, or a sheet of paper that the layout laid."""

TextSource = Literal["corpus", "facts"]
"""Where the text of a block comes from: running text, or short texts made up by rule."""

_STRICT = ConfigDict(extra="forbid")

_NUMBERS = TypeAdapter(tuple[Annotated[int, Field(ge=-(2**31), lt=2**31)], ...])


def _array(stored: Any) -> NDArray[np.int32]:
    return np.array(_NUMBERS.validate_python(stored), np.int32)


@dataclass(frozen=True, slots=True)
class Background:
    """A crop of the photograph named `source`, or, without one, a vertical gradient of colours.

    `crop` is a box in px of the photograph; it is scaled to the page. `passed_over` names the
    photographs that were drawn before it and cannot be read.
    """

    source: str | None = None
    passed_over: tuple[str, ...] = ()
    crop: Box = EMPTY
    top: Colour = (255, 255, 255)
    bottom: Colour = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Rect:
    """A filled rectangle: sheets of paper, rules, frames, plates.

    `opacity` is in (0, 1]. Without a colour the background shows again, as a picture in the text.
    """

    box: Box
    colour: Colour | None
    opacity: Annotated[float, Field(gt=0, le=1)] = 1.0


@dataclass(frozen=True, slots=True)
class Font:
    """A face by name (file below the user's folder, "#", index) and its place on its axes."""

    face: str
    design: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One line of text and the pen of every character, spaces included.

    `baseline_px` is the y of the baseline, in vertical text the x of the column's middle. `pens`
    (n,) are quarters of a px along the line: an array, since thousands of Python's integers a
    page cost as much as setting its text. `fonts` is the position in the block's fonts for each
    character, or empty when the first one draws them all. `contrast` is the WCAG 2 ratio in
    [1, 21] of the ink in the worst window of the line.
    """

    text: str
    baseline_px: int
    pens: Annotated[NDArray[np.int32], PlainValidator(_array)]
    contrast: float
    fonts: tuple[int, ...] = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Line) and self._values() == other._values()

    def _values(self) -> tuple[Any, ...]:
        return self.text, self.baseline_px, self.pens.tolist(), self.contrast, self.fonts


@dataclass(frozen=True, slots=True)
class Block:
    """Lines that share size, fonts and colour; `halo` is the colour of an outline around the ink.

    `size_px` is the em in px.
    """

    role: Role
    language: Language
    size_px: int
    vertical: bool
    fonts: tuple[Font, ...]
    colour: Colour
    ground: Ground
    halo: Colour | None
    source: TextSource
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Effect:
    """A change to the finished picture: kind, its strength, and the seed of what is random."""

    kind: str
    strength: float
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Choices:
    """What is chosen for a page before anything is placed on it.

    `language`, `layout` and `ground` are the names that the recipe weighs: blocks that cannot be
    read on that ground stand on another one. `warp` is a homography
    (row-major, 9 numbers) from the flat page, on which everything is placed, to the picture.
    `retries` counts the arrangements that left the page empty before this one.
    """

    seed: int
    index: int
    width: int
    height: int
    language: Language
    layout: str
    ground: Ground
    hinting: Hinting
    subpixel: bool
    blending: Blending
    warp: tuple[float, ...] | None
    retries: int
    background: Background

    @property
    def box(self) -> Box:
        """Return the box of the whole page."""
        return Box(0, 0, self.width, self.height)


@dataclass(frozen=True, slots=True)
class Plan(Choices):
    """One page: the choices, and what was placed by them.

    `rects` are in drawing order, all of them under the ink; `marks` (rules, frames, ticks) are
    drawn after them and are no ground for contrast. `fallbacks` counts the blocks and sheets that
    hide more of the photograph than the recipe asks, since nothing less holds the floor. It
    inherits so that its JSON stays flat.
    """

    rects: tuple[Rect, ...]
    marks: tuple[Rect, ...]
    blocks: tuple[Block, ...]
    effects: tuple[Effect, ...]
    fallbacks: int

    @classmethod
    def following(cls, choices: Choices, **placed: Any) -> Self:
        """Return the plan that adds `placed`, the other fields by name, to what was chosen."""
        return cls(**{each.name: getattr(choices, each.name) for each in fields(choices)}, **placed)

    def lines(self) -> Iterator[tuple[Block, Line]]:
        """Yield (block, line) in reading order."""
        return ((block, line) for block in self.blocks for line in block.lines)

    @property
    def text(self) -> str:
        """Return the lines in reading order, joined by newlines."""
        return "\n".join(line.text for _, line in self.lines())

    @classmethod
    def of(cls, stored: Any) -> "Plan":
        """Check a plan read from JSON: `json.loads` of a sample's metadata, its key "plan".

        Raises:
            UserError: naming the first field that does not fit.
        """
        try:
            plan = _adapter().validate_python(stored)
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(str(part) for part in fault["loc"]) or "the plan"
            raise UserError(f"plan: {where}: {fault['msg']}; render the sample again") from error
        for block, line in plan.lines():
            counts = {len(line.text), len(line.pens), len(line.fonts) or len(line.text)}
            if len(counts) > 1 or any(not 0 <= font < len(block.fonts) for font in line.fonts):
                raise UserError(
                    f"plan: line {line.text!r} does not hold a pen and a font for each character; "
                    "render the sample again"
                )
        return plan


@cache
def _adapter() -> TypeAdapter[Plan]:
    return TypeAdapter(Plan)


for _class in (Background, Rect, Font, Line, Block, Effect, Choices, Plan):
    # pydantic reads this name; dataclasses with slots take no other class attribute.
    _class.__pydantic_config__ = _STRICT  # pyright: ignore[reportAttributeAccessIssue]
