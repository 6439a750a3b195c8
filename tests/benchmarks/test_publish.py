"""What benchmarks print reaches the pages, each figure as it was measured."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.__main__ import Figure, Measured, Table, filled, publish

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))

ROWS = [
    {"name": "256 px en", "value": 182.4, "unit": "pages/s", "target": 120.0, "better": "higher"},
    {"name": "256 px zh", "value": 17.5, "unit": "pages/s", "target": None, "better": "higher"},
    {"name": "256 px en: text", "value": 1234.5, "unit": "characters/s", "target": None,
     "better": "higher"},
    {"name": "256 px zh: text", "value": 3, "unit": "characters/s", "target": None,
     "better": "higher"},
    {"name": "start", "value": 1.64, "unit": "s", "target": 2.0, "better": "lower"},
]  # fmt: skip

PAGE = r"""
<!-- rows pages ^256 px (?P<across>en|zh)(?:: (.*))?$ -->
<!-- end -->
<!-- rows pages ^start$ -->
<!-- end -->
<!-- rows never . -->
as it stood
<!-- end -->
<!-- rows pages ^512 px -->
no row yet
<!-- end -->
<!-- chart pages ^256 px (?P<across>en|zh)$ -->
![Pages a second](measured/pages.png)
<!-- end -->
"""


@pytest.fixture
def published(tmp_path) -> Path:
    runs, docs = tmp_path / "runs", tmp_path / "docs"
    runs.mkdir()
    docs.mkdir()
    record = {"machine": "A machine", "commit": "abc", "rows": ROWS}
    (runs / "pages.json").write_text(json.dumps(record))
    (docs / "page.md").write_text(PAGE)
    publish(runs, [docs / "page.md"])
    return docs


def test_every_row_is_published_and_read_back(published):
    measured = Measured.read(published / "measured" / "pages.md")
    assert measured.figures == [
        Figure("256 px en", "182", "pages/s", "≥ 120"),
        Figure("256 px zh", "17.50", "pages/s", ""),
        Figure("256 px en: text", "1,234", "characters/s", ""),
        Figure("256 px zh: text", "3", "characters/s", ""),
        Figure("start", "1.64", "s", "≤ 2"),
    ]
    assert measured.made_by == "A machine, commit abc."
    assert measured.page() == (published / "measured" / "pages.md").read_text()


def test_a_page_gets_tables_with_sizes_across_and_measures_down(published):
    page = (published / "page.md").read_text()
    assert "|  | en | zh |\n" in page
    assert "| pages/s | 182 | 17.50 |\n" in page
    assert "| text, characters/s | 1,234 | 3 |\n" in page
    assert "| start | 1.64 | s | ≤ 2 |\n" in page
    assert "A machine, commit abc. [Every row](measured/pages.md)." in page
    assert "as it stood" in page
    assert "no row yet\n<!-- end -->" in page
    assert (published / "measured" / "pages.png").read_bytes().startswith(b"\x89PNG")
    assert filled(page, published) == page


def test_a_value_that_could_not_be_had_is_printed_as_such():
    row = {"name": "2048 px", "value": None, "unit": "out of memory", "target": None}
    record = {"machine": "A machine", "commit": "abc", "rows": [row | {"better": "higher"}]}
    (figure,) = Measured.of("gpu", record).figures
    assert figure == Figure("2048 px", "n/a", "out of memory", "")
    assert "| 2048 px | n/a | out of memory |" in Table.of([figure], ".").markdown()


def table(*figures: tuple[str, str, str]) -> str:
    return Table.of([Figure(*figure, "") for figure in figures], r"(?P<across>.) (.)").markdown()


def test_a_unit_stands_once_where_it_holds():
    assert table(("a x", "1", "s"), ("b x", "2", "s")).startswith("| s | a | b |")
    assert "| x, s | 1 | 2 |" in table(("a x", "1", "s"), ("b x", "2", "s"), ("a y", "3", "m"))
    assert "|  | a, s | b, m |" in table(("a x", "1", "s"), ("b x", "2", "m"))
    assert "|  | s | b, m |" in table(("s x", "1", "s"), ("b x", "2", "m"))
    mixed = table(("a x", "1", "s"), ("b x", "2", "m"), ("a y", "3", "m"))
    assert "| x | 1 s | 2 m |" in mixed
    assert "| y | 3 m | – |" in mixed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_tables_in_the_docs_hold_what_was_measured(page):
    text = page.read_text("utf-8")
    assert filled(text, page.parent) == text, "run python -m benchmarks runs/bench docs/*.md"
    slots = re.findall(r"<!-- (?:rows|chart) (\S+) ", text)
    assert all((page.parent / "measured" / f"{name}.md").exists() for name in slots)
