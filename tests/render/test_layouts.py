"""Layouts: each fills a page of any size in every language it knows, and keeps things apart."""

import inspect
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from render import LAYOUTS
from render.layouts import FALLBACK
from render.layouts.column import Column, Paper, lay_paper, shade
from render.page import MARGIN_PX, Sizes
from render.picture.canvas import Canvas
from render.picture.light import contrast, extremes
from render.plan import LANGUAGES, Box
from render.renderer import ATTEMPTS
from shards import UserError
from tests.render.pages import PLEX, bare, covered, ground, page_of, style_of, variant, with_ink

CASES = [(name, language) for name, one in LAYOUTS.items() for language in one.languages]
ROOT = Path(__file__).parent.parent.parent
PAGES = {"small": (96, 96), "square": (256, 256), "wide": (640, 320)}


def only(renderer, layout, /, language="en", **changes):
    given = {"width": 256, "height": 256, "languages": {language: 1}, "layouts": {layout: 1}}
    return variant(renderer, **(given | changes))


def boxes_of(meta):
    """Return the boxes of the ink of each block."""
    return [
        np.concatenate([with_ink(line["characters"]) for line in meta["lines"][slice(*b["lines"])]])
        for b in meta["blocks"]
    ]


@pytest.mark.parametrize("size", PAGES)
@pytest.mark.parametrize(("layout", "language"), CASES)
def test_every_page_carries_text_that_keeps_apart(renderer, layout, language, size):
    width, height = PAGES[size]
    one = only(renderer, layout, language, width=width, height=height, size_px=(5, 20))
    for i in range(2):
        meta = one.sample(i).meta
        assert meta["layout"] == layout
        assert meta["blocks"]
        taken = np.zeros((height, width), bool)
        for boxes in boxes_of(meta):
            assert boxes[:, :2].min() >= MARGIN_PX
            assert boxes[:, 2].max() <= width - MARGIN_PX
            assert boxes[:, 3].max() <= height - MARGIN_PX
            ink = covered(boxes, height, width)
            assert not (taken & ink).any()
            taken |= ink


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_warps_only_where_it_says_so(renderer, layout):
    language = LAYOUTS[layout].languages[0]
    plans = [only(renderer, layout, language, warp_share=1).plan(i) for i in range(2)]
    assert all((plan.warp is not None) == LAYOUTS[layout].warps for plan in plans)


def test_the_layouts_cover_what_they_should():
    assert len(LAYOUTS) >= 15
    assert LAYOUTS["vertical"].languages == ("zh", "zh-hant")
    assert all(one.languages == LANGUAGES for name, one in LAYOUTS.items() if name != "vertical")


@pytest.mark.parametrize("layout", ["paragraph", "book", "slide", "statement", "receipt"])
def test_blocks_of_one_column_go_down_the_page(renderer, layout):
    for language in ("en", "zh"):
        one = only(renderer, layout, language)
        for i in range(4):
            bases = [line.baseline_px for _, line in one.plan(i).lines()]
            assert all(above <= below + 3 for above, below in pairwise(bases))


@pytest.mark.parametrize("layout", ["table", "statement"])
def test_rows_are_read_from_left_to_right(renderer, layout):
    one = only(renderer, layout)
    rows = 0
    for i in range(8):
        meta = one.sample(i).meta
        cells = [block["box"] for block in meta["blocks"] if block["role"] == "cell"]
        for (_, top, right, bottom), (left, above, _, below) in pairwise(cells):
            if min(bottom, below) - max(top, above) > 2:
                assert left >= right
                rows += 1
    assert rows > 20


@pytest.mark.parametrize("layout", LAYOUTS)
def test_lines_of_a_block_are_in_reading_order(renderer, layout):
    language = LAYOUTS[layout].languages[0]
    for i in range(3):
        for block in only(renderer, layout, language).plan(i).blocks:
            for one, next_ in pairwise(block.lines):
                step = next_.baseline_px - one.baseline_px
                assert -step > block.size_px if block.vertical else step > block.size_px
            for line in block.lines:
                assert list(line.pens) == sorted(line.pens)


def test_vertical_columns_go_from_right_to_left(renderer):
    one = only(renderer, "vertical", "zh", height=140)
    for i in range(4):
        plan = one.plan(i)
        assert all(block.vertical for block in plan.blocks)
        bases = [line.baseline_px for _, line in plan.lines()]
        assert bases == sorted(bases, reverse=True)


