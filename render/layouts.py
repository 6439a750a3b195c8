"""Layouts: where blocks of text go. A new one is a class here and a line in LAYOUTS.

A layout takes an empty page and places at least one block, in reading order. Blocks keep GAP_PX
apart, so that the plate of one never reaches the ink of another.
"""

from typing import Protocol

from render.ink import PLATE_MARGIN_PX
from render.page import EM_PER_CHARACTER, MARGIN_PX, Page, Style
from render.plan import Role

GAP_PX = PLATE_MARGIN_PX + 2

FEWEST = 4
"""Texts that a scattered page carries where they fit (our choice)."""


class Layout(Protocol):
    """Places blocks on a page."""

    def arrange(self, page: Page) -> None:
        """Choose and place blocks, using only the generator of `page`."""
        ...


class Paragraph:
    """A page full of text: paragraphs of different sizes, at times under a title."""

    def arrange(self, page: Page) -> None:
        """Fill the page from the top."""
        margin = _margin(page)
        _stack(page, margin, page.width - margin, margin, title=page.chance(0.35))


class Columns:
    """Two or three columns as in a newspaper, at times under a headline across all of them."""

    def arrange(self, page: Page) -> None:
        """Fill the columns one after the other."""
        margin = _margin(page)
        gutter = max(2 * GAP_PX, page.size_px())
        inner = page.width - 2 * margin
        # A column holds at least six em of the smallest size, or there is only one.
        most = int((inner + gutter) // (6 * page.sizes_px[0] + gutter))
        count = min(int(page.rng.integers(2, 4)), max(1, most))
        width = (inner - (count - 1) * gutter) // count
        top = margin
        if page.chance(0.5):
            headline = _title(page, margin, page.width - margin, top)
            top = headline if headline is not None else top
        for column in range(count):
            left = margin + column * (width + gutter)
            _stack(page, left, left + width, top, narrow=True)


class Scatter:
    """Short texts at free places of a picture, as on signs, captions and overlays."""

    def arrange(self, page: Page) -> None:
        """Try more places than will fit, for as many texts as the page's area suggests."""
        share = page.width * page.height / 256**2
        for _ in range(round(float(page.rng.uniform(8, 24)) * max(1.0, share))):
            self._drop(page, plated=page.chance(0.25))
        # Over gravel or leaves nothing is legible without a plate.
        for _ in range(20):
            if len(page.blocks) >= FEWEST:
                return
            self._drop(page, plated=True)

    def _drop(self, page: Page, *, plated: bool) -> None:
        size = page.size_px()
        style = page.style(size, align="center" if page.chance(0.3) else "left")
        em = size * EM_PER_CHARACTER[style.language]
        widest = page.width - 2 * MARGIN_PX
        width = int(page.rng.uniform(0.25, 1.0) * widest)
        characters = int(page.rng.integers(*((6, 40) if style.language == "en" else (2, 16))))
        composed = page.compose(
            style, max(width, round(4 * em)), page.height - 2 * MARGIN_PX, characters, 3
        )
        if composed is None:
            return
        x0, y0, x1, y1 = composed.box
        for _ in range(4):
            left = int(page.rng.integers(MARGIN_PX, max(MARGIN_PX + 1, widest - (x1 - x0)))) - x0
            top = int(page.rng.integers(MARGIN_PX, max(MARGIN_PX + 1, page.height - y1 + y0))) - y0
            box = (left + x0, top + y0, left + x1, top + y1)
            if box[3] > page.height - MARGIN_PX or box[2] > page.width - MARGIN_PX:
                continue
            if all(_apart(box, other) for other in page.taken) and page.place(
                composed, left, top, "label", plated=plated
            ):
                return


def _margin(page: Page) -> int:
    side = min(page.width, page.height)
    return round(max(MARGIN_PX + 1, float(page.rng.uniform(0.015, 0.06)) * side))


def _apart(box: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return (
        box[0] >= other[2] + GAP_PX
        or other[0] >= box[2] + GAP_PX
        or box[1] >= other[3] + GAP_PX
        or other[1] >= box[3] + GAP_PX
    )


def _title(page: Page, left: int, right: int, top: int) -> int | None:
    """Place a title of one or two lines in the upper half of the sizes; return the next top."""
    low, high = page.sizes_px
    size = page.size_px(low=(low + high + 1) // 2)
    style = page.style(size, align="center" if page.chance(0.4) else "left")
    room = (right - left) / (size * EM_PER_CHARACTER[style.language])
    characters = int(room * page.rng.uniform(0.5, 1.6))
    return _put(page, style, left, right, top, characters, 2, "title")


def _stack(
    page: Page, left: int, right: int, top: int, *, title: bool = False, narrow: bool = False
) -> None:
    """Place paragraphs under each other until the page is full."""
    if title:
        after = _title(page, left, right, top)
        top = top if after is None else after
    # Seven em is the narrowest column that newspapers set.
    high = (right - left) // 7 if narrow else 1000
    low, attempts = page.sizes_px[0], 0
    align = "justify" if page.chance(0.5) else "left"
    indent = page.chance(0.4)
    while attempts < 3:
        attempts += 1
        # What is left at the foot is offered to ever smaller text.
        size = page.size_px(high=max(low, high)) if attempts < 3 else low
        style = page.style(size, align=align, indent=indent)
        lines = int(page.rng.integers(2, 10))
        room = (right - left) / (size * EM_PER_CHARACTER[style.language])
        after = _put(page, style, left, right, top, int(room * (lines - 0.5)), lines, "body")
        if after is not None:
            top, attempts = after, 0


def _put(
    page: Page,
    style: Style,
    left: int,
    right: int,
    top: int,
    characters: int,
    most_lines: int,
    role: Role,
) -> int | None:
    """Compose and place one block; return the top of what may follow, None if it did not fit."""
    room = page.height - MARGIN_PX - top
    composed = page.compose(style, right - left, room, characters, most_lines)
    if composed is None:
        return None
    box = page.place(composed, left, top, role)
    if box is None:
        return None
    return box[3] + max(GAP_PX, round(style.size_px * float(page.rng.uniform(0.4, 1.0))))


LAYOUTS: dict[str, type[Layout]] = {
    "paragraph": Paragraph,
    "columns": Columns,
    "scatter": Scatter,
}
