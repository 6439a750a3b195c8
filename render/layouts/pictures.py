"""Layouts around pictures: slides, posters, web pages, and short texts on a photograph."""

from typing import ClassVar

from render.layouts.column import Column, lay_paper
from render.layouts.layout import Counts, Ems, Layout, PositiveCounts, Share, Shares
from render.layouts.parts import ACCENTS, inside_margin, onto_paper, show_picture, visible
from render.page import Page, Style
from render.plan import Box, Colour

FEWEST = 4
"""Texts that a scattered page carries where they fit (our choice)."""


class Slide(Layout):
    """A slide of a talk: a headline, bullets of two levels, and a footer.

    `margin` is a part of the page's shorter side, `inset` what a sheet is smaller than the page,
    px; `dark` paper of a sheet is a chance. `rule_px` is the rule under the headline on paper,
    `details` are the smaller bullets under each bullet.
    """

    thinning: ClassVar[float] = 1.0
    margin: Shares = (0.04, 0.1)
    dark: Share = 0.35
    inset: Counts = (0, 12)
    rule_px: Counts = (1, 3)
    details: Counts = (0, 3)

    def arrange(self, page: Page) -> None:
        """Set the headline large, the bullets below it."""
        box, paper = inside_margin(page, self.margin), None
        accent = ACCENTS[page.count(0, len(ACCENTS) - 1)]
        if page.on_sheet:
            box, paper = onto_paper(page, box, self.inset, dark=self.dark)
        style = page.style(page.size_px(low=page.sizes.at(0.5)))
        foot = page.style(page.sizes.low, like=style)
        column = Column(page, *box, style, paper)
        column.bottom -= foot.pitch_px + page.gap_px
        head = page.style(page.size_px(low=style.size_px), like=style, colour=accent)
        column.fact("headline", "title", 0.5, style=head, most_lines=2)
        if paper:
            column.rule(accent, page.count(*self.rule_px), 0.5 * style.size_px)
        mark = ("•", "–", "▪", "·")[page.count(0, 3)]
        while column.room > 2 * style.size_px:
            if not self._set_point(column, mark):
                break
        column.top, column.bottom = column.bottom + page.gap_px, page.area.bottom
        column.fact("footer", "footer", style=foot, most_lines=1)

    def _set_point(self, column: Column, mark: str) -> bool:
        page, style = column.page, column.style
        text = f"{mark} {page.fact('bullet', style.language)}"
        if not column.text(text, "item", 0.35, most_lines=3):
            return False
        small = page.style(page.sizes.near(0.8 * style.size_px), like=style)
        for _ in range(page.count(*self.details)):
            text = f"– {page.fact('bullet', style.language)}"
            column.text(text, "item", 0.3, style=small, inset=style.size_px, most_lines=2)
        return True


class Poster(Layout):
    """A poster or an advertisement: `slogans` on a picture, large, then ever smaller.

    `margin` and `foot_margin` are parts of the page's shorter side, `foot_height` and `top` (above
    the first slogan) of its height. Chances: `centred`, `alike` (a slogan in the face of the
    first), and `dark` paper of a sheet, which lies under the facts at the foot alone. `gap_em` is
    the space below a slogan.
    """

    thinning: ClassVar[float] = 1.0
    margin: Shares = (0.04, 0.1)
    centred: Share = 0.7
    top: Shares = (0.0, 0.15)
    slogans: Counts = (3, 8)
    alike: Share = 0.5
    gap_em: Ems = (0.4, 1.6)
    foot_height: Shares = (0.15, 0.35)
    foot_margin: Shares = (0.04, 0.06)
    dark: Share = 0.5

    def arrange(self, page: Page) -> None:
        """Set slogans from the top, a band of facts at the foot."""
        box = inside_margin(page, self.margin)
        align = "center" if page.chance(self.centred) else "left"
        band = round(page.box.height * page.between(*self.foot_height))
        style = page.style(page.sizes.high, align=align)
        column = Column(page, *box._replace(bottom=box.bottom - band), style)
        column.skip_to(column.top, page.between(*self.top) * page.box.height)
        sizes = sorted((page.size_px() for _ in range(page.count(*self.slogans))), reverse=True)
        for number, size in enumerate(sizes):
            like = style if page.chance(self.alike) else None
            slogan = page.style(size, align=align, like=like)
            kind, gap_em = "slogan" if number < 3 else "notice", page.between(*self.gap_em)
            column.fact(kind, "title", gap_em, style=slogan, most_lines=3)
        self._set_foot(page, max(column.bottom, column.top) + page.gap_px, align)

    def _set_foot(self, page: Page, top: int, align: str) -> None:
        box, paper = inside_margin(page, self.foot_margin)._replace(top=top), None
        if page.on_sheet and box.height > 3 * page.sizes.low:
            paper = lay_paper(page, page.box._replace(top=top), dark=self.dark, tint=0.6)
            box = box._replace(top=top + page.gap_px)
        colour = paper.ink if paper else None
        small = page.style(page.size_px(high=12), align=align, colour=colour)
        column = Column(page, *box, small, paper)
        for kind in ("date", "address", "code", "slogan", "company", "notice", "footer"):
            if column.room < 2 * small.size_px:
                return
            column.fact(kind, "caption", 0.4, most_lines=2)


