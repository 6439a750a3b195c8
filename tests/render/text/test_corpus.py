"""What text is drawn: its length, cut, language and chance, and which files are refused."""

import os
import re
import time
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uniseg.linebreak import line_break_boundaries

from render.plan import HAN_VARIANTS, LANGUAGES
from render.text import corpus as module
from render.text import han, paragraphs, scripts, sources
from render.text.breaks import Text, break_opportunities, decoded, encoded
from render.text.corpus import Corpus
from render.text.han import gb2312
from render.text.sources import Mixed, Prose, Words
from shards import UserError
from shards.embedded import package

BASIC = frozenset(range(0x20, 0x10000))
ASCII = frozenset(range(0x20, 0x7F))
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-' ")
NASTY = "ab3é一二我 ，。、《》“”'\"().,-—…!？：;/$%"


@cache
def embedded() -> Corpus:
    return Corpus.embedded(BASIC, LANGUAGES)


def written(tmp_path: Path, text: str, name: str = "a.txt") -> Path:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return path


def drawn(corpus: Corpus, language, characters: int, seed: int = 0) -> Text:
    return corpus.draw(np.random.default_rng(seed), language, characters)


def uax14(text: str) -> list[bool]:
    ends = set(line_break_boundaries(text))
    return [i + 1 in ends for i in range(len(text))]


def is_han(character: str) -> bool:
    return "一" <= character <= "鿿"


# --- every draw


@settings(max_examples=150)
@given(st.integers(1, 300), st.integers(0, 999), st.sampled_from(LANGUAGES))
def test_drawn_text_is_never_empty_nor_too_long(characters, seed, language):
    text = drawn(embedded(), language, characters, seed)
    assert 0 < len(text.codes) <= characters
    assert text.codes.dtype == np.uint32
    assert text.breaks.dtype == np.bool_
    assert text.codes.shape == text.breaks.shape
    assert text.breaks[-1]
    assert text.string == text.string.strip()


@settings(max_examples=80)
@given(st.integers(1, 120), st.integers(0, 999), st.sampled_from(LANGUAGES))
def test_lines_may_end_where_uax14_says(characters, seed, language):
    text = drawn(embedded(), language, characters, seed)
    assert text.breaks.tolist() == uax14(text.string)


@settings(max_examples=40)
@given(st.lists(st.text(NASTY, min_size=1, max_size=400), min_size=1, max_size=6), st.data())
def test_blocks_have_the_line_ends_of_the_whole(passages, data):
    prose = Prose(passages, data.draw(st.sampled_from(["", " "])))
    whole = prose.text * 3
    codes, ends = zip(*(prose._span(i) for i in range(len(prose._blocks))), strict=True)
    size = len(prose.text)
    assert decoded(np.concatenate(codes)) == prose.text
    assert np.concatenate(ends).tolist() == break_opportunities(whole)[size : 2 * size].tolist()


@settings(max_examples=100)
@given(st.integers(1, 200), st.integers(1, 99), st.integers(0, 99))
def test_text_is_cut_where_a_line_may_end(characters, more, seed):
    for language in ("en", "zh"):
        short = drawn(embedded(), language, characters, seed)
        long = drawn(embedded(), language, characters + more, seed)
        if language == "zh" and not long.string.startswith(short.string):
            continue  # words are drawn by the number asked for
        assert long.string.startswith(short.string)
        size = len(short.codes)
        hanging = size < len(long.codes) and long.codes[size] == 0x20
        assert long.breaks[size - 1 + hanging] or not short.breaks[:-1].any()


def test_a_word_longer_than_the_draw_is_cut(tmp_path):
    corpus = Corpus.at(written(tmp_path, "x" * 3000), ASCII, ["en"])
    assert drawn(corpus, "en", 7).string == "x" * 7


def test_what_was_read_before_changes_no_draw(monkeypatch):
    order = np.random.default_rng(1).permutation(60)
    asked = [(LANGUAGES[i % 4], 20 + 5 * i, i) for i in range(60)]
    first = [drawn(embedded(), *each).string for each in asked]
    monkeypatch.setattr(sources, "BLOCKS_KEPT", 2)
    fresh = Corpus.embedded(BASIC, LANGUAGES)
    again = {i: drawn(fresh, *asked[i]).string for i in order}
    assert [again[i] for i in range(60)] == first


