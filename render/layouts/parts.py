"""Parts that several layouts share: margins, paper under text, pictures in it, rows of cells."""

from collections.abc import Sequence
from dataclasses import replace

from render.layouts.column import Column, Paper, lay_paper
from render.page import Page, Style
from render.plan import Box, Colour, Role

ACCENTS: tuple[Colour, ...] = (
    (176, 28, 36), (20, 72, 160), (12, 110, 70), (150, 84, 10), (96, 40, 130), (200, 90, 20),
)  # fmt: skip
"""Colours that print uses beside black: headings, links, numbers, stamps."""

Cell = tuple[str, str]
"""(kind of fact to draw, "") or ("", a given text)."""


def visible(page: Page) -> Box:
    """Return the page without what a warp would push off it."""
    return page.box if page.canvas.warp is None else page.area


def inside_margin(page: Page, margin: tuple[float, float]) -> Box:
    """Return the page inside a margin, least and most part of its shorter side."""
    px = round(page.between(*margin) * min(page.box.width, page.box.height))
    return page.area.grown(-px)


def paper_around(page: Page, box: Box, *, dark: float, tint: float = 0.15) -> Paper:
    """Lay paper under a box and 4 px around it."""
    return lay_paper(page, box.grown(4).intersection(visible(page)), dark=dark, tint=tint)


def onto_paper(page: Page, box: Box, inset: tuple[int, int], *, dark: float) -> tuple[Box, Paper]:
    """Lay a sheet as large as the page less an inset in px; return what of `box` lies on it."""
    paper = lay_paper(page, visible(page).inner(page.count(*inset)), dark=dark)
    return paper.box.inner(page.gap_px).intersection(box), paper


def show_picture(column: Column, height: tuple[float, float]) -> None:
    """Let the photograph show in a window of the paper, at the top of a column.

    `height` is the least and most part of the column's width.
    """
    page = column.page
    if page.choices.background.source is None:
        return
    column.top += page.gap_px
    bottom = column.top + min(column.room - 1, round(column.width * page.between(*height)))
    page.lay(column.box._replace(bottom=bottom), None)
    column.top = bottom + page.gap_px


def row_px(style: Style) -> int:
    """Return the height of a row: ink of 1.3 em at most, and a gap."""
    return max(style.pitch_px, round(1.35 * style.size_px) + 3)


def row(column: Column, cells: Sequence[Cell], role: Role = "cell") -> bool:
    """Set cells side by side on one baseline, the first on the left, the others on the right.

    A cell whose text does not fit stays empty; False when all do, or there is no room.
    """
    page, style, height = column.page, column.style, row_px(column.style)
    if column.room < height:
        return False
    # The first cell holds words: it is as wide as two of the others.
    unit = column.width / (len(cells) + 1)
    baseline = column.top + round(1.05 * style.size_px) + 1
    left_style, right_style = (replace(style, align=align) for align in ("left", "right"))
    placed = False
    for number, (kind, text) in enumerate(cells):
        width = round(unit * (2 if not number else 1)) - max(4, style.size_px // 2)
        left = column.left + round(unit * (number + 1 if number else 0)) + 2
        aligned = right_style if number else left_style
        if kind:
            composed = page.compose_fact(aligned, kind, width, height, 1)
        else:
            composed = page.compose(aligned, text, width, height, 1) if text else None
        if composed is None or not composed.whole:
            continue
        top = baseline - composed.bases[0]
        if page.place(composed, left, top, role, sheet=True):
            placed = True
    column.placed += placed
    column.top += height
    return placed
