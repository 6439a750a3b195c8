"""Parts of pages that several layouts share: a column that fills from its top, and sheets.

Blocks that may get plates keep `page.gap_px` apart, so that the plate of one never changes the
light under another.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from render.page import Composed, Page, Style
from render.picture.ink import OPACITIES, WHITE, of_hsv
from render.picture.light import contrast, extremes
from render.plan import Box, Colour, Role


@dataclass
class Column:
    """A box that fills from its top; `top` is where the next block may start.

    `plated` says whether blocks may get plates: on a sheet they need none.
    """

    page: Page
    left: int
    top: int
    right: int
    bottom: int
    plated: bool = True
    placed: int = field(default=0, init=False)

    @property
    def box(self) -> Box:
        """Return what is left, as a box."""
        return Box(self.left, self.top, self.right, self.bottom)

    @property
    def width(self) -> int:
        """Return the width, px."""
        return self.right - self.left

    @property
    def room(self) -> int:
        """Return the height that is left, px."""
        return self.bottom - self.top

    def prose(self, style: Style, lines: float, role: Role = "body", gap_em: float = 0.6) -> bool:
        """Put about `lines` lines of running text; False when not one fitted."""
        if self.room < style.size_px or self.width < style.size_px:
            return False
        text = self.page.prose(style, self.width, self.room, lines)
        most = max(1, int(lines + 0.999))
        return self.put(self.page.compose(style, text, self.width, self.room, most), role, gap_em)

    def text(
        self,
        style: Style,
        text: str,
        role: Role = "body",
        gap_em: float = 0.6,
        *,
        inset: int = 0,
        most_lines: int = 1000,
    ) -> bool:
        """Put a given text, `inset` px from the left; False when it does not fit whole."""
        composed = self.page.compose(style, text, self.width - inset, self.room, most_lines)
        if composed is None or not composed.whole:
            return False
        return self.put(composed, role, gap_em, inset=inset)

    def fact(
        self,
        style: Style,
        kind: str,
        role: Role = "body",
        gap_em: float = 0.6,
        *,
        inset: int = 0,
        most_lines: int = 1000,
    ) -> bool:
        """Put a short text of a kind, `inset` px from the left; False when none fits whole."""
        width = self.width - inset
        composed = self.page.compose_fact(style, kind, width, self.room, most_lines)
        return self.put(composed, role, gap_em, inset=inset)

    def put(self, composed: Composed | None, role: Role, gap_em: float, *, inset: int = 0) -> bool:
        """Place a composed block at the top and move the top below it."""
        if composed is None:
            return False
        box = self.page.place(composed, self.left + inset, self.top, role, plated=self.plated)
        if box is None:
            return False
        self.skip_to(box.bottom, composed.style.size_px * gap_em)
        self.placed += 1
        return True

    def skip_to(self, bottom: int, gap_px: float) -> None:
        """Go on below `bottom`, at least the least gap further."""
        self.top = bottom + max(self.page.gap_px if self.plated else 2, round(gap_px))

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


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet of paper or a panel: its box and the ink that can be read everywhere on it."""

    box: Box
    ink: Colour
    paper: Colour


def sheet(page: Page, box: Box, *, dark: float = 0.12, tint: float = 0.15) -> Sheet:
    """Lay the thinnest sheet over `box` on which its ink holds the floor in every window.

    `dark` is the chance of a dark one, `tint` the most saturation of a light one.
    """
    is_dark = page.chance(dark)
    hue = page.between(0, 1)
    if is_dark:
        paper = of_hsv(hue, page.between(0, 0.6), page.between(0.05, 0.15))
        ink = of_hsv(hue, page.between(0, 0.1), page.between(0.95, 1.0))
    else:
        paper = of_hsv(hue, page.between(0, tint), page.between(0.93, 1.0))
        ink = of_hsv(hue, page.between(0, 0.6), page.between(0.0, 0.13))
    fewest = page.count(0, len(OPACITIES) - 1)
    if page.canvas.warp is not None:
        fewest = len(OPACITIES) - 1  # less would need the shape of the warped sheet
    opacity = 1.0
    for opacity in OPACITIES[fewest:]:
        boxes, under = np.array([box], np.int32), (paper, opacity)
        ((low, high),) = extremes(page.canvas.pixels, boxes, 1, under=under).tolist()
        if contrast(ink, low, high) >= page.contrast_floor:
            break
    page.lay(box, paper, opacity)
    return Sheet(box, ink, paper)


def shade(paper: Colour, strength: float) -> Colour:
    """Return a colour between paper and its opposite, for rules and header cells."""
    light = sum(paper) > 3 * 128
    goal = (0, 0, 0) if light else WHITE
    red, green, blue = (round(p + (g - p) * strength) for p, g in zip(paper, goal, strict=True))
    return red, green, blue
