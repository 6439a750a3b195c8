"""What pages hold is counted by character, line and part of a line."""

from benchmarks.contents import Contents
from render import Fonts
from render.plan import Font
from tests.render.pages import SIMPLIFIED, block_of


def test_a_block_is_counted_by_design_size_and_character():
    contents = Contents(Fonts.embedded())
    contents.count(block_of("天地玄黄" * 5, Font(SIMPLIFIED, (400.0,)), 12, 0, 20))
    assert contents.sizes == {"en": {12: 20}}  # the block says so
    assert contents.characters["玄"] == 5
    assert (len(contents.shingles["en"]), contents.shingles["en"].total()) == (4, 5)
    values = {row.name: row.value for row in contents.rows()}
    assert values["en: distinct among 16-character shingles"] == 80
    assert values["GB2312 level 1: below 20 times"] == 3755