def test_a_draw_is_its_own_to_change():
    text = drawn(embedded(), "en", 50)
    text.codes[:] = 0
    text.breaks[:] = False
    assert drawn(embedded(), "en", 50).codes.all()


# --- prose


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_character_is_drawn_that_was_not_announced(language):
    corpus = embedded()
    announced, rng = corpus.characters(language), np.random.default_rng(1)
    seen = set[int]()
    for _ in range(60):
        seen |= set(corpus.draw(rng, language, 2000).codes.tolist())
    assert seen <= announced
    assert len(seen) > 0.4 * len(announced)


def test_all_sentences_are_equally_likely(tmp_path):
    path = written(tmp_path, "One is here. Two (it) is here! Three?\n\n“Four.” Five.\n\n" + "Six")
    corpus = Corpus.at(path, BASIC, ["en"])
    rng = np.random.default_rng(0)
    firsts = Counter(corpus.draw(rng, "en", 8).string.split()[0] for _ in range(3000))
    assert set(firsts) == {"One", "Two", "Three?", "“Four.”", "Five.", "Six"}
    assert all(400 < number < 600 for number in firsts.values())


def test_prose_is_read_on_into_the_next_paragraphs_and_round(tmp_path):
    corpus = Corpus.at(written(tmp_path, "One.\n\nTwo.\n\nThree."), ASCII, ["en"])
    texts = {drawn(corpus, "en", 20, seed).string for seed in range(30)}
    assert texts == {"One. Two. Three.", "Two. Three. One.", "Three. One. Two."}
    assert len(drawn(corpus, "en", 3000).string) > 2990


def test_a_long_paragraph_is_read_across_blocks(tmp_path):
    words = " ".join(f"word{i}" for i in range(1000))
    corpus = Corpus.at(written(tmp_path, words), ASCII, ["en"])
    text = drawn(corpus, "en", 2000).string
    assert words.startswith(text)
    assert len(text) > 1990


def test_no_sentence_starts_with_a_mark_that_closes_one(tmp_path):
    path = written(tmp_path, "他说：“好。”\n\n“走……”，她说。还有（三个。）又来？！真的……吗。")
    corpus = Corpus.at(path, BASIC, ["zh"])
    firsts = {drawn(corpus, "zh", 4, seed).string[0] for seed in range(200)}
    assert firsts == set("他“还又真吗")


def test_what_cannot_be_drawn_is_left_out(tmp_path):
    path = written(tmp_path, "Plain → prose, cafe\u0301 שלום \u200bend\u3000here.")
    corpus = Corpus.at(path, ASCII | {0xE9, 0x5E9}, ["en"])
    assert drawn(corpus, "en", 28).string == "Plain prose, café end here."


# --- words by frequency


def words_of(**counts: int) -> Words:
    rows = np.zeros((len(counts), han.LONGEST_WORD + 1), np.uint32)
    for row, word in zip(rows, counts, strict=True):
        row[: len(word)] = encoded(word)
    return Words(rows, np.array([*counts.values()], np.int64))


def test_words_come_by_the_root_of_their_count():
    words = words_of(一=1, 二=4, 三=4, 四=100)
    rng = np.random.default_rng(0)
    tally = Counter(decoded(words.draw(rng, 60000)[0]))
    total = sum(tally[one] for one in "一二三四")
    for one, share in zip("一二三四", (1 / 15, 2 / 15, 2 / 15, 10 / 15), strict=True):
        assert tally[one] / total == pytest.approx(share, rel=0.05)


def test_words_stand_in_phrases_of_two_to_six():
    text = decoded(words_of(一=1, 二=1).draw(np.random.default_rng(0), 5000)[0])
    phrases = text.translate({ord(mark): "|" for mark in sources.MARKS}).split("|")[:-1]
    assert {len(phrase) for phrase in phrases} == {2, 3, 4, 5, 6}
    assert set(text) == set("一二" + sources.MARKS)