class Web(Layout):
    """A web page: a bar with entries, headlines over text, pictures, links at the side.

    `body_size` is the largest size of running text: 0 is the smallest of the recipe, 1 the
    largest. Chances: a `dark` page, an `aside` with links, which takes `aside_width` of the page's
    width, and a `picture` in each entry, whose `picture_height` is a part of the column's width.
    An entry has `paragraphs` of so many `lines`.
    """

    warps: ClassVar[bool] = False
    on_sheets: ClassVar[bool] = True

    dark: Share = 0.25
    body_size: Share = 1.0
    aside: Share = 0.6
    aside_width: Shares = (0.2, 0.32)
    picture: Share = 0.5
    picture_height: Shares = (0.4, 0.8)
    paragraphs: Counts = (1, 3)
    lines: PositiveCounts = (2, 6)

    def arrange(self, page: Page) -> None:
        """Lay the page over the picture, which shows in its windows."""
        paper = lay_paper(page, visible(page), dark=self.dark, tint=0.03)
        area = page.area
        size = page.size_px(high=page.sizes.at(self.body_size))
        style = page.style(size, colour=paper.ink)
        accent = ACCENTS[page.count(0, len(ACCENTS) - 1)]
        top = self._below_bar(page, style, accent)
        side = 0
        if page.chance(self.aside):
            side = round(page.between(*self.aside_width) * page.box.width)
        main = Box(area.left + 3, top, area.right - side - 3, area.bottom)
        if side > 8 * size:
            link = page.style(size, like=style, colour=accent)
            links = Column(page, main.right + size, top, area.right - 3, area.bottom, link, paper)
            while links.room > size:
                kind = ("menu", "headline", "date")[page.count(0, 2)]
                if not links.fact(kind, "item", 0.5, most_lines=3):
                    break
        self._fill(Column(page, *main, style, paper), paper.shade(0.75))

    def _fill(self, column: Column, grey: Colour) -> None:
        page, style, size = column.page, column.style, column.style.size_px
        head = page.style(page.size_px(low=1.2 * size), like=style, colour=style.colour)
        small = page.style(page.size_px(high=size), like=style, colour=grey)
        while column.room > 4 * size:
            if not column.fact("headline", "heading", 0.3, style=head, most_lines=2):
                return
            by = f"{page.fact('person', style.language)} · {page.fact('date', style.language)}"
            column.text(by, "label", 0.4, style=small, most_lines=1)
            if page.chance(self.picture) and column.room > 8 * size:
                show_picture(column, self.picture_height)
            for _ in range(page.count(*self.paragraphs)):
                column.prose(page.count(*self.lines) - 0.5)

    def _below_bar(self, page: Page, style: Style, accent: Colour) -> int:
        """Set a bar of entries at the top; return where the page goes on."""
        area = page.area
        bottom = area.top + 2 * style.size_px
        page.lay(page.box._replace(bottom=bottom), accent)
        entry = page.style(style.size_px, like=style, colour=(255, 255, 255))
        left = area.left + 4
        while area.right - left > 3 * style.size_px:
            composed = page.compose_fact(entry, "menu", area.right - left, bottom - area.top, 1)
            if composed is None:
                break
            top = area.top + style.size_px // 2
            placed = page.place(composed, left, top, "label", sheet=True)
            if placed is None:
                break
            left = placed.right + style.size_px
        return bottom + style.size_px


class Scatter(Layout):
    """Short texts at free places of a picture, as on signs, captions and overlays.

    `texts` are tried on 256 x 256 px and smaller pages, more on larger ones as their side grows.
    `width` is a part of the page's, `lines` are those of a text. Chances: `centred`, and `dark`
    paper of a sheet, which is `inset` px smaller than the page. A text that cannot be read on the
    ground of its page stays out there.
    """

    thinning: ClassVar[float] = 1.0
    texts: Counts = (8, 24)
    centred: Share = 0.3
    inset: Counts = (0, 24)
    dark: Share = 0.3
    width: Shares = (0.25, 1.0)
    lines: Ems = (0.4, 3.0)

    def arrange(self, page: Page) -> None:
        """Try more texts than will fit, as many as the page's side suggests."""
        sides = (page.box.width * page.box.height) ** 0.5 / 256
        area, sheet = page.area, page.on_sheet
        if sheet:
            area, _ = onto_paper(page, area, self.inset, dark=self.dark)
        for _ in range(round(page.between(*self.texts) * max(1.0, sides))):
            self._drop(page, area, sheet=sheet, aided=False)
        # Over gravel or leaves nothing is legible without a plate.
        for _ in range(20):
            if len(page.blocks) >= FEWEST:
                return
            self._drop(page, area, sheet=sheet, aided=True)

    def _drop(self, page: Page, area: Box, *, sheet: bool, aided: bool) -> None:
        size = page.size_px()
        style = page.style(size, align="center" if page.chance(self.centred) else "left")
        width = max(round(page.between(*self.width) * area.width), 4 * style.size_px)
        text = page.prose(style, width, area.height, page.between(*self.lines))
        composed = page.compose(style, text, width, area.height, 3)
        if composed is None:
            return
        ink = composed.box
        if ink.width > area.width or ink.height > area.height:
            return
        for _ in range(4):
            left = area.left - ink.left + round(page.between(0, area.width - ink.width))
            top = area.top - ink.top + round(page.between(0, area.height - ink.height))
            if ink.moved(left, top).apart(page.taken, page.gap_px) and page.place(
                composed, left, top, "label", sheet=sheet, aided=aided
            ):
                return
