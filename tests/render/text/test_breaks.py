"""Where lines may end: the table and the memory say what uniseg says."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uniseg.linebreak import line_break, line_break_boundaries

from render.text import breaks as module
from render.text.breaks import Text, break_opportunities

GROUPS = module._GROUPS
ONE_OF_EACH = "".join(group[0] for group in GROUPS.values() if group)
FORBIDDEN_AT_THE_START = "，。、；：！？”’》）…"


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
def test_breaks_are_those_of_uax14(text):
    assert break_opportunities(text).tolist() == reference(text)


@settings(max_examples=200)
@given(st.text(st.sampled_from("aZ09一龥 .,:;、。，．）》!？：；…（《「"), max_size=40))
def test_breaks_of_common_characters_are_those_of_uax14(text):
    assert break_opportunities(text).tolist() == reference(text)


def test_the_characters_of_a_group_have_the_same_class():
    for group in GROUPS.values():
        assert len({line_break(character) for character in group}) <= 1


@pytest.mark.parametrize("length", [1, 2, 3])
def test_the_table_holds_in_every_context(length):
    # A pair with what stands before and after it, quotes and brackets included.
    for characters in product(ONE_OF_EACH + "(“)-", repeat=length):
        text = "".join(characters)
        assert break_opportunities(text).tolist() == reference(text), text


def test_prose_is_mostly_answered_by_the_table(monkeypatch):
    monkeypatch.setattr(module, "_inside", lambda piece: pytest.fail(piece))
    text = "周末集市的价格：苹果每斤5.8元，洋葱（三个）两块钱；well, about 3 of them. 好！"
    assert break_opportunities(text)[-1]


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