@settings(max_examples=60)
@given(st.integers(1, 80), st.integers(0, 999), st.sampled_from(["zh", *HAN_VARIANTS]))
def test_line_ends_of_words_are_those_of_uax14(least, seed, written):
    words = embedded().sources[written][1][1]
    codes, ends = words.draw(np.random.default_rng(seed), least)
    assert len(codes) >= least
    assert ends.tolist() == uax14(decoded(codes))


def test_the_word_list_is_read_as_it_is():
    (path,) = package("jieba").paths()
    lines = path.read_text("utf-8").split("\n")
    simple = gb2312()
    expected = Counter(
        word
        for word, *_ in (line.split(" ") for line in lines if line)
        if len(word) <= han.LONGEST_WORD and set(word) <= simple
    )
    words = embedded().sources["zh"][1][1]
    assert isinstance(words, Words)
    assert Counter(words.words) == expected
    assert words.words[:2] == ["了", "是"]


# --- Simplified, Traditional, mixed


def test_chinese_is_simplified():
    assert len(gb2312()) == 6763
    rng = np.random.default_rng(0)
    text = "".join(embedded().draw(rng, "zh", 250).string for _ in range(200))
    assert set(filter(is_han, text)) <= gb2312()


def test_traditional_chinese_is_made_from_simplified():
    rng = np.random.default_rng(0)
    text = "".join(embedded().draw(rng, "zh-hant", 250).string for _ in range(200))
    assert {"說", "個", "們"} <= set(text)
    assert not set("说个们这为") & set(text)


def test_traditional_text_stays_as_it_is(tmp_path):
    text = "這個國家的人說，皇后與台灣隻字未提，十里長街上還開著燈。"
    corpus = Corpus.at(written(tmp_path, text), BASIC, ["zh-hant"])
    assert drawn(corpus, "zh-hant", len(text)).string == text


def test_a_form_that_no_font_draws_leaves_the_other(tmp_path):
    drawable = BASIC - {ord("說")}
    corpus = Corpus.at(written(tmp_path, "我们说话。"), drawable, ["zh-hant"])
    assert drawn(corpus, "zh-hant", 5).string == "我們说話。"


def test_a_mixed_line_holds_both_with_or_without_spaces():
    spaced = set()
    for seed in range(60):
        text = drawn(embedded(), "mixed", 250, seed).string
        han = sum(map(is_han, text))
        latin = sum(one.isascii() and one.isalpha() for one in text)
        assert han > 90
        assert latin > 15
        spaced.add(sum(is_han(a) and b == " " for a, b in pairwise(text)) > 3)
    assert spaced == {True, False}


@pytest.mark.parametrize(
    "chinese", ["床前明月光，疑似地上霜。举头望明月，低头思故乡。", "我的书在你的桌上。"]
)
def test_any_chinese_can_be_mixed(tmp_path, chinese):
    path = written(tmp_path, f"{chinese}\n\nSome well-known words, O’Brien's own: naïve.")
    corpus = Corpus.at(path, BASIC, ["mixed"])
    words = {"Some", "well-known", "words", "O’Brien's", "own", "naïve"}
    for seed in range(30):
        text = drawn(corpus, "mixed", 120, seed)
        assert text.breaks.tolist() == uax14(text.string)
        foreign = "".join(" " if is_han(one) or one in "，。" else one for one in text.string)
        *whole, _ = [*foreign.split(), ""]  # the last may be cut
        assert whole[:-1]
        assert set(whole[:-1]) <= words


def test_phrases_have_one_to_four_words_without_punctuation():
    mixed = embedded().sources["mixed"][0][1]
    assert isinstance(mixed, Mixed)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(50):
        phrases = mixed.latin[1][1].phrases(rng)
        for first, last in zip(*phrases.choose(rng, 10), strict=True):
            text = decoded(phrases.codes[phrases.starts[first] : phrases.stops[last]])
            seen.add(len(text.split(" ")))
            assert set(filter(str.isascii, text)) <= LETTERS
            assert " " not in (text[0], text[-1])
    assert seen == {1, 2, 3, 4}


def test_mixed_lines_need_both(tmp_path):
    for text in ("只有中文。", "Only English."):
        corpus = Corpus.at(written(tmp_path, text), BASIC, ["mixed"])
        with pytest.raises(UserError, match=r"language 'mixed' .*paragraphs found: . en, . zh"):
            corpus.require("mixed")


