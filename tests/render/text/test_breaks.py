"""Where lines may end: the compiled rules say what uniseg says."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from uniseg.linebreak import LineBreak, line_break, line_break_boundaries

from render.text.breaks import Text, break_opportunities

FORBIDDEN_AT_THE_START = "，。、；：！？”’》）…"

ONE_OF_EACH = (
    '\0\t\n\v\r !"#$%(),-/0}\x85\xa0«´»\u0378\u05d0\u0897\u1100\u1160\u11a8\u17d6\u1b05\u1b44'
    "\u1b4e\u1b50\u1b5c\u1bf2\u200b\u200d\u2010—․\u2060\u20a9⌚①〈〉\u25cc☝✊々가각\ufe15︙﹪\ufffc"
    "\U00010d40\U00011003\U00011380\U00011392\U000113d0\U000113d1\U00011b00\U00013439\U0001f02c"
    "\U0001f1e6\U0001f3fb\U0001f80c\U0001faf7\u0e01\u0e34\u3041“”‘’"
)
"""A character of every kind that the rules tell apart, and of those that rule LB1 resolves."""


def reference(text: str) -> list[bool]:
    ends = set(line_break_boundaries(text))
    return [i + 1 in ends for i in range(len(text))]


@settings(max_examples=300)
@given(
    st.text(
        st.sampled_from("aB3é一二我あ ，。、《》“”'\"().,-—…!？：;/$%·\u00a0\u3000\n𠀀😀"),
        max_size=30,
    )
)
def test_breaks_of_what_is_drawn_are_those_of_uax14(text: str):
    assert break_opportunities(text).tolist() == reference(text)


@st.composite
def kin(draw: st.DrawFn) -> str:
    """Text of a few kinds only, so that the rules of three and more neighbours are met too."""
    few = draw(st.lists(st.sampled_from(ONE_OF_EACH), min_size=1, max_size=5))
    return draw(st.text(st.sampled_from(few), max_size=12))


@settings(max_examples=500)
@given(st.one_of(kin(), st.text(max_size=12)))
def test_breaks_of_anything_are_those_of_uax14(text: str):
    assert break_opportunities(text).tolist() == reference(text)


def test_every_class_has_its_character():
    missing = {LineBreak.SG}  # half a character, which no text of ours can hold
    assert {line_break(character) for character in ONE_OF_EACH} == set(LineBreak) - missing


def test_no_line_may_start_with_a_mark_that_may_not():
    text = "他说：“真的吗？”她答：“是的，《红楼梦》（第八十回）……还有呢！”" * 4
    breaks = break_opportunities(text)
    for character, end in zip(text[1:], breaks, strict=False):
        assert not (end and character in FORBIDDEN_AT_THE_START)
    assert breaks.sum() > 40


def test_a_text_keeps_its_string():
    text = Text.of("Grüße, 世界 𠀀!")
    assert text.string == "Grüße, 世界 𠀀!"
    assert text.codes.dtype == np.uint32
    assert text.breaks.dtype == np.bool_
    assert text.codes.shape == text.breaks.shape == (len(text.string),)
    assert text.breaks[-1]
    assert Text.of("Grüße, 世界 𠀀!") is text


def test_an_empty_text_is_empty():
    assert Text.of("").string == ""
    assert len(Text.of("").breaks) == 0
