"""Layouts of running text: paragraphs, articles, newspapers, books and vertical Chinese."""

from typing import ClassVar

from render.layouts.column import Column, Paper, lay_paper, shade
from render.layouts.layout import Counts, Ems, Layout, PositiveCounts, Share, Shares
from render.layouts.parts import inside_margin, onto_paper, show_picture, visible
from render.page import Page
from render.plan import Box, Language


class Paragraph(Layout):
    """A page full of text: paragraphs of different sizes, at times under a title.

    `margin` is a part of the page's shorter side, `inset` what a sheet is smaller than the page,
    px; `lines` are those of a paragraph. Chances: `dark` paper of a sheet, `title`,
    `title_centred`, `justify` (lines as wide as the page), `indent` (of first lines).
    """

    thinning: ClassVar[float] = 1.0
    margin: Shares = (0.015, 0.06)
    inset: Counts = (0, 12)
    dark: Share = 0.12
    title: Share = 0.35
    title_centred: Share = 0.4
    justify: Share = 0.5
    indent: Share = 0.4
    lines: PositiveCounts = (2, 9)

    def arrange(self, page: Page) -> None:
        """Fill the page from the top; what is left at the foot is offered to ever smaller text."""
        rest, paper = inside_margin(page, self.margin), None
        if page.on_sheet:
            rest, paper = onto_paper(page, rest, self.inset, dark=self.dark)
        if page.chance(self.title):
            rest = self._below_title(page, rest, paper)
        align = "justify" if page.chance(self.justify) else "left"
        indent, misses = page.chance(self.indent), 0
        while misses < 3:
            size = page.size_px() if misses < 2 else page.sizes.low
            column = Column(page, *rest, page.style(size, align=align, indent=indent), paper)
            misses = 0 if column.prose(page.count(*self.lines) - 0.5) else misses + 1
            rest = column.box

    def _below_title(self, page: Page, box: Box, paper: Paper | None) -> Box:
        """Put a title of one or two lines in the upper half of the sizes; return what is left."""
        size = page.size_px(low=(page.sizes.low + page.sizes.high + 1) // 2)
        align = "center" if page.chance(self.title_centred) else "left"
        column = Column(page, *box, page.style(size, align=align), paper)
        column.prose(page.between(0.5, 1.6), "title")
        return column.box


class Article(Layout):
    """An article in `columns`: title, `authors`, abstract, sections, references.

    `margin` is a part of the page's shorter side, `inset` what a sheet is smaller than the page,
    px. `body_size` is the largest size of running text: 0 is the smallest of the recipe, 1 the
    largest. Chances: `dark` paper of a sheet, `indent`, `head` (title and authors), in it an
    `abstract` of `abstract_lines`, `footer`, and before each paragraph a `heading` or else a `list`
    of `list_items`. `lines` are those of a paragraph, `gap_em` is the space below it.
    """

    margin: Shares = (0.02, 0.07)
    dark: Share = 0.12
    inset: Counts = (0, 8)
    body_size: Share = 1.0
    indent: Share = 0.5
    footer: Share = 0.7
    head: Share = 0.7
    authors: PositiveCounts = (1, 4)
    abstract: Share = 0.5
    abstract_lines: PositiveCounts = (3, 6)
    columns: PositiveCounts = (1, 3)
    heading: Share = 0.3
    list: Share = 0.12
    list_items: PositiveCounts = (2, 5)
    lines: PositiveCounts = (3, 12)
    gap_em: Ems = (0.1, 0.6)

    def arrange(self, page: Page) -> None:
        """Set the head across the page, then the columns one after the other."""
        box, paper = inside_margin(page, self.margin), None
        if page.on_sheet:
            box, paper = onto_paper(page, box, self.inset, dark=self.dark)
        size = page.size_px(high=page.sizes.at(self.body_size))
        body = page.style(size, align="justify", indent=page.chance(self.indent))
        column = Column(page, *box, body, paper)
        column.bottom = self._above_footer(column)
        if page.chance(self.head):
            self._set_head(column)
        gutter = max(2 * page.gap_px, size)
        room = max(1, (column.width + gutter) // (10 * size + gutter))
        for part in column.split(min(page.count(*self.columns), room), gutter):
            self._fill(part)

    def _above_footer(self, column: Column) -> int:
        """Put a line at the foot; return where the text above it ends."""
        page, body = column.page, column.style
        small = page.style(page.size_px(high=body.size_px), align="center", like=body)
        composed = page.compose_fact(small, "footer", column.width, 2 * small.size_px, 1)
        if (
            composed is None
            or column.room < 10 * small.size_px
            or page.chance(round(1 - self.footer, 9))
        ):
            return column.bottom
        top = column.bottom - composed.box.height
        sheet = column.paper is not None
        if page.place(composed, column.left, top, "footer", sheet=sheet) is None:
            return column.bottom
        return min(column.bottom, top - page.gap_px - small.size_px // 2)

    def _set_head(self, column: Column) -> None:
        page, body = column.page, column.style
        title = page.style(page.size_px(low=1.3 * body.size_px), align="center", like=body)
        column.fact("headline", "title", 0.4, style=title, most_lines=2)
        count = page.count(*self.authors)
        people = ", ".join(page.fact("person", body.language) for _ in range(count))
        by = page.style(body.size_px, align="center", like=body)
        column.text(people, "label", 0.8, style=by, most_lines=2)
        if page.chance(self.abstract):
            abstract = page.style(page.size_px(high=body.size_px), like=body)
            column.prose(page.count(*self.abstract_lines), style=abstract)

    def _fill(self, column: Column) -> None:
        """Fill a column with paragraphs under headings, at times a list or references."""
        page, body = column.page, column.style
        while column.room > body.size_px:
            if page.chance(self.heading):
                head = page.style(
                    max(body.size_px, page.size_px(high=1.3 * body.size_px)), like=body
                )
                column.fact("heading", "heading", 0.4, style=head, most_lines=2)
            elif page.chance(self.list):
                self._set_list(column)
            lines = page.count(*self.lines) - 0.5
            if not column.prose(lines, gap_em=page.between(*self.gap_em)):
                return

    def _set_list(self, column: Column) -> None:
        page, body = column.page, column.style
        kind = ("formula", "reference", "bullet")[page.count(0, 2)]
        align = "center" if kind == "formula" else "left"
        style = page.style(body.size_px, align=align, like=body)
        for _ in range(1 if kind == "formula" else page.count(*self.list_items)):
            column.fact(kind, "item", 0.3, style=style, most_lines=3)


class Newspaper(Layout):
    """A front page: name, date, rules, headlines over narrow columns, a picture.

    `margin` is a part of the page's shorter side. `body_size` is the largest size of running text:
    0 is the smallest of the recipe, 1 the largest. Chances: `dark` paper of a sheet, `indent`, and
    above each column of a story but its first a `picture`, whose `picture_height` is a part of
    the column's width. A story takes `story_height` of the page's height in `columns`; `lines` are
    those of a paragraph.
    """

    margin: Shares = (0.01, 0.03)
    dark: Share = 0.12
    body_size: Share = 0.5
    indent: Share = 0.6
    story_height: Shares = (0.3, 0.8)
    columns: PositiveCounts = (2, 5)
    picture: Share = 0.2
    picture_height: Shares = (0.4, 0.8)
    lines: PositiveCounts = (6, 20)

    def arrange(self, page: Page) -> None:
        """Set the head, then one story above the other."""
        box, paper = inside_margin(page, self.margin), None
        if page.on_sheet:
            paper = lay_paper(page, visible(page), dark=self.dark, tint=0.08)
        ink = paper.ink if paper else None
        size = page.size_px(high=page.sizes.at(self.body_size))
        body = page.style(size, align="justify", indent=page.chance(self.indent), colour=ink)
        column = Column(page, *box, body, paper)
        name = page.style(page.sizes.high, align="center", like=body, colour=ink)
        column.fact("company", "title", 0.2, style=name, most_lines=1)
        line = page.style(size, align="justify", like=body, colour=ink)
        when_and_where = f"{page.fact('date', body.language)}   {page.fact('place', body.language)}"
        column.text(when_and_where, "label", 0.3, style=line, most_lines=1)
        if ink:
            column.rule(ink, page.count(1, 2), 3)
        while column.room > 8 * size:
            if not self._set_story(column):
                return

    def _set_story(self, column: Column) -> bool:
        page, body, paper = column.page, column.style, column.paper
        size, gutter = body.size_px, max(2 * page.gap_px, body.size_px)
        low = min(1.4 * size, page.sizes.high)
        head = page.style(page.size_px(low=low), like=body, colour=body.colour)
        column.fact("headline", "heading", 0.4, style=head, most_lines=2)
        room = max(1, (column.width + gutter) // (8 * size + gutter))
        height = min(column.room, round(page.between(*self.story_height) * page.box.height))
        placed, bottom = 0, column.top
        for number, part in enumerate(column.split(min(page.count(*self.columns), room), gutter)):
            part.bottom = part.top + height
            if paper and number and page.chance(self.picture):
                show_picture(part, self.picture_height)
            while part.room > size and part.prose(page.count(*self.lines) - 0.5, gap_em=0.1):
                pass
            if paper and number:
                middle = part.left - gutter // 2
                rule = Box(middle, column.top, middle + 1, part.bottom)
                page.mark(rule, shade(paper.ink, 0.6))
            placed, bottom = placed + part.placed, max(bottom, part.top)
        column.skip_to(bottom, 0.3 * size)
        if paper and column.room > 4 * size:
            column.rule(paper.ink, 1, 3)
        return placed > 0


class Book(Layout):
    """A page of a book: running title, one face, indented paragraphs, page number.

    `margin` is a part of the page's shorter side, `inset` what a sheet is smaller than the page,
    px. `body_size` is the largest size of running text: 0 is the smallest of the recipe, 1 the
    largest. Chances: `dark` paper of a sheet, and a `heading`. `lines` are those of a paragraph,
    `page_number` is drawn at the foot.
    """

    margin: Shares = (0.05, 0.12)
    dark: Share = 0.12
    inset: Counts = (0, 10)
    body_size: Share = 1.0
    heading: Share = 0.3
    lines: PositiveCounts = (3, 12)
    page_number: Counts = (1, 640)

    def arrange(self, page: Page) -> None:
        """Set one justified column between generous margins."""
        box, paper = inside_margin(page, self.margin), None
        if page.on_sheet:
            box, paper = onto_paper(page, box, self.inset, dark=self.dark)
        size = page.size_px(high=page.sizes.at(self.body_size))
        body = page.style(size, align="justify", indent=True)
        small = page.style(page.size_px(high=size), align="center", like=body)
        column = Column(page, *box, body, paper)
        column.bottom -= small.pitch_px + page.gap_px
        column.fact("heading", "label", 1.0, style=small, most_lines=1)
        if page.chance(self.heading):
            large = page.style(page.size_px(low=1.3 * size), align="center", like=body)
            column.fact("heading", "heading", 1.5, style=large, most_lines=2)
        while column.room > size and column.prose(page.count(*self.lines) - 0.5, gap_em=0.15):
            pass
        column.top, column.bottom = column.bottom + page.gap_px, page.area.bottom
        column.text(str(page.count(*self.page_number)), "footer", style=small, most_lines=1)


class Vertical(Layout):
    """Chinese set from top to bottom, columns from right to left, as in literature.

    `margin` is a part of the page's shorter side, `inset` what a sheet is smaller than the page,
    px. `dark` paper of a sheet and `indent` are chances, `bands` are what high pages are divided
    into, `lines` are the columns of a paragraph.
    """

    languages: ClassVar[tuple[Language, ...]] = ("zh", "zh-hant")
    warps: ClassVar[bool] = False

    margin: Shares = (0.03, 0.08)
    inset: Counts = (0, 12)
    dark: Share = 0.12
    indent: Share = 0.6
    bands: PositiveCounts = (1, 2)
    lines: PositiveCounts = (3, 9)

    def arrange(self, page: Page) -> None:
        """Set one or two bands of columns."""
        box, paper = inside_margin(page, self.margin), None
        if page.on_sheet:
            box, paper = onto_paper(page, box, self.inset, dark=self.dark)
        size = page.size_px(high=box.width // 6)
        body = page.style(size, indent=page.chance(self.indent), vertical=True)
        bands = page.count(*self.bands) if box.height > 24 * size else 1
        height = (box.height - (bands - 1) * 2 * page.gap_px) // bands
        for band in range(bands):
            top = box.top + band * (height + 2 * page.gap_px)
            right = box.right
            while (width := right - box.left) > 2 * size:
                text = page.prose(body, width, height, page.count(*self.lines) - 0.5)
                composed = page.compose(body, text, width, height)
                if composed is None:
                    break
                sheet = paper is not None
                placed = page.place(composed, box.left, top, "body", sheet=sheet, part=True)
                if placed is None:
                    break
                right = placed.left - max(page.gap_px, size)