# --- what is read


def test_only_what_the_languages_need_is_read(monkeypatch):
    for room, name in ((module, "word_list"), (han, "_opencc")):
        monkeypatch.setattr(room, name, lambda *_: pytest.fail("read in vain"))
    corpus = Corpus.embedded(BASIC, ["en", "mixed"])
    assert set(corpus.sources) == {"en", "mixed"}
    monkeypatch.setattr(module, "python_manual", lambda *_: pytest.fail("read in vain"))
    monkeypatch.setattr(module, "word_list", lambda *_: None)
    assert set(Corpus.embedded(BASIC, ["zh"]).sources) == {"zh"}


def test_the_digest_follows_text_and_languages(tmp_path, monkeypatch):
    path = written(tmp_path, "Plain words.")
    digests = [Corpus.at(path, ASCII, ["en"]).digest]
    written(tmp_path, "Other words.")
    digests.append(Corpus.at(path, ASCII, ["en"]).digest)
    monkeypatch.setattr(module, "SCHEME", "another")
    digests.append(Corpus.at(path, ASCII, ["en"]).digest)
    assert len(set(digests)) == 3
    assert Corpus.at(path, ASCII, ["en"]).digest == digests[-1]
    of = {language: Corpus.embedded(BASIC, [language]).digest for language in LANGUAGES}
    assert len(set(of.values())) == 4


def test_paragraphs_are_sorted_by_script(tmp_path):
    path = written(tmp_path, "Plain words here.\n\n今天天气\n很好，是吗？\n\nпривет\n", "both.txt")
    corpus = Corpus.at(path, BASIC, ["en", "zh"])
    assert set(drawn(corpus, "zh", 100).string) <= set("今天天气很好，是吗？")
    assert "привет" not in drawn(corpus, "en", 200).string


def test_a_folder_is_searched_and_markdown_loses_its_marks(tmp_path):
    (tmp_path / "sub" / "folder.txt").mkdir(parents=True)
    written(tmp_path / "sub", "# Heading\n\nSome *plain* [prose](x.html).", "A.MD")
    written(tmp_path, "not text", "a.csv")
    corpus = Corpus.at(tmp_path, ASCII, ["en"])
    assert set(drawn(corpus, "en", 200).string) <= set("Heading Some plain prose.")


# --- what is refused


def test_missing_text_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist"):
        Corpus.at(tmp_path / "nowhere", ASCII, ["en"])
    with pytest.raises(UserError, match=r"holds no \.txt or \.md file"):
        Corpus.at(tmp_path, ASCII, ["en"])
    corpus = Corpus.at(written(tmp_path, "Plain."), ASCII, ["zh"])
    with pytest.raises(UserError, match=r"no characters for language 'zh'.*1 en, 0 zh, 0 other"):
        corpus.require("zh")


