"""Where text of a layout goes: a column that fills from its top, and the paper it may lie on.

Blocks that may get plates keep `page.gap_px` apart, so that the plate of one never changes the
light under another.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from render.page import Composed, Page, Style
from render.picture.ink import WHITE, of_hsv, thicknesses, tinted
from render.picture.light import contrast, extremes
from render.plan import Box, Colour, Role

PLACES = 4
"""Places tried for a block on the ground of its page, a line apart (our choice)."""

FALLBACK_LINES = 3
"""Most lines of running text that take another ground at once: below them it may be read again."""


@dataclass(frozen=True, slots=True)
class Paper:
    """A sheet of paper or a panel: its colour, and an ink that can be read everywhere on it."""

    box: Box
    ink: Colour
    colour: Colour

    def shade(self, strength: float) -> Colour:
        """Return a colour between the paper's and its opposite, for rules and header cells."""
        return shade(self.colour, strength)


def shade(colour: Colour, strength: float) -> Colour:
    """Return a colour on the way to black, or from a dark one to white; `strength` is in [0, 1]."""
    light = sum(colour) > 3 * 128
    goal = (0, 0, 0) if light else WHITE
    red, green, blue = (round(c + (g - c) * strength) for c, g in zip(colour, goal, strict=True))
    return red, green, blue


def lay_paper(page: Page, box: Box, *, dark: float = 0.12, tint: float = 0.15) -> Paper:
    """Lay paper over `box` on which its ink holds the floor in every window.

    It is as thin as is drawn within the recipe's range, or the thinnest above that holds the floor.
    `dark` is the chance of dark paper, `tint` the most saturation of light paper.
    """
    is_dark = page.chance(dark)
    hue = page.between(0, 1)
    if is_dark:
        colour = of_hsv(hue, page.between(0, 0.6), page.between(0.05, 0.15))
        ink = of_hsv(hue, page.between(0, 0.1), page.between(0.95, 1.0))
    else:
        colour = of_hsv(hue, page.between(0, tint), page.between(0.93, 1.0))
        ink = of_hsv(hue, page.between(0, 0.6), page.between(0.0, 0.13))
    least, densest = page.sheet_opacity
    opacities = thicknesses(least, densest)
    drawn = page.count(0, sum(opacity <= densest for opacity in opacities) - 1)
    opacity = next(o for o in opacities[drawn:] if o == 1 or _carries(page, box, ink, colour, o))
    page.fallbacks += opacity > densest
    page.lay(box, colour, opacity)
    return Paper(box, ink, colour)


def _carries(page: Page, box: Box, ink: Colour, colour: Colour, opacity: float) -> bool:
    """Say whether an ink holds the floor on paper of this opacity."""
    if contrast(ink, *sorted(tinted(light, colour, opacity) for light in (0, 1))) >= (
        page.contrast_floor
    ):
        return True  # on whatever lies below
    boxes = np.array([page.canvas.bounds(box)], np.int32)
    ((low, high),) = extremes(page.canvas.pixels, boxes, 1, under=(colour, opacity)).tolist()
    return contrast(ink, low, high) >= page.contrast_floor


@dataclass
class Column:
    """A box that fills from its top with text in `style`; `top` is where the next block may start.

    Blocks stand on the ground of the page unless the column lies on `paper`.
    """

    page: Page
    left: int
    top: int
    right: int
    bottom: int
    style: Style
    paper: Paper | None = None
    placed: int = field(default=0, init=False)

    @property
    def width(self) -> int:
        """Return the width, px."""
        return self.right - self.left

    @property
    def room(self) -> int:
        """Return the height that is left, px."""
        return self.bottom - self.top

    @property
    def box(self) -> Box:
        """Return what is left, as a box."""
        return Box(self.left, self.top, self.right, self.bottom)

    def prose(
        self, lines: float, role: Role = "body", gap_em: float = 0.6, *, style: Style | None = None
    ) -> bool:
        """Put about `lines` lines of running text; False when not one fitted.

        Here and below `style` is taken where it is not the column's own.
        """
        style = style or self.style
        if self.room < style.size_px or self.width < style.size_px:
            return False
        text = self.page.prose(style, self.width, self.room, lines)
        most_lines = max(1, int(lines + 0.999))
        composed = self.page.compose(style, text, self.width, self.room, most_lines)
        return self.put(composed, role, gap_em, part=True)

    def text(
        self,
        text: str,
        role: Role = "body",
        gap_em: float = 0.6,
        *,
        style: Style | None = None,
        inset: int = 0,
        most_lines: int = 1000,
    ) -> bool:
        """Put a given text, `inset` px from the left; False when it does not fit whole."""
        width = self.width - inset
        composed = self.page.compose(style or self.style, text, width, self.room, most_lines)
        if composed is None or not composed.whole:
            return False
        return self.put(composed, role, gap_em, inset=inset)

    def fact(
        self,
        kind: str,
        role: Role = "body",
        gap_em: float = 0.6,
        *,
        style: Style | None = None,
        inset: int = 0,
        most_lines: int = 1000,
    ) -> bool:
        """Put a short text of a kind, `inset` px from the left; False when none fits whole."""
        width = self.width - inset
        composed = self.page.compose_fact(style or self.style, kind, width, self.room, most_lines)
        return self.put(composed, role, gap_em, inset=inset)

    def put(
        self,
        composed: Composed | None,
        role: Role,
        gap_em: float,
        *,
        inset: int = 0,
        part: bool = False,
    ) -> bool:
        """Place a composed block at the top and move the top below it.

        On a bare photograph it goes some lines further down where no ink can be read above. With
        `part` its first lines are enough, and no more than FALLBACK_LINES take another ground.
        """
        if composed is None:
            return False
        page, left, box = self.page, self.left + inset, None
        if self.paper is not None:
            box = page.place(composed, left, self.top, role, sheet=True)
        else:
            for top in self._places(composed):
                box = page.place(composed, left, top, role, aided=False, part=part)
                if box is not None:
                    break
            else:
                rest = composed.first(FALLBACK_LINES) if part else composed
                box = page.place(rest, left, self.top, role)
        if box is None:
            return False
        self.skip_to(box.bottom, composed.style.size_px * gap_em)
        self.placed += 1
        return True

    def _places(self, composed: Composed) -> range:
        """Return the tops to try on the ground of the page."""
        pitch = composed.style.pitch_px
        places = PLACES if self.page.canvas.warp is None else 1  # each draws all glyphs anew
        last = min(self.bottom - composed.box.bottom, self.top + (places - 1) * pitch)
        return range(self.top, max(self.top, last) + 1, pitch)

    def skip_to(self, bottom: int, gap_px: float) -> None:
        """Go on below `bottom`, at least the least gap further."""
        self.top = bottom + max(2 if self.paper else self.page.gap_px, round(gap_px))

    def rule(self, colour: Colour, px: int = 1, gap_px: float = 4) -> None:
        """Draw a line across the column."""
        if self.room > px:
            self.page.mark(Box(self.left, self.top, self.right, self.top + px), colour)
            self.skip_to(self.top + px, gap_px)

    def split(self, count: int, gutter: int) -> list["Column"]:
        """Divide what is left into columns side by side, each at least `gutter` px apart."""
        width = (self.width - (count - 1) * gutter) // count
        lefts = [self.left + i * (width + gutter) for i in range(count)]
        return [replace(self, left=left, right=left + width) for left in lefts]
