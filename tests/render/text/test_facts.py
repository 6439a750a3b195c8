"""Short texts: every kind in every language, drawn from its lists and from nothing else."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import render.text.facts
from render.text.facts import LANGUAGES, SLOT, Facts

FACTS = Facts.embedded()
TEXTS = Path(render.text.facts.__file__).parent / "prose" / "facts.toml"
SHORT_LISTS = {"unit": 60}
FEWEST = 150
"""Different texts among 500 of a kind that is not among SHORT_LISTS."""

TYPOGRAPHIC = set("–—“”•€−→√≈≠≤≥πΔ")
"""What English may hold beyond Latin-1."""

BEYOND_GB2312 = set("–—·©²³½¥€〇")
BEYOND_BIG5 = set("©²³½‰€№∶∽≈≌≤≥〇～￥叄")
"""Symbols that fonts of these languages have all the same, and one formal numeral."""

LATIN_TOO = {"amount", "code", "date", "formula", "number", "percent", "time", "unit"}
"""Kinds that are written alike in all languages, in part."""


def texts(kind: str, language: str, count: int = 500) -> list[str]:
    rng = np.random.default_rng([1, LANGUAGES.index(language)])
    return [FACTS.draw(rng, kind, language) for _ in range(count)]


def written(language: str) -> dict[str, list[str]]:
    """Return the lists as they stand in the file."""
    tables = tomllib.loads(TEXTS.read_text("utf-8"))
    return {
        name: lists[language]
        for table in tables.values()
        for name, lists in table.items()
        if language in lists
    }


def encodable(character: str, encoding: str) -> bool:
    return character.encode(encoding, "ignore") != b""


def test_the_same_state_gives_the_same_text() -> None:
    for language in LANGUAGES:
        for kind in FACTS.kinds:
            assert texts(kind, language, 50) == texts(kind, language, 50)
    again = Facts(
        (Path(render.text.facts.__file__).parent / "prose" / "facts.toml").read_text("utf-8")
    )
    assert again.digest == FACTS.digest
    draws = [again.draw(np.random.default_rng(3), kind, "zh") for kind in again.kinds]
    assert draws == [FACTS.draw(np.random.default_rng(3), kind, "zh") for kind in FACTS.kinds]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", FACTS.kinds)
def test_every_text_is_one_tidy_line(kind: str, language: str) -> None:
    for text in texts(kind, language):
        assert text
        assert text == " ".join(text.split())
        assert not re.search(r"[{}]|\.\.\d", text)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", FACTS.kinds)
def test_texts_of_a_kind_vary(kind: str, language: str) -> None:
    assert len(set(texts(kind, language))) >= SHORT_LISTS.get(kind, FEWEST)


def test_english_keeps_to_latin_letters_and_a_few_marks() -> None:
    for name, entries in written("en").items():
        for text in entries:
            beyond = {c for c in text if not encodable(c, "latin-1")}
            assert beyond <= TYPOGRAPHIC, (name, text)


def test_simplified_chinese_keeps_to_gb2312() -> None:
    for name, entries in written("zh").items():
        for text in entries:
            beyond = {c for c in text if not encodable(c, "gb2312")}
            assert beyond <= BEYOND_GB2312, (name, text)


def test_traditional_chinese_keeps_to_big5() -> None:
    for kind in FACTS.kinds:
        for text in texts(kind, "zh-hant"):
            beyond = {c for c in text if not encodable(c, "big5")}
            assert beyond <= BEYOND_BIG5, (kind, text)


@pytest.mark.parametrize("language", ["zh", "zh-hant"])
@pytest.mark.parametrize("kind", FACTS.kinds)
def test_chinese_holds_han_characters(kind: str, language: str) -> None:
    share = np.mean([re.search(r"[一-鿿]", text) is not None for text in texts(kind, language)])
    assert share > (0.1 if kind in LATIN_TOO else 0.75)


def test_traditional_chinese_says_the_same_in_other_characters() -> None:
    rngs = np.random.default_rng(5), np.random.default_rng(5)
    pairs = [
        tuple(
            FACTS.draw(rng, kind, language)
            for rng, language in zip(rngs, ("zh", "zh-hant"), strict=True)
        )
        for kind in FACTS.kinds
        for _ in range(40)
    ]
    assert all(len(simplified) == len(traditional) for simplified, traditional in pairs)
    assert np.mean([simplified != traditional for simplified, traditional in pairs]) > 0.4


def test_every_list_is_used_and_every_kind_has_both_languages() -> None:
    for language in ("en", "zh"):
        lists = written(language)
        slots = {
            slot for entries in lists.values() for text in entries for slot in SLOT.findall(text)
        }
        used = {slot[:1].lower() + slot[1:] for slot in slots}
        assert set(FACTS.kinds) <= set(lists)
        assert set(lists) - set(FACTS.kinds) <= used
        for name, entries in lists.items():
            plain = [text for text in entries if "{" not in text]
            assert len(plain) == len(set(plain)), name


def test_slots_fill_as_the_file_says() -> None:
    facts = Facts(
        """
        [kind.x]
        en = ["{y}|{Y}|{7..9}|{01..12}|{##}|{@#}|{p|q r|}"]
        zh = ["“{y}”"]
        [part.y]
        en = ["word"]
        zh = ["发{1..2}面"]
        """
    )
    pattern = re.compile(r"word\|Word\|[7-9]\|(0[1-9]|1[0-2])\|\d\d\|[A-Z]\d\|(p|q r|)")
    rng = np.random.default_rng(0)
    drawn = [facts.draw(rng, "x", "en") for _ in range(300)]
    assert all(pattern.fullmatch(text) for text in drawn)
    for place, count in ((2, 3), (3, 12), (4, 100), (6, 3)):
        assert len({text.split("|")[place] for text in drawn}) > 0.9 * count
    assert facts.draw(rng, "x", "zh")[0] == "“"
    assert facts.draw(rng, "x", "zh-hant")[0] == "「"


@pytest.mark.parametrize("slot", ["nowhere", "", "3..", "a..b", "Nowhere"])
def test_an_unknown_slot_is_named(slot: str) -> None:
    facts = Facts(f'[kind.x]\nen = ["a {{{slot}}} b"]\nzh = ["甲"]')
    with pytest.raises(ValueError, match=re.escape(f"unknown slot {{{slot}}} in 'a {{{slot}}} b'")):
        facts.draw(np.random.default_rng(0), "x", "en")


def test_unknown_kinds_and_languages_are_named() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="no facts of kind 'recipe'; there are account, address,"):
        FACTS.draw(rng, "recipe", "en")
    with pytest.raises(ValueError, match="in language 'fr'; there are en, zh, zh-hant"):
        FACTS.draw(rng, "date", "fr")


def test_the_converter_is_imported_for_traditional_chinese_only() -> None:
    program = """
import sys
import numpy as np
from render.text.facts import Facts
rng = np.random.default_rng(0)
for language, loaded in (("en", False), ("zh", False), ("zh-hant", True)):
    Facts.embedded().draw(rng, "date", language)
    assert ("opencc" in sys.modules) == loaded, language
"""
    subprocess.run([sys.executable, "-c", program], check=True)
