"""Layouts on sheets of paper: tables, statements, forms, exams, notes and receipts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field

from render.layouts.column import Column, Paper, lay_paper
from render.layouts.layout import Counts, Ems, Layout, PositiveCounts, Share, Shares
from render.layouts.parts import (
    ACCENTS,
    inside_margin,
    paper_around,
    row,
    row_px,
)
from render.page import Page, Style
from render.plan import Box

COLUMNS = ("amount", "number", "percent", "date", "code", "place", "person", "time", "number")
"""Kinds of facts in the columns of a table."""


class Table(Layout):
    """A table with headings, rules or stripes, words on the left and numbers on the right.

    `margin` is a part of the page's shorter side. `body_size` is the largest size of the text: 0
    is the smallest of the recipe, 1 the largest. `columns` are set where the page is wide enough.
    Chances: `dark` paper, `caption`, `striped`, `ruled`, `framed`.
    """

    on_sheets: ClassVar[bool] = True

    margin: Shares = (0.02, 0.06)
    dark: Share = 0.1
    body_size: Share = 0.7
    caption: Share = 0.7
    columns: Annotated[int, Field(ge=2, le=100)] = 6
    striped: Share = 0.4
    ruled: Share = 0.5
    framed: Share = 0.5

    def arrange(self, page: Page) -> None:
        """Set a caption, the head and as many rows as fit."""
        box = inside_margin(page, self.margin)
        paper = paper_around(page, box, dark=self.dark)
        style = page.style(page.size_px(high=page.sizes.at(self.body_size)), colour=paper.ink)
        column = Column(page, *box, style, paper)
        if page.chance(self.caption):
            column.fact("caption", "caption", 0.5, most_lines=2)
        kinds = ["item"]
        kinds += [COLUMNS[page.count(0, len(COLUMNS) - 1)] for _ in range(self.columns - 1)]
        room = max(2, min(len(kinds), column.width // (7 * style.size_px)))
        self._set_grid(column, paper, kinds[:room])

    def _set_grid(self, column: Column, paper: Paper, kinds: Sequence[str]) -> None:
        """Set a row of headings, then rows of facts until the column is full."""
        page, high = column.page, row_px(column.style)
        striped, ruled = page.chance(self.striped), page.chance(self.ruled)
        column.top += page.gap_px
        left, top, right, bottom = column.box
        step = high + (3 if ruled else 0)
        page.lay(Box(left, top, right, top + high + 2), paper.shade(0.12))
        # Every ground is laid before the text, so that none changes the light under it.
        for y in range(top + 2 * high + 4, bottom - step, 2 * step):
            if striped:
                page.lay(Box(left, y, right, y + step), paper.shade(0.06))
        column.top += 1
        if not row(column, [("column", "")] * len(kinds), "heading"):
            return
        column.rule(paper.shade(0.7), 1, 2)
        while column.room > high:
            if not row(column, [(kind, "") for kind in kinds]):
                break
            if ruled:
                column.rule(paper.shade(0.3), 1, 2)
        if page.chance(self.framed):
            page.frame(Box(left, top, right, column.top), paper.shade(0.7))


class Statement(Layout):
    """A financial statement: accounts, years, figures in columns, totals under a rule.

    `margin` is a part of the page's shorter side. `body_size` is the largest size of the text: 0
    is the smallest of the recipe, 1 the largest. `dark` paper is a chance; `nothing` and
    `negative` are the shares of such figures. `years` are the columns, the first of them
    `latest_year`; a rule follows after so many `accounts`.
    """

    on_sheets: ClassVar[bool] = True

    margin: Shares = (0.03, 0.07)
    dark: Share = 0.03
    body_size: Share = 0.7
    years: PositiveCounts = (2, 4)
    latest_year: Counts = (1995, 2026)
    accounts: PositiveCounts = (2, 6)
    nothing: Share = 0.06
    negative: Share = 0.19

    def arrange(self, page: Page) -> None:
        """Set the name of the company, the years, then one account a row."""
        box = inside_margin(page, self.margin)
        paper = paper_around(page, box, dark=self.dark, tint=0.05)
        size = page.size_px(high=page.sizes.at(self.body_size))
        style = page.style(size, colour=paper.ink)
        head = page.style(page.size_px(low=size), align="center", like=style, colour=paper.ink)
        column = Column(page, *box, style, paper)
        column.fact("company", "title", 0.2, style=head, most_lines=1)
        column.fact("title", "heading", 0.6, style=head, most_lines=1)
        column.rule(paper.ink, 1, 3)
        years = min(page.count(*self.years), max(1, column.width // (9 * size)))
        latest = page.count(*self.latest_year)
        row(column, [("", ""), *(("", str(latest - i)) for i in range(years))])
        column.rule(paper.ink, 1, 3)
        while column.room > 3 * size:
            for _ in range(page.count(*self.accounts)):
                figures = [("", self._figure(page)) for _ in range(years)]
                if not row(column, [("account", ""), *figures]):
                    return
            column.rule(paper.shade(0.6), 1, 3)

    def _figure(self, page: Page) -> str:
        """Draw a figure: thousands, at times negative or nothing."""
        value = f"{round(10 ** page.between(1.5, 6.9)):,}"
        kind = page.between(0, 1)
        if kind < self.nothing:
            return "–"
        return f"({value})" if kind < self.nothing + self.negative else value


class Form(Layout):
    """A form: labels, fields to fill in, some filled, boxes to tick.

    `margin` is a part of the page's shorter side. `body_size` is the largest size of the text: 0
    is the smallest of the recipe, 1 the largest. Chances: `dark` paper, a `notice` under the
    title, `options` in place of a field (`option_count` of them, each `ticked` or not), `filled` of
    a field. `gap_em` is the space below a field.
    """

    on_sheets: ClassVar[bool] = True

    margin: Shares = (0.03, 0.07)
    dark: Share = 0.05
    body_size: Share = 1.0
    notice: Share = 0.5
    options: Share = 0.25
    option_count: PositiveCounts = (2, 4)
    ticked: Share = 0.3
    filled: Share = 0.6
    gap_em: Ems = (0.3, 0.8)

    def arrange(self, page: Page) -> None:
        """Set a title, then fields in one or two columns."""
        box = inside_margin(page, self.margin)
        paper = paper_around(page, box, dark=self.dark)
        size = page.size_px(high=page.sizes.at(self.body_size))
        style = page.style(size, colour=paper.ink)
        head = page.style(page.size_px(low=size), align="center", like=style, colour=paper.ink)
        column = Column(page, *box, style, paper)
        column.fact("title", "title", 0.8, style=head, most_lines=2)
        if page.chance(self.notice):
            column.fact("notice", "caption", 0.6, most_lines=2)
        hand = page.style(size, style_class="hand", colour=ACCENTS[1])
        for part in column.split(2 if column.width > 30 * size else 1, 2 * size):
            while part.room > 2 * style.pitch_px:
                if page.chance(self.options):
                    done = self._set_options(part, paper)
                else:
                    done = self._set_field(part, hand, paper)
                if not done:
                    break

    def _set_field(self, column: Column, hand: Style, paper: Paper) -> bool:
        page, style, top = column.page, column.style, column.top
        width = round(column.width * 0.6)
        label = page.compose_fact(style, "field", width, column.room, 1)
        if label is None:
            return False
        base = top + label.bases[0] + 2
        left = column.left + label.box.right + style.size_px // 2
        page.mark(Box(left, base, column.right, base + 1), paper.shade(0.6))
        if page.place(label, column.left, top, "label", sheet=True) is None:
            return False
        width = column.right - left
        if page.chance(self.filled) and width > 3 * style.size_px:
            kind = ("person", "date", "place", "code", "number", "company")[page.count(0, 5)]
            entry = page.compose_fact(hand, kind, width, 3 * style.size_px, 1)
            if entry is not None:
                lifted = max(base - 2 - entry.bases[0], top)
                page.place(entry, left, lifted, "cell", sheet=True)
        column.placed += 1
        column.skip_to(top + style.pitch_px, page.between(*self.gap_em) * style.size_px)
        return True

    def _set_options(self, column: Column, paper: Paper) -> bool:
        page, style = column.page, column.style
        top, left, side = column.top, column.left, max(4, round(0.7 * style.size_px))
        for _ in range(page.count(*self.option_count)):
            width = column.right - left - side - 4
            if width < 3 * style.size_px:
                break
            option = page.compose_fact(style, "option", width, column.room, 1)
            if option is None:
                break
            box = Box(left, top + 1, left + side, top + 1 + side)
            page.frame(box, paper.shade(0.8))
            if page.chance(self.ticked):
                page.mark(box.inner(2), paper.ink)
            placed = page.place(option, left + side + 3, top, "item", sheet=True)
            if placed is None:
                break
            left, column.placed = placed.right + style.size_px, column.placed + 1
        column.skip_to(top + style.pitch_px, 0.5 * style.size_px)
        return left > column.left


class Exam(Layout):
    """An exam paper: a head with name and class, questions from `first_question` on, choices.

    `margin` is a part of the page's shorter side. `body_size` is the largest size of the text: 0
    is the smallest of the recipe, 1 the largest. Chances: `dark` paper of a sheet, and `choices`
    below a question. `gap_em` is the space between questions.
    """

    margin: Shares = (0.03, 0.06)
    dark: Share = 0.02
    body_size: Share = 1.0
    first_question: Counts = (1, 20)
    choices: Share = 0.6
    gap_em: Ems = (0.2, 0.8)

    def arrange(self, page: Page) -> None:
        """Number the questions in one or two columns."""
        box, paper = inside_margin(page, self.margin), None
        if page.on_sheet:
            paper = paper_around(page, box, dark=self.dark, tint=0.06)
        ink = paper.ink if paper else None
        size = page.size_px(high=page.sizes.at(self.body_size))
        style = page.style(size, colour=ink)
        head = page.style(page.size_px(low=size), align="center", like=style, colour=ink)
        column = Column(page, *box, style, paper)
        column.fact("title", "title", 0.4, style=head, most_lines=2)
        bottom = column.top + style.pitch_px
        for part in column.split(3, size):
            part.text(f"{page.fact('field', style.language)} ____", "label", most_lines=1)
            bottom = max(bottom, part.top)
        column.skip_to(bottom, 0.8 * size)
        number = page.count(*self.first_question)
        for part in column.split(2 if column.width > 36 * size else 1, 2 * size):
            while part.room > 2 * size:
                if not part.text(f"{number}. {page.fact('question', style.language)}", "item", 0.3):
                    break
                number += 1
                if page.chance(self.choices):
                    self._set_choices(part)
                part.skip_to(part.top, page.between(*self.gap_em) * size)

    def _set_choices(self, column: Column) -> None:
        page, style = column.page, column.style
        answers = [page.fact("answer", style.language) for _ in range(4)]
        lettered = [f"{letter}. {answer}" for letter, answer in zip("ABCD", answers, strict=True)]
        if sum(map(len, lettered)) < style.characters_in(column.width) - 8:
            lettered = ["    ".join(lettered)]
        for text in lettered:
            if not column.text(text, "item", 0.2, inset=style.size_px, most_lines=2):
                return


class Note(Layout):
    """A note by hand on a slip of paper, ruled or not.

    `margin` is a part of the page's shorter side; each of the `slips` ends `inset` of the page's
    height from the margin. Chances: `dark` paper, `ruled`, and `prose` in place of short entries;
    `lines` are those of a paragraph.
    """

    on_sheets: ClassVar[bool] = True

    margin: Shares = (0.02, 0.08)
    slips: PositiveCounts = (1, 2)
    inset: Shares = (0.0, 0.1)
    dark: Share = 0.05
    ruled: Share = 0.4
    prose: Share = 0.4
    lines: PositiveCounts = (2, 5)

    def arrange(self, page: Page) -> None:
        """Lay one or two slips and write on them."""
        box = inside_margin(page, self.margin)
        count = page.count(*self.slips) if box.width > 24 * page.sizes.high else 1
        gutter = 3 * page.gap_px
        width = (box.width - (count - 1) * gutter) // count
        for number in range(count):
            left = box.left + number * (width + gutter)
            top = box.top + round(page.between(*self.inset) * page.box.height)
            bottom = box.bottom - round(page.between(*self.inset) * page.box.height)
            self._write(page, Box(left, top, left + width, bottom))

    def _write(self, page: Page, slip: Box) -> None:
        paper = lay_paper(page, slip, dark=self.dark, tint=0.35)
        inks = (paper.ink, (24, 40, 120), (40, 40, 44))
        ink = inks[page.count(0, 2)] if sum(paper.colour) > 384 else paper.ink
        style = replace(page.style(page.size_px(), style_class="hand", colour=ink), leading=1.5)
        margin, pitch = page.gap_px + style.size_px // 2, style.pitch_px
        top = slip.top + margin
        column = Column(
            page, slip.left + margin, top, slip.right - margin, slip.bottom - 4, style, paper
        )
        if page.chance(self.ruled):
            for y in range(top + round(1.15 * style.size_px), slip.bottom - 2, pitch):
                page.mark(Box(slip.left, y, slip.right, y + 1), paper.shade(0.12))
        prose, kinds = page.chance(self.prose), ("todo", "bullet", "notice")
        while column.room > pitch:
            if prose:
                done = column.prose(page.count(*self.lines) - 0.5, gap_em=0)
            else:
                done = column.fact(kinds[page.count(0, 2)], "item", 0, most_lines=3)
            if not done:
                return
            # Writing keeps to the rules of the paper.
            column.top = top + -(-(column.top - top - pitch // 4) // pitch) * pitch


class Receipt(Layout):
    """A receipt: a strip of paper, items with prices, a total, thanks.

    `body_size` is the largest size of the text: 0 is the smallest of the recipe, 1 the largest.
    The strip is `width_em` wide, at least a third of the page; `dark` paper is a chance.
    """

    on_sheets: ClassVar[bool] = True

    body_size: Share = 1.0
    width_em: Ems = (14, 22)
    dark: Share = 0.0

    def arrange(self, page: Page) -> None:
        """Lay a strip on the picture and print on it."""
        size, area = page.size_px(high=page.sizes.at(self.body_size)), page.area
        wished = round(page.between(*self.width_em) * size)
        width = min(area.width, max(wished, page.box.width // 3))
        left = area.left + round(page.between(0, area.width - width))
        strip = area._replace(left=left, right=left + width)
        paper = lay_paper(page, strip, dark=self.dark, tint=0.04)
        style = page.style(size, style_class="mono", colour=paper.ink)
        centre = page.style(size, align="center", like=style, colour=paper.ink)
        inset = size // 2 + 2
        column = Column(
            page, left + inset, strip.top + 4, strip.right - inset, strip.bottom - 4, style, paper
        )
        for kind in ("company", "address", "code", "date"):
            column.fact(kind, "label", 0.2, style=centre, most_lines=2)
        column.rule(paper.shade(0.6), 1, 3)
        column.bottom -= 5 * style.pitch_px
        cents = 0
        while column.room > 2 * row_px(style):
            price = round(100 * 10 ** page.between(0, 2.7))
            if not row(column, [("item", ""), ("", f"{price / 100:.2f}")]):
                break
            cents += price
        column.bottom = strip.bottom - 4
        column.rule(paper.shade(0.6), 1, 3)
        total = {"en": "TOTAL", "zh-hant": "總計"}.get(style.language, "合计")
        row(column, [("", total), ("", f"{cents / 100:.2f}")])
        column.fact("slogan", "footer", 0.2, style=centre, most_lines=2)
        column.fact("code", "footer", 0.2, style=centre, most_lines=1)
