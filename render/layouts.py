"""Layouts: where blocks of text go. A new one is a class here and a line in LAYOUTS.

A layout takes an empty page and places blocks in reading order, using the page's generator only.
Together they cover the nine categories of OmniDoc-TokenBench (the report, section 6). What they
share, columns that fill and sheets of paper, is in `flow.py`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Protocol

from render.flow import Column, Sheet, shade, sheet
from render.page import Page, Style
from render.plan import LANGUAGES, Box, Colour, Language, Role

CHINESE: tuple[Language, ...] = ("zh", "zh-hant")

FEWEST = 4
"""Texts that a scattered page carries where they fit (our choice)."""

ACCENTS: tuple[Colour, ...] = (
    (176, 28, 36), (20, 72, 160), (12, 110, 70), (150, 84, 10), (96, 40, 130), (200, 90, 20),
)  # fmt: skip
"""Colours that print uses beside black: headings, links, numbers, stamps."""


class Layout(Protocol):
    """Places blocks on a page. `warps` says whether the page may be turned and tilted."""

    languages: ClassVar[tuple[Language, ...]]
    warps: ClassVar[bool]

    def arrange(self, page: Page) -> None:
        """Choose and place blocks."""
        ...


class Paragraph:
    """A page full of text: paragraphs of different sizes, at times under a title."""

    languages: ClassVar[tuple[Language, ...]] = LANGUAGES
    warps: ClassVar[bool] = True

    def arrange(self, page: Page) -> None:
        """Fill the page from the top; what is left at the foot is offered to ever smaller text."""
        column = _whole(page)
        if page.chance(0.35):
            _title(column)
        align = "justify" if page.chance(0.5) else "left"
        indent, misses = page.chance(0.4), 0
        while misses < 3:
            size = page.size_px() if misses < 2 else page.sizes.low
            style = page.style(size, align=align, indent=indent)
            misses = 0 if column.prose(style, page.count(2, 9) - 0.5) else misses + 1


class Article:
    """An article in one to three columns: title, authors, abstract, sections, references."""

    languages: ClassVar[tuple[Language, ...]] = LANGUAGES
    warps: ClassVar[bool] = True

    def arrange(self, page: Page) -> None:
        """Set the head across the page, then the columns one after the other."""
        column = _whole(page, 0.02, 0.07)
        if page.chance(0.35):
            column = _on_sheet(page, column, _full(page).inner(page.count(0, 8)))
        size = page.size_px(high=page.sizes.low + 0.6 * (page.sizes.high - page.sizes.low))
        body = page.style(size, align="justify", indent=page.chance(0.5))
        foot = _footer(page, column, body)
        column.bottom = min(column.bottom, foot)
        if page.chance(0.7):
            self._head(page, column, body)
        gutter = max(2 * page.gap_px, size)
        most = max(1, (column.width + gutter) // (10 * size + gutter))
        for part in column.split(min(page.count(1, 3), most), gutter):
            _sections(page, part, body)

    def _head(self, page: Page, column: Column, body: Style) -> None:
        head = page.style(page.size_px(low=1.3 * body.size_px), align="center", like=body)
        column.fact(head, "headline", "title", 0.4, most_lines=2)
        people = ", ".join(page.fact("person", body.language) for _ in range(page.count(1, 4)))
        by = page.style(body.size_px, align="center", like=body)
        column.text(by, people, "label", 0.8, most_lines=2)
        if page.chance(0.5):
            column.prose(page.style(page.size_px(high=body.size_px), like=body), page.count(3, 6))


class Newspaper:
    """A front page: name, date, rules, headlines over narrow columns, a picture."""

    languages: ClassVar[tuple[Language, ...]] = LANGUAGES
    warps: ClassVar[bool] = True

    def arrange(self, page: Page) -> None:
        """Set the head, then one story above the other."""
        column, ink = _whole(page, 0.01, 0.03), None
        if page.chance(0.6):
            paper = sheet(page, _full(page), tint=0.08)
            column.plated, ink = False, paper.ink
        size = page.size_px(high=page.sizes.low + 0.5 * (page.sizes.high - page.sizes.low))
        body = page.style(size, align="justify", indent=page.chance(0.6), colour=ink)
        name = page.style(page.sizes.high, align="center", like=body, colour=ink)
        column.fact(name, "company", "title", 0.2, most_lines=1)
        line = page.style(size, align="justify", like=body, colour=ink)
        furniture = f"{page.fact('date', body.language)}   {page.fact('place', body.language)}"
        column.text(line, furniture, "label", 0.3, most_lines=1)
        if ink:
            column.rule(ink, page.count(1, 2), 3)
        while column.room > 8 * size:
            if not self._story(page, column, body, ink):
                return

    def _story(self, page: Page, column: Column, body: Style, ink: Colour | None) -> bool:
        size, gutter = body.size_px, max(2 * page.gap_px, body.size_px)
        low = min(1.4 * size, page.sizes.high)
        head = page.style(page.size_px(low=low), like=body, colour=ink)
        column.fact(head, "headline", "heading", 0.4, most_lines=2)
        most = max(1, (column.width + gutter) // (8 * size + gutter))
        height = min(column.room, round(page.between(0.3, 0.8) * page.box.height))
        placed, bottom = 0, column.top
        for number, part in enumerate(column.split(min(page.count(2, 5), most), gutter)):
            part.bottom = part.top + height
            if not column.plated and number and page.chance(0.2):
                part.top = _picture(page, part)
            while part.room > size and part.prose(body, page.count(6, 20) - 0.5, gap_em=0.1):
                pass
            if ink and number:
                middle = part.left - gutter // 2
                page.mark(Box(middle, column.top, middle + 1, part.bottom), shade(ink, 0.6))
            placed, bottom = placed + part.placed, max(bottom, part.top)
        column.skip_to(bottom, 0.3 * size)
        if ink and column.room > 4 * size:
            column.rule(ink, 1, 3)
        return placed > 0


class Book:
    """A page of a book: running title, one face, indented paragraphs, page number."""

    languages: ClassVar[tuple[Language, ...]] = LANGUAGES
    warps: ClassVar[bool] = True

    def arrange(self, page: Page) -> None:
        """Set one justified column between generous margins."""
        column = _whole(page, 0.05, 0.12)
        if page.chance(0.5):
            column = _on_sheet(page, column, _full(page).inner(page.count(0, 10)))
        size = page.size_px(high=page.sizes.low + 0.8 * (page.sizes.high - page.sizes.low))
        body = page.style(size, align="justify", indent=True)
        small = page.style(page.size_px(high=size), align="center", like=body)
        column.bottom -= small.pitch_px + page.gap_px
        column.fact(small, "heading", "label", 1.0, most_lines=1)
        if page.chance(0.3):
            large = page.style(page.size_px(low=1.3 * size), align="center", like=body)
            column.fact(large, "heading", "heading", 1.5, most_lines=2)
        while column.room > size and column.prose(body, page.count(3, 12) - 0.5, gap_em=0.15):
            pass
        column.top, column.bottom = column.bottom + page.gap_px, page.area.bottom
        column.text(small, str(page.count(1, 640)), "footer", most_lines=1)


class Vertical:
    """Chinese set from top to bottom, columns from right to left, as in literature."""

    languages: ClassVar[tuple[Language, ...]] = CHINESE
    warps: ClassVar[bool] = False

    def arrange(self, page: Page) -> None:
        """Set one or two bands of columns, with a title on the right."""
        column = _whole(page, 0.03, 0.08)
        size = page.size_px(high=column.width // 6)
        body = page.style(size, indent=page.chance(0.6), vertical=True)
        bands = page.count(1, 2) if column.room > 24 * size else 1
        height = (column.room - (bands - 1) * 2 * page.gap_px) // bands
        for band in range(bands):
            top = column.top + band * (height + 2 * page.gap_px)
            right = column.right
            while right - column.left > 2 * size:
                text = page.prose(body, right - column.left, height, page.count(3, 9) - 0.5)
                composed = page.compose(body, text, right - column.left, height)
                if composed is None:
                    break
                box = page.place(composed, column.left, top, "body", plated=True)
                if box is None:
                    break
                right = box.left - max(page.gap_px, size)


class Slide:
    """A slide of a talk: a headline, bullets of two levels, at times a picture and a footer."""

    languages: ClassVar[tuple[Language, ...]] = LANGUAGES
    warps: ClassVar[bool] = True

    def arrange(self, page: Page) -> None:
        """Set the headline large, the bullets below it."""
        column = _whole(page, 0.04, 0.1)
        accent = ACCENTS[page.count(0, len(ACCENTS) - 1)]
        if page.chance(0.6):
            column = _on_sheet(page, column, _full(page).inner(page.count(0, 12)), dark=0.35)
        style = page.style(page.size_px(low=(page.sizes.low + page.sizes.high) / 2))
        foot = page.style(page.sizes.low, like=style)
        column.bottom -= foot.pitch_px + page.gap_px
        head = page.style(page.size_px(low=style.size_px), like=style, colour=accent)
        column.fact(head, "headline", "title", 0.5, most_lines=2)
        if not column.plated:
            column.rule(accent, page.count(1, 3), 0.5 * style.size_px)
        mark = ("•", "–", "▪", "·")[page.count(0, 3)]
        while column.room > 2 * style.size_px:
            if not self._point(page, column, style, mark):
                break
        column.top, column.bottom = column.bottom + page.gap_px, page.area.bottom
        column.fact(foot, "footer", "footer", most_lines=1)

    def _point(self, page: Page, column: Column, style: Style, mark: str) -> bool:
        point = page.style(style.size_px, like=style)
        text = f"{mark} {page.fact('bullet', style.language)}"
        if not column.text(point, text, "item", 0.35, most_lines=3):
            return False
        small = page.style(page.sizes.near(0.8 * style.size_px), like=style)
        for _ in range(page.count(0, 3)):
            text = f"– {page.fact('bullet', style.language)}"
            column.text(small, text, "item", 0.3, inset=style.size_px, most_lines=2)
        return True


class Poster:
    """A poster or an advertisement: few words on a picture, large, then ever smaller."""

    languages: ClassVar[tuple[Language, ...]] = LANGUAGES
    warps: ClassVar[bool] = True

    def arrange(self, page: Page) -> None:
        """Set centred slogans, a band of facts at the foot."""
        column = _whole(page, 0.04, 0.1)
        align = "center" if page.chance(0.7) else "left"
        band = round(page.box.height * page.between(0.15, 0.35))
        column.bottom -= band
        style = page.style(page.sizes.high, align=align)
        column.skip_to(column.top, page.between(0, 0.15) * page.box.height)
        sizes = sorted((page.size_px() for _ in range(page.count(3, 8))), reverse=True)
        for number, size in enumerate(sizes):
            one = page.style(size, align=align, like=style if page.chance(0.5) else None)
            kind = "slogan" if number < 3 else "notice"
            column.fact(one, kind, "title", page.between(0.4, 1.6), most_lines=3)
        foot = _whole(page, 0.04, 0.06)
        foot.top = max(column.bottom, column.top) + page.gap_px
        if page.chance(0.5) and foot.room > 3 * page.sizes.low:
            paper = sheet(
                page, Box(0, foot.top, page.box.right, page.box.bottom), dark=0.5, tint=0.6
            )
            foot.plated = False
            foot.top += page.gap_px
            small = page.style(page.size_px(high=12), align=align, colour=paper.ink)
        else:
            small = page.style(page.size_px(high=12), align=align)
        for kind in ("date", "address", "code", "slogan", "company", "notice", "footer"):
            if foot.room < 2 * small.size_px:
                return
            foot.fact(small, kind, "caption", 0.4, most_lines=2)


class Table:
    """A table with headings, rules or stripes, words on the left and numbers on the right."""

    languages: ClassVar[tuple[Language, ...]] = LANGUAGES
    warps: ClassVar[bool] = True

    def arrange(self, page: Page) -> None:
        """Set a caption, the head and as many rows as fit."""
        column = _whole(page, 0.02, 0.06)
        paper = sheet(page, column.box.grown(4).intersection(_full(page)), dark=0.1)
        column.plated = False
        size = page.size_px(high=page.sizes.low + 0.7 * (page.sizes.high - page.sizes.low))
        style = page.style(size, colour=paper.ink)
        if page.chance(0.7):
            column.fact(style, "caption", "caption", 0.5, most_lines=2)
        kinds = ["item", *(_CELLS[page.count(0, len(_CELLS) - 1)] for _ in range(5))]
        _grid(page, column, style, paper, kinds, "column")


class Statement:
    """A financial statement: accounts, years, figures in columns, totals under a rule."""

    languages: ClassVar[tuple[Language, ...]] = LANGUAGES
    warps: ClassVar[bool] = True

    def arrange(self, page: Page) -> None:
        """Set the name of the company, the years, then one account a row."""
        column = _whole(page, 0.03, 0.07)
        paper = sheet(page, column.box.grown(4).intersection(_full(page)), dark=0.03, tint=0.05)
        column.plated = False
        size = page.size_px(high=page.sizes.low + 0.7 * (page.sizes.high - page.sizes.low))
        style = page.style(size, colour=paper.ink)
        head = page.style(page.size_px(low=size), align="center", like=style, colour=paper.ink)
        column.fact(head, "company", "title", 0.2, most_lines=1)
        column.fact(head, "title", "heading", 0.6, most_lines=1)
        column.rule(paper.ink, 1, 3)
        years = min(page.count(2, 4), max(1, column.width // (9 * size)))
        first = page.count(1995, 2026)
        _row(page, column, style, [("", ""), *(("", str(first - i)) for i in range(years))])
        column.rule(paper.ink, 1, 3)
        while column.room > 3 * size:
            for _ in range(page.count(2, 6)):
                cells: list[Cell] = [("account", "")]
                cells += [("", _figure(page)) for _ in range(years)]
                if not _row(page, column, style, cells):
                    return
            column.rule(shade(paper.paper, 0.6), 1, 3)


class Form:
    """A form: labels, fields to fill in, some filled, boxes to tick."""

    languages: ClassVar[tuple[Language, ...]] = LANGUAGES
    warps: ClassVar[bool] = True

    def arrange(self, page: Page) -> None:
        """Set a title, then fields in one or two columns."""
        column = _whole(page, 0.03, 0.07)
        paper = sheet(page, column.box.grown(4).intersection(_full(page)), dark=0.05)
        column.plated = False
        size = page.size_px(high=page.sizes.low + 0.7 * (page.sizes.high - page.sizes.low))
        style = page.style(size, colour=paper.ink)
        head = page.style(page.size_px(low=size), align="center", like=style, colour=paper.ink)
        column.fact(head, "title", "title", 0.8, most_lines=2)
        if page.chance(0.5):
            column.fact(style, "notice", "caption", 0.6, most_lines=2)
        hand = page.style(size, manner="hand", colour=ACCENTS[1])
        parts = column.split(2 if column.width > 30 * size else 1, 2 * size)
        for part in parts:
            while part.room > 2 * style.pitch_px:
                ticks = page.chance(0.25)
                done = (self._ticks if ticks else self._field)(page, part, style, hand, paper)
                if not done:
                    break

    def _field(self, page: Page, column: Column, style: Style, hand: Style, paper: Sheet) -> bool:
        width = round(column.width * 0.6)
        label = page.compose_fact(style, "field", width, column.room, 1)
        if label is None:
            return False
        top = column.top
        base = top + label.bases[0] + 2
        left = column.left + label.box.right + style.size_px // 2
        page.mark(Box(left, base, column.right, base + 1), shade(paper.paper, 0.6))
        if page.place(label, column.left, top, "label", plated=False) is None:
            return False
        if page.chance(0.6) and column.right - left > 3 * style.size_px:
            kind = ("person", "date", "place", "code", "number", "company")[page.count(0, 5)]
            width = column.right - left
            filled = page.compose_fact(hand, kind, width, 3 * style.size_px, 1)
            if filled is not None:
                lift = base - 1 - filled.bases[0]
                page.place(filled, left, max(lift, top), "cell", plated=False)
        column.placed += 1
        column.skip_to(top + style.pitch_px, page.between(0.3, 0.8) * style.size_px)
        return True

    def _ticks(self, page: Page, column: Column, style: Style, hand: Style, paper: Sheet) -> bool:
        del hand
        top, left, side = column.top, column.left, max(4, round(0.7 * style.size_px))
        for _ in range(page.count(2, 4)):
            width = column.right - left - side - 4
            if width < 3 * style.size_px:
                break
            one = page.compose_fact(style, "option", width, column.room, 1)
            if one is None:
                break
            box = Box(left, top + 1, left + side, top + 1 + side)
            page.frame(box, shade(paper.paper, 0.8))
            if page.chance(0.3):
                page.mark(box.inner(2), paper.ink)
            placed = page.place(one, left + side + 3, top, "item", plated=False)
            if placed is None:
                break
            left, column.placed = placed.right + style.size_px, column.placed + 1
        column.skip_to(top + style.pitch_px, 0.5 * style.size_px)
        return left > column.left


class Exam:
    """An exam paper: a head with name and class, numbered questions, choices, blanks."""

    languages: ClassVar[tuple[Language, ...]] = LANGUAGES
    warps: ClassVar[bool] = True

    def arrange(self, page: Page) -> None:
        """Number the questions in one or two columns."""
        column = _whole(page, 0.03, 0.06)
        if page.chance(0.75):
            paper = sheet(page, column.box.grown(4).intersection(_full(page)), dark=0.02, tint=0.06)
            column.plated, ink = False, paper.ink
        else:
            ink = None
        size = page.size_px(high=page.sizes.low + 0.7 * (page.sizes.high - page.sizes.low))
        style = page.style(size, colour=ink)
        head = page.style(page.size_px(low=size), align="center", like=style, colour=ink)
        column.fact(head, "title", "title", 0.4, most_lines=2)
        for part in column.split(3, size):
            part.text(style, f"{page.fact('field', style.language)} ____", "label", most_lines=1)
        column.skip_to(column.top + style.pitch_px, 0.8 * size)
        number = page.count(1, 20)
        for part in column.split(2 if column.width > 36 * size else 1, 2 * size):
            while part.room > 2 * size:
                text = f"{number}. {page.fact('question', style.language)}"
                if not part.text(style, text, "item", 0.3):
                    break
                number += 1
                if page.chance(0.6):
                    self._choices(page, part, style)
                part.skip_to(part.top, page.between(0.2, 0.8) * size)

    def _choices(self, page: Page, column: Column, style: Style) -> None:
        answers = [page.fact("answer", style.language) for _ in range(4)]
        lettered = [f"{letter}. {answer}" for letter, answer in zip("ABCD", answers, strict=True)]
        if sum(map(len, lettered)) < style.characters_in(column.width) - 8:
            lettered = ["    ".join(lettered)]
        for text in lettered:
            if not column.text(style, text, "item", 0.2, inset=style.size_px, most_lines=2):
                return


class Note:
    """A note by hand on a slip of paper, ruled or not."""

    languages: ClassVar[tuple[Language, ...]] = LANGUAGES
    warps: ClassVar[bool] = True

    def arrange(self, page: Page) -> None:
        """Lay one or two slips and write on them."""
        whole = _whole(page, 0.02, 0.08)
        count = page.count(1, 2) if whole.width > 24 * page.sizes.high else 1
        for slip in whole.split(count, 3 * page.gap_px):
            slip.top += round(page.between(0, 0.1) * page.box.height)
            slip.bottom -= round(page.between(0, 0.1) * page.box.height)
            self._write(page, slip)

    def _write(self, page: Page, slip: Column) -> None:
        paper = sheet(page, slip.box, dark=0.05, tint=0.35)
        inks = (paper.ink, (24, 40, 120), (40, 40, 44))
        ink = inks[page.count(0, 2)] if sum(paper.paper) > 384 else paper.ink
        style = replace(page.style(page.size_px(), manner="hand", colour=ink), leading=1.5)
        margin, pitch = page.gap_px + style.size_px // 2, style.pitch_px
        column = Column(
            page, slip.left + margin, slip.top + margin, slip.right - margin, slip.bottom - 4
        )
        column.plated, top = False, column.top
        if page.chance(0.4):
            for y in range(top + round(1.15 * style.size_px), slip.bottom - 2, pitch):
                page.mark(Box(slip.left, y, slip.right, y + 1), shade(paper.paper, 0.12))
        prose, kinds = page.chance(0.4), ("todo", "bullet", "notice")
        while column.room > pitch:
            if prose:
                done = column.prose(style, page.count(2, 5) - 0.5, gap_em=0)
            else:
                done = column.fact(style, kinds[page.count(0, 2)], "item", 0, most_lines=3)
            if not done:
                return
            # Writing keeps to the rules of the paper.
            column.top = top + -(-(column.top - top - pitch // 4) // pitch) * pitch


class Web:
    """A web page: a bar with entries, headline, links, text beside a picture, a footer."""

    languages: ClassVar[tuple[Language, ...]] = LANGUAGES
    warps: ClassVar[bool] = False

    def arrange(self, page: Page) -> None:
        """Lay the page over the picture, which shows in its windows."""
        paper = sheet(page, _full(page), dark=0.25, tint=0.03)
        area = page.area
        size = page.size_px(high=page.sizes.low + 0.6 * (page.sizes.high - page.sizes.low))
        style = page.style(size, colour=paper.ink)
        accent = ACCENTS[page.count(0, len(ACCENTS) - 1)]
        top = self._bar(page, style, accent, area)
        side = round(page.between(0.2, 0.32) * page.box.width) if page.chance(0.6) else 0
        main = Column(page, area.left + 3, top, area.right - side - 3, area.bottom, plated=False)
        if side > 8 * size:
            rest = Column(page, main.right + size, top, area.right - 3, area.bottom, plated=False)
            link = page.style(size, like=style, colour=accent)
            while rest.room > size:
                kind = ("menu", "headline", "date")[page.count(0, 2)]
                if not rest.fact(link, kind, "item", 0.5, most_lines=3):
                    break
        head = page.style(page.size_px(low=1.2 * size), like=style, colour=paper.ink)
        small = page.style(page.size_px(high=size), like=style, colour=shade(paper.paper, 0.75))
        while main.room > 4 * size:
            if not main.fact(head, "headline", "heading", 0.3, most_lines=2):
                return
            by = f"{page.fact('person', style.language)} · {page.fact('date', style.language)}"
            main.text(small, by, "label", 0.4, most_lines=1)
            if page.chance(0.5) and main.room > 8 * size:
                main.top = _picture(page, main)
            for _ in range(page.count(1, 3)):
                main.prose(style, page.count(2, 6) - 0.5)

    def _bar(self, page: Page, style: Style, accent: Colour, area: Box) -> int:
        bottom = area.top + 2 * style.size_px
        page.lay(Box(0, 0, page.box.right, bottom), accent)
        entry = page.style(style.size_px, like=style, colour=(255, 255, 255))
        left = area.left + 4
        while area.right - left > 3 * style.size_px:
            composed = page.compose_fact(entry, "menu", area.right - left, bottom - area.top, 1)
            if composed is None:
                break
            box = page.place(composed, left, area.top + style.size_px // 2, "label", plated=False)
            if box is None:
                break
            left = box.right + style.size_px
        return bottom + style.size_px


class Receipt:
    """A receipt: a strip of paper, items with prices, a total, thanks."""

    languages: ClassVar[tuple[Language, ...]] = LANGUAGES
    warps: ClassVar[bool] = True

    def arrange(self, page: Page) -> None:
        """Lay a strip on the picture and print on it."""
        size = page.size_px(high=page.sizes.low + 0.6 * (page.sizes.high - page.sizes.low))
        least_x, least_y, most_x, most_y = page.area
        width = min(most_x - least_x, max(round(page.between(14, 22) * size), page.box.width // 3))
        left = least_x + round(page.between(0, most_x - least_x - width))
        paper = sheet(page, Box(left, least_y, left + width, most_y), dark=0.0, tint=0.04)
        column = Column(
            page, left + size // 2 + 2, least_y + 4, left + width - size // 2 - 2, most_y - 4
        )
        column.plated = False
        style = page.style(size, manner="mono", colour=paper.ink)
        centre = page.style(size, align="center", like=style, colour=paper.ink)
        for kind in ("company", "address", "code", "date"):
            column.fact(centre, kind, "label", 0.2, most_lines=2)
        column.rule(shade(paper.paper, 0.6), 1, 3)
        column.bottom -= 5 * style.pitch_px
        cents = 0
        while column.room > 2 * _row_px(style):
            price = round(100 * 10 ** page.between(0, 2.7))
            if not _row(page, column, style, [("item", ""), ("", f"{price / 100:.2f}")]):
                break
            cents += price
        column.bottom = most_y - 4
        column.rule(shade(paper.paper, 0.6), 1, 3)
        total = {"en": "TOTAL", "zh-hant": "總計"}.get(style.language, "合计")
        _row(page, column, style, [("", total), ("", f"{cents / 100:.2f}")])
        column.fact(centre, "slogan", "footer", 0.2, most_lines=2)
        column.fact(centre, "code", "footer", 0.2, most_lines=1)


class Scatter:
    """Short texts at free places of a picture, as on signs, captions and overlays."""

    languages: ClassVar[tuple[Language, ...]] = LANGUAGES
    warps: ClassVar[bool] = True

    def arrange(self, page: Page) -> None:
        """Try more texts than will fit, as many as the page's side suggests."""
        share = (page.box.width * page.box.height) ** 0.5 / 256
        for _ in range(round(page.between(8, 24) * max(1.0, share))):
            self._drop(page, plated=page.chance(0.25))
        # Over gravel or leaves nothing is legible without a plate.
        for _ in range(20):
            if len(page.blocks) >= FEWEST:
                return
            self._drop(page, plated=True)

    def _drop(self, page: Page, *, plated: bool) -> None:
        style = page.style(page.size_px(), align="center" if page.chance(0.3) else "left")
        area = page.area
        width = max(round(page.between(0.25, 1.0) * area.width), 4 * style.size_px)
        text = page.prose(style, width, area.height, page.between(0.4, 3))
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
                composed, left, top, "label", plated=plated
            ):
                return