def test_columns_of_an_article_stand_side_by_side(renderer):
    one = only(renderer, "article", width=640, height=320, size_px=(8, 8))
    lefts = [
        {block["box"][0] // 40 for block in one.sample(i).meta["blocks"] if block["role"] == "body"}
        for i in range(8)
    ]
    assert max(map(len, lefts)) >= 3


def test_receipts_are_set_in_mono_and_notes_by_hand(renderer):
    for layout, style_class in (("receipt", "mono"), ("note", "hand")):
        for block in only(renderer, layout).plan(0).blocks:
            assert style_class in renderer.material.fonts.faces[block.fonts[0].face].style_class


def test_sheets_bring_plain_ground_and_some_layouts_pictures(renderer):
    plans = [only(renderer, "web", flat_share=0).plan(i) for i in range(6)]
    assert all(plan.rects[0].box == (0, 0, 256, 256) for plan in plans)
    assert any(rect.colour is None for plan in plans for rect in plan.rects)


@pytest.mark.parametrize("warp_share", [0, 1])
def test_rules_and_frames_pass_between_the_lines(renderer, warp_share):
    """They lie under the ink and are no ground of it: little of a line may stand on them."""
    sheets = ("newspaper", "table", "statement", "form", "receipt", "slide")
    for layout in sheets:
        one = only(renderer, layout, warp_share=warp_share)
        for i in range(4):
            sample = one.sample(i)
            plan = sample.meta["plan"]
            marked = (bare(one, plan) != ground(one, plan)).any(axis=2)
            for line in sample.meta["lines"]:
                under = covered(with_ink(line["characters"]), 256, 256)
                assert marked[under].mean() < 0.25, (layout, i, line["text"])


def nothing(self, page):
    """Leave the page empty."""


def test_a_page_that_stays_empty_is_arranged_again_and_says_so(renderer, monkeypatch):
    tries = []

    def late(self, page):
        """Place something at the third try only."""
        tries.append(page)
        if len(tries) == 3:
            Column(page, 5, 5, 200, 200, page.style(12)).text("at last")

    monkeypatch.setattr(LAYOUTS["paragraph"], "arrange", late)
    sample = only(renderer, "paragraph").sample(0)
    assert sample.text == "at last"
    assert sample.meta["scores"]["retries"] == 2


def test_another_layout_is_taken_where_one_places_nothing(renderer, monkeypatch):
    monkeypatch.setattr(LAYOUTS["paragraph"], "arrange", nothing)
    plan = only(renderer, "paragraph").plan(0)
    assert (plan.layout, plan.retries) == (FALLBACK, ATTEMPTS)
    assert plan.blocks


def test_text_of_which_nothing_can_be_placed_is_an_error(renderer, monkeypatch):
    for name in ("paragraph", FALLBACK):
        monkeypatch.setattr(LAYOUTS[name], "arrange", nothing)
    with pytest.raises(UserError, match="left nothing to draw on page 0; give longer text"):
        only(renderer, "paragraph").plan(0)


def test_a_column_fills_from_its_top_and_keeps_blocks_apart(renderer):
    page = page_of(renderer)
    column = Column(page, 20, 20, 200, 120, style_of(page, PLEX))
    while column.text("one line", "body", 0):
        pass
    boxes = page.taken
    assert len(boxes) == column.placed > 3
    assert all(box[1] - above[3] >= page.gap_px for above, box in pairwise(boxes))
    left, top, right, bottom = np.array(boxes).T
    assert min(left.min(), top.min()) >= 20
    assert right.max() <= 200
    assert bottom.max() <= 120


def test_columns_are_split_with_a_gutter(renderer):
    page = page_of(renderer)
    column = Column(page, 10, 10, 210, 100, style_of(page, PLEX))
    parts = column.split(3, 10)
    assert [(part.left, part.right) for part in parts] == [(10, 70), (80, 140), (150, 210)]
    assert all((part.top, part.bottom) == (10, 100) for part in parts)


def test_a_rule_needs_room_and_takes_it(renderer):
    page = page_of(renderer)
    paper = Paper(page.box, (0, 0, 0), (255, 255, 255))
    column = Column(page, 10, 10, 110, 20, style_of(page, PLEX), paper)
    column.rule((1, 2, 3), 2, 4)
    assert [mark.box for mark in page.marks] == [(10, 10, 110, 12)]
    assert column.top == 16
    replace(column, top=19).rule((1, 2, 3), 2, 4)
    assert len(page.marks) == 1


@pytest.mark.parametrize("dark", [0.0, 1.0])
def test_paper_carries_its_ink_everywhere(renderer, dark):
    one = variant(renderer, flat_share=0)
    for seed in range(6):
        page = page_of(renderer, width=160, height=128)
        photograph = one.backgrounds.paint(one.plan(8 * seed).background)
        page.canvas = Canvas(photograph.copy, None)
        page.rng = np.random.default_rng(seed)
        paper = lay_paper(page, Box(10, 10, 150, 110), dark=dark)
        ((low, high),) = extremes(page.canvas.pixels, np.array([[12, 12, 148, 108]], np.int32), 12)
        assert contrast(paper.ink, low, high) >= page.contrast_floor * 0.9
        assert [rect.box for rect in page.rects] == [(10, 10, 150, 110)]
        assert (sum(paper.colour) < 384) == (dark == 1.0)


def test_a_shade_lies_between_paper_and_ink():
    assert shade((255, 255, 255), 0.0) == (255, 255, 255)
    assert shade((255, 255, 255), 1.0) == (0, 0, 0)
    assert shade((0, 0, 0), 0.2) == (51, 51, 51)


def test_sizes_are_cut_to_a_range_or_taken_from_nearby():
    sizes = Sizes({8: 1.0, 6: 0.0, 12: 1.0, 20: 3.0})
    rng = np.random.default_rng(0)
    assert (sizes.low, sizes.high) == (8, 20)
    assert {sizes.draw(rng, 0, 1000) for _ in range(60)} == {8, 12, 20}
    assert {sizes.draw(rng, 9, 19) for _ in range(20)} == {12}
    assert {sizes.draw(rng, 21, 30) for _ in range(20)} == {20}
    drawn = [sizes.draw(rng, 10, 20) for _ in range(1000)]
    assert drawn.count(20) == pytest.approx(750, abs=60)


def test_facts_are_set_in_the_language_of_the_page(renderer):
    assert any("一" <= c <= "鿿" for c in only(renderer, "form", "zh").plan(0).text)
    assert not any("一" <= c <= "鿿" for c in only(renderer, "form", "en").plan(0).text)


def set_to(renderer, layout, **settings):
    return only(renderer, layout, width=480, size_px=(8, 8), layout={layout: settings})


def roles_of(plan):
    return [block.role for block in plan.blocks]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_recipe_sets_the_shares_inside_a_layout(renderer, share):
    titled = set_to(renderer, "paragraph", title=share)
    assert {"title" in roles_of(titled.plan(i)) for i in range(8)} == {share == 1.0}
    numbered = set_to(renderer, "exam", choices=share)
    lettered = any("A. " in numbered.plan(i).text for i in range(4))
    assert lettered == (share == 1.0)


@pytest.mark.parametrize("count", [2, 3])
def test_a_recipe_sets_the_counts_inside_a_layout(renderer, count):
    for layout, key, value in (("statement", "years", [count, count]), ("table", "columns", count)):
        one = set_to(renderer, layout, **{key: value})
        for i in range(3):
            cells = [b["box"] for b in one.sample(i).meta["blocks"] if b["role"] == "cell"]
            tops = [len([box for box in cells if abs(box[3] - b[3]) < 5]) for b in cells]
            assert max(tops) == count + (layout == "statement")


def test_a_page_depends_on_the_settings_of_its_own_layout_only(renderer):
    plain = only(renderer, "book").sample(1)
    other = only(renderer, "book", layout={"note": {"ruled": 1.0}}).sample(1)
    assert dict(plain.files()) == dict(other.files())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_settings_of_a_layout_are_bounded(layout):
    for name, field in LAYOUTS[layout].model_fields.items():
        assert f"`{name}`" in LAYOUTS[layout].__doc__
        pair = isinstance(field.default, tuple)
        for bad in ([-1, 1], [9, 2], [10**6, 10**6]) if pair else (-1, 10**6):
            with pytest.raises(ValueError, match=name):
                LAYOUTS[layout](**{name: bad})


def documented():
    """Return docs/layouts.md as it should be."""
    text = (ROOT / "docs/layouts.md").read_text("utf-8").partition("\n## ")[0]
    for name, layout in LAYOUTS.items():
        fields = {key: field.default for key, field in layout.model_fields.items()}
        lines = [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
        settings = "\n".join([f"[render.layout.{name}]", *lines])
        text += f"\n## {name}\n\n{inspect.getdoc(layout)}\n\n```toml\n{settings}\n```\n"
    return text


def test_the_docs_list_every_setting_of_a_layout():
    assert (ROOT / "docs/layouts.md").read_text("utf-8") == documented()
