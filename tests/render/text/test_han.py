"""Traditional Chinese keeps to one standard a page: Taiwan's, Hong Kong's or OpenCC's."""

import tomllib
from functools import cache
from pathlib import Path

import numpy as np
import opencc
import pytest

import render.text.facts
from render import Corpus, RenderSettings
from render.plan import HAN_VARIANTS
from render.text.facts import Facts
from render.text.han import HAN, Traditional, gb2312
from tests.render.pages import variant

PROSE = Path(render.text.facts.__file__).parent / "prose"
BASIC = frozenset(range(0x20, 0x10000))


@cache
def forms():
    """Return the Han of each standard, as OpenCC itself makes them from all that we hold."""
    tables = tomllib.loads((PROSE / "facts.toml").read_text("utf-8"))
    facts = [
        text for table in tables.values() for one in table.values() for text in one.get("zh", [])
    ]
    words = Corpus.embedded(BASIC, ["zh"]).sources["zh"][1][1].words
    text = "\n".join([(PROSE / "zh.txt").read_text("utf-8"), *facts, *words, *gb2312()])
    return {
        name: frozenset("".join(HAN.findall(opencc.OpenCC(f"s2{name}").convert(text))))
        for name in HAN_VARIANTS
    }


def telling(text):
    """Return the Han of a text that not every standard has."""
    return set("".join(HAN.findall(text))) - frozenset.intersection(*forms().values())


MIXED = ("article", "newspaper", "slide", "web", "exam")
"""Layouts with both lines of the corpus and facts."""


def pages(renderer, count, **changes):
    one = variant(
        renderer,
        width=400,
        height=400,
        size_px=(6, 12),
        languages={"zh-hant": 1},
        layouts=dict.fromkeys(MIXED, 1.0),
        **changes,
    )
    return [one.sample(i) for i in range(count)]


def test_no_page_mixes_two_standards(renderer):
    told = 0
    for sample in pages(renderer, 60):
        found = telling(sample.text)
        told += bool(found)
        assert any(found <= forms()[name] for name in HAN_VARIANTS), found
    assert told > 40


def test_the_label_says_which_standard_a_page_keeps_to(renderer):
    seen = {}
    for sample in pages(renderer, 60, han_variants={"tw": 1, "hk": 1, "t": 1}):
        name = sample.meta["han_variant"]
        assert telling(sample.text) <= forms()[name]
        seen[name] = seen.get(name, "") + sample.text
    assert set("裡為說") <= set(seen["tw"])
    assert set("裏為説") <= set(seen["hk"])
    assert set("裏爲說") <= set(seen["t"])


@pytest.mark.parametrize("name", HAN_VARIANTS)
def test_a_recipe_weighs_the_standards(renderer, name):
    samples = pages(renderer, 12, han_variants={name: 1})
    assert {sample.meta["han_variant"] for sample in samples} == {name}
    assert all(telling(sample.text) <= forms()[name] for sample in samples)


def test_pages_of_other_languages_depend_on_no_standard(renderer):
    for language in ("en", "zh", "mixed"):
        first, second = (
            variant(renderer, languages={language: 1}, han_variants={name: 1}).sample(3)
            for name in ("tw", "hk")
        )
        assert dict(first.files()) == dict(second.files())
        assert "han_variant" not in first.meta


def test_the_embedded_fonts_draw_every_form(renderer):
    wanted = set(map(ord, frozenset.union(*forms().values())))
    faces = renderer.material.fonts.faces.values()
    lacking = {
        face.name: set(map(chr, wanted - {*face.codes.tolist()}))
        for face in faces
        if "zh-hant" in face.languages
    }
    # Song of Traditional Chinese lacks these: another face sets them, as in any line.
    assert lacking.pop("NotoSerifTC-Regular.otf#0") == set("磙幷釒硷嬀爲叄訁堖僞潙")
    assert lacking
    assert not any(lacking.values())


def test_standards_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="'tw', 'hk' or 't'"):
        RenderSettings(han_variants={"sg": 1})
    with pytest.raises(ValueError, match="are all 0"):
        RenderSettings(han_variants={"tw": 0})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tw", "他們在裡面吃麵，穿著溫暖的衣服，說臺灣話。"),
        ("hk", "他們在裏面吃麪，穿着温暖的衣服，説台灣話。"),
        ("t", "他們在裏面喫麪，穿着溫暖的衣服，說臺灣話。"),
    ],
)
def test_hong_kong_taiwan_and_opencc_write_a_sentence_in_their_own_way(name, expected):
    convert = Traditional(name, BASIC)
    assert convert("他们在里面吃面，穿着温暖的衣服，说台湾话。") == expected
    # Traditional text of another standard is brought to this one.
    others = [
        "他們在裡面吃麵，穿著溫暖的衣服，說臺灣話。",
        "他們在裏面吃麪，穿着温暖的衣服，説台灣話。",
    ]
    assert [convert(one) for one in others] == [expected, expected]


def test_lines_and_facts_of_a_page_follow_the_same_standard():
    facts, corpus = Facts.embedded(), Corpus.embedded(BASIC, ["zh-hant"])
    for name in HAN_VARIANTS:
        rng = np.random.default_rng(0)
        lines = [corpus.draw(rng, "zh-hant", 200, name).string for _ in range(60)]
        short = [facts.draw(rng, kind, "zh-hant", name) for kind in facts.kinds for _ in range(60)]
        for texts in (lines, short):
            assert telling("".join(texts)) <= forms()[name]
            assert (
                telling("".join(texts))
                - set.union(*(set(forms()[other]) for other in HAN_VARIANTS if other != name))
                or name == "t"
            )