REFUSED = {
    "latin.txt": ("café au lait".encode("latin-1"), "not UTF-8; save it as UTF-8"),
    "data.txt": (b"some\0bytes", "binary"),
    "wide.txt": ("text".encode("utf-16-le"), "binary, or UTF-16 without its mark"),
    "cut.txt": (b"\xff\xfet\0e", "not UTF-8"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_text_that_cannot_be_read_is_left_out_by_name(tmp_path, name):
    content, reason = REFUSED[name]
    (tmp_path / name).write_bytes(content)
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(UserError, match=rf"^corpus: no text .*{name}: {reason}"):
            Corpus.at(path, ASCII, ["en"])
    written(tmp_path, "Plain words.", "good.txt")
    corpus = Corpus.at(tmp_path, ASCII, ["en"])
    assert drawn(corpus, "en", 12).string == "Plain words."
    ((left_out, why),) = corpus.skipped.items()
    assert left_out.endswith(name)
    assert why.startswith(reason)


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_text(tmp_path, codec):
    (tmp_path / "a.txt").write_bytes("Plain\r\nwords.\r\n\r\nMore.".encode(codec))
    corpus = Corpus.at(tmp_path, ASCII, ["en"])
    assert {drawn(corpus, "en", 18, seed).string for seed in range(9)} == {
        "Plain words. More.",
        "More. Plain words.",
    }
    assert not corpus.undrawn


def test_what_no_font_draws_is_counted(tmp_path):
    path = written(tmp_path, "Plain ŵords, ŵ x̂ שלום\u200b and\u3000→ end.")
    corpus = Corpus.at(path, ASCII, ["en"])
    assert corpus.undrawn == Counter("ŵŵ\u0302שלום→")
    assert not Corpus.embedded(BASIC, ["en"]).undrawn


def test_an_enormous_file_is_refused_by_name(tmp_path):
    path = written(tmp_path, "start", "huge.txt")
    os.truncate(path, paragraphs.LARGEST_BYTES + 1)  # sparse: takes no room
    with pytest.raises(UserError, match=r"huge\.txt: 1,073,741,825 bytes are more than"):
        Corpus.at(tmp_path, ASCII, ["en"])


def test_what_is_no_file_is_refused_by_name(tmp_path):
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"gone\.txt: not a file"):
        Corpus.at(tmp_path, ASCII, ["en"])
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(UserError, match=r"pipe\.txt: not a file"):
        Corpus.at(tmp_path / "pipe.txt", ASCII, ["en"])


def test_a_file_whose_name_is_not_utf8_is_read(tmp_path):
    (tmp_path / os.fsdecode(b"\xd5\xd5.txt")).write_text("Plain words.")
    corpus = Corpus.at(tmp_path, ASCII, ["en"])
    assert drawn(corpus, "en", 12).string == "Plain words."


# --- how long it takes

LINK = re.compile(r"^\s{0,3}(?:#{1,6}|>|[-*+])\s+|[*`_]{1,3}|!?\[([^\]]*)\]\([^)]*\)", re.M)


@settings(max_examples=300)
@given(st.text("[]()!a*_ #\n-`\u3000", max_size=40))
def test_markdown_loses_what_one_expression_would_take(text):
    """It says what is meant in one line, and takes the square of the length."""
    assert paragraphs.without_markup(text) == LINK.sub(lambda match: match[1] or "", text)


LONG = [
    *("[", "](", "[a](", "![", "(", "`", "*", "|", "<!--", "$", "x", "\u3000", "。", "。”", '."'),
    *("# ", "\n ", "你\u3000", "\u0315\u0316", "[0, 1) and ", "你\n", "\u1100", "-"),
]


@pytest.mark.parametrize("part", LONG)
def test_no_text_takes_more_than_its_length(part):
    """The square of these lengths would be half a minute to an hour."""
    start = time.process_time()
    clean, text = paragraphs.Clean(BASIC), part * (100_000 // len(part)) + "\nn你、"
    by_script = paragraphs.paragraphs(paragraphs.without_markup(text), clean)
    for passages in filter(None, by_script.values()):
        Prose(passages, " ").draw(np.random.default_rng(0), 400)
    assert time.process_time() - start < 10


# --- the floor under rare characters


def test_a_share_of_a_users_text_is_of_the_characters_that_it_lacks(tmp_path):
    path = written(tmp_path, "Plain words.\n\n我们说话，天地玄黄。")
    corpus = Corpus.at(path, BASIC, ["en", "zh", "zh-hant"], {"en": 0.5, "zh": 0.5, "zh-hant": 0.1})
    rng = np.random.default_rng(0)
    for language, common in (("en", scripts.ASCII), ("zh", scripts.HAN - set(map(ord, "我们说")))):
        drawn = Counter("".join(corpus.draw(rng, language, 200).string for _ in range(1600)))
        counts = [drawn[chr(code)] for code in common]
        assert min(counts) > 0.2 * sum(counts) / len(counts)
        assert corpus.characters(language) >= common
    assert "體" in map(chr, corpus.characters("zh-hant"))


@pytest.mark.parametrize("drawable", [ASCII, frozenset(map(ord, "Plain words.我"))])
def test_characters_that_no_font_draws_are_no_part_of_the_floor(tmp_path, drawable):
    path = written(tmp_path, "Plain words.\n\n我")
    corpus = Corpus.at(path, drawable, ["en", "zh"], {"en": 0.5, "zh": 0.5})
    assert corpus.characters("en") <= drawable
    assert "zh" not in corpus.sources or "祟" not in map(chr, corpus.characters("zh"))