def _figure(page: Page) -> str:
    """Draw a figure of a statement: thousands, at times negative or nothing."""
    value = f"{round(10 ** page.between(1.5, 6.9)):,}"
    kind = page.between(0, 1)
    return "–" if kind < 0.06 else f"({value})" if kind < 0.25 else value


_CELLS = ("amount", "number", "percent", "date", "code", "place", "person", "time", "number")


def _full(page: Page) -> Box:
    """Return the page without what a warp would push off it."""
    return page.box if page.canvas.warp is None else page.area


def _whole(page: Page, low: float = 0.015, high: float = 0.06) -> Column:
    """Return the page as one column inside a margin of [low, high] of its shorter side."""
    margin = round(page.between(low, high) * min(page.box.width, page.box.height))
    left, top, right, bottom = page.area
    return Column(page, left + margin, top + margin, right - margin, bottom - margin)


def _on_sheet(page: Page, column: Column, box: Box, *, dark: float = 0.12) -> Column:
    """Lay a sheet and keep the column on it."""
    sheet(page, box, dark=dark)
    return Column(page, *box.inner(page.gap_px).intersection(column.box), plated=False)


def _title(column: Column) -> None:
    """Put a title of one or two lines in the upper half of the sizes."""
    page = column.page
    size = page.size_px(low=(page.sizes.low + page.sizes.high + 1) // 2)
    style = page.style(size, align="center" if page.chance(0.4) else "left")
    column.prose(style, page.between(0.5, 1.6), "title")


def _footer(page: Page, column: Column, body: Style) -> int:
    """Put a line of furniture at the foot; return where the text above it ends."""
    small = page.style(page.size_px(high=body.size_px), align="center", like=body)
    composed = page.compose_fact(small, "footer", column.width, 2 * small.size_px, 1)
    if composed is None or column.room < 10 * small.size_px or page.chance(0.3):
        return column.bottom
    top = column.bottom - composed.box.height
    if page.place(composed, column.left, top, "footer", plated=column.plated) is None:
        return column.bottom
    return top - page.gap_px - small.size_px // 2


def _sections(page: Page, column: Column, body: Style) -> None:
    """Fill a column with paragraphs under headings, at times a list or references."""
    while column.room > body.size_px:
        if page.chance(0.3):
            head = page.style(max(body.size_px, page.size_px(high=1.3 * body.size_px)), like=body)
            column.fact(head, "heading", "heading", 0.4, most_lines=2)
        elif page.chance(0.12):
            kind = ("formula", "reference", "bullet")[page.count(0, 2)]
            align = "center" if kind == "formula" else "left"
            for _ in range(1 if kind == "formula" else page.count(2, 5)):
                one = page.style(body.size_px, align=align, like=body)
                column.fact(one, kind, "item", 0.3, most_lines=3)
        if not column.prose(body, page.count(3, 12) - 0.5, gap_em=page.between(0.1, 0.6)):
            return


def _picture(page: Page, column: Column) -> int:
    """Let the photograph show in a window of the sheet; return where text goes on below it."""
    if page.choices.background.source is None:
        return column.top
    column.top += page.gap_px
    height = min(column.room - 1, round(column.width * page.between(0.4, 0.8)))
    page.lay(Box(column.left, column.top, column.right, column.top + height), None)
    return column.top + height + page.gap_px


def _grid(
    page: Page, column: Column, style: Style, paper: Sheet, kinds: list[str], heads: str
) -> None:
    """Set a table: a row of headings, then rows of facts until the column is full."""
    size = style.size_px
    kinds = kinds[: max(2, min(len(kinds), column.width // (7 * size)))]
    striped, ruled = page.chance(0.4), page.chance(0.5)
    column.top += page.gap_px
    top, high = column.top, _row_px(style)
    step = high + (3 if ruled else 0)
    page.lay(Box(column.left, top, column.right, top + high + 2), shade(paper.paper, 0.12))
    # Every ground is laid before the text, so that none changes the light under it.
    for y in range(top + 2 * high + 4, column.bottom - step, 2 * step):
        if striped:
            page.lay(Box(column.left, y, column.right, y + step), shade(paper.paper, 0.06))
    column.top += 1
    if not _row(page, column, style, [(heads, "")] * len(kinds), "heading"):
        return
    column.rule(shade(paper.paper, 0.7), 1, 2)
    while column.room > _row_px(style):
        if not _row(page, column, style, [(kind, "") for kind in kinds]):
            break
        if ruled:
            column.rule(shade(paper.paper, 0.3), 1, 2)
    if page.chance(0.5):
        page.frame(Box(column.left, top, column.right, column.top), shade(paper.paper, 0.7))


Cell = tuple[str, str]
"""(kind of fact to draw, "") or ("", a given text)."""


def _row_px(style: Style) -> int:
    """Return the height of a row: ink of 1.3 em at most, and a gap."""
    return max(style.pitch_px, round(1.35 * style.size_px) + 3)


def _row(
    page: Page, column: Column, style: Style, cells: Sequence[Cell], role: Role = "cell"
) -> bool:
    """Set cells side by side on one baseline, the first on the left, the others on the right.

    A cell whose text does not fit stays empty.
    """
    height = _row_px(style)
    if column.room < height:
        return False
    # The first cell holds words: it is as wide as two of the others.
    unit = column.width / (len(cells) + 1)
    baseline = column.top + round(1.05 * style.size_px) + 1
    placed = False
    for number, (kind, text) in enumerate(cells):
        width = round(unit * (2 if not number else 1)) - max(4, style.size_px // 2)
        left = column.left + round(unit * (number + 1 if number else 0)) + 2
        one = replace(style, align="right" if number else "left")
        if kind:
            composed = page.compose_fact(one, kind, width, height, 1)
        else:
            composed = page.compose(one, text, width, height, 1) if text else None
        if composed is None or not composed.whole:
            continue
        top = baseline - composed.bases[0]
        if page.place(composed, left, top, role, plated=False):
            placed = True
    column.placed += placed
    column.top += height
    return placed


FALLBACK = "scatter"
"""The layout taken where another one leaves the page empty: it needs the least room."""

LAYOUTS: dict[str, type[Layout]] = {
    "paragraph": Paragraph,
    "article": Article,
    "newspaper": Newspaper,
    "book": Book,
    "vertical": Vertical,
    "slide": Slide,
    "poster": Poster,
    "table": Table,
    "statement": Statement,
    "form": Form,
    "exam": Exam,
    "note": Note,
    "web": Web,
    "receipt": Receipt,
    "scatter": Scatter,
}
