"""Fonts, text, line breaks and photographs: what is found, refused and counted."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from hypothesis import given, settings
from hypothesis import strategies as st
from uniseg.linebreak import line_break_boundaries

from render import Corpus, Fonts, Renderer, RenderSettings
from render.breaks import breaks, wrap
from render.fonts import ASCII
from render.glyphs import pen
from shards import UserError, encode_png

FORBIDDEN_AT_THE_START = "，。、；：！？”’》）…"


def package(name: str) -> Path:
    spec = find_spec(name)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


@pytest.fixture(scope="module")
def fonts() -> Fonts:
    return Fonts.embedded()


def font_file(path: Path, codes: frozenset[int], *, blank: frozenset[int] = frozenset()) -> None:
    """Write a font that draws a box for each code, nothing for the blank ones."""
    names = {code: f"u{code:05X}" for code in codes | {0x20}}
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names.values()])
    builder.setupCharacterMap(names)
    outline, empty = TTGlyphPen(None), TTGlyphPen(None)
    for move, point in (("moveTo", (50, 0)), ("lineTo", (50, 550)), ("lineTo", (450, 550))):
        getattr(outline, move)(point)
    outline.closePath()
    drawn, nothing = outline.glyph(), empty.glyph()
    shown = {names[code] for code in codes - blank}
    order = [".notdef", *names.values()]
    builder.setupGlyf({name: drawn if name in shown else nothing for name in order})
    builder.setupHorizontalMetrics(dict.fromkeys(order, (500, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)


@settings(deadline=None, max_examples=300)
@given(
    st.text(
        st.sampled_from("aB3é一二我あ ，。、《》“”'\"().,-—…!？：;/$%·\u00a0\u3000\n"), max_size=30
    )
)
def test_breaks_are_those_of_uax14(text):
    assert breaks(text) == [end for end in line_break_boundaries(text) if end > 0]


@settings(deadline=None, max_examples=200)
@given(
    st.text(st.sampled_from("ab一二 ，。（）“”-."), max_size=40),
    st.integers(1, 12),
    st.integers(0, 3),
)
def test_wrapped_lines_fit_and_lose_only_spaces(text, width, indent):
    lines = wrap(text, [float(i) for i in range(len(text) + 1)], width, indent=indent)
    assert "".join(text[a:b] for a, b in lines).replace(" ", "") == text.replace(" ", "")
    for number, (start, stop) in enumerate(lines):
        room = width - (0 if number else indent)
        assert stop - start <= max(1, room)


def test_no_line_starts_with_a_mark_that_may_not(fonts):
    text = "他说：“真的吗？”她答：“是的，《红楼梦》（第八十回）……还有呢！”" * 4
    for width in range(4, 20):
        for start, _ in wrap(text, list(range(len(text) + 1)), width):
            assert text[start] not in FORBIDDEN_AT_THE_START


def test_a_word_is_split_only_when_it_is_wider_than_the_line():
    text = "an extraordinary idea"
    edges = list(range(len(text) + 1))
    assert [text[a:b] for a, b in wrap(text, edges, 13)] == ["an", "extraordinary", "idea"]
    assert [text[a:b] for a, b in wrap(text, edges, 8)] == ["an", "extraord", "inary", "idea"]


def test_the_simplified_face_of_a_collection_is_used(fonts):
    names = [name for name in fonts.faces if name.startswith("NotoSansCJK")]
    assert names == ["NotoSansCJK-VF.otf.ttc#2"]
    assert "region" in fonts.skipped["NotoSansCJK-VF.otf.ttc#0"]


def test_weights_are_never_the_thin_default(fonts):
    face = fonts.faces["NotoSansCJK-VF.otf.ttc#2"]
    assert min(face.weights) >= 300
    light, bold = (int(pen(face, w, 20).glyph("国").mask.sum()) for w in (300, 700))
    assert light < bold


def test_every_character_of_the_embedded_text_has_ink(fonts):
    corpus = Corpus.embedded(fonts.characters())
    for language, sources in corpus.sources.items():
        types = fonts.case(np.random.default_rng(0), language)
        text = "".join(sources[0][1].passages)
        assert len(text) > 4000
        for character in set(text):
            face, weight = types[0]
            shown = pen(face, weight, 9).glyph(character) or fonts.substitute(character, 9)
            assert shown, character


def test_a_mapped_but_blank_character_counts_as_missing(tmp_path):
    font_file(tmp_path / "gap.ttf", ASCII, blank=frozenset({ord("q")}))
    face = Fonts.folder(tmp_path).faces["gap.ttf#0"]
    assert pen(face, None, 12).glyph("q") is None
    assert pen(face, None, 12).glyph("國") is None
    assert pen(face, None, 12).glyph("a") is not None


def test_a_face_with_blank_letters_is_refused_by_name(tmp_path):
    font_file(tmp_path / "empty.ttf", ASCII, blank=frozenset(map(ord, "aeon")))
    font_file(tmp_path / "digits.ttf", frozenset(map(ord, "0123456789")))
    (tmp_path / "broken.otf").write_bytes(b"no font")
    fonts = Fonts.folder(tmp_path)
    assert not fonts.faces
    assert "draws nothing" in fonts.skipped["empty.ttf#0"]
    assert "covers neither" in fonts.skipped["digits.ttf#0"]
    assert "not a font" in fonts.skipped["broken.otf"]
    with pytest.raises(UserError, match=r"no face in .* covers the Latin alphabet"):
        fonts.require("en", "here")


def user_settings(tmp_path: Path, **changes) -> RenderSettings:
    folder = tmp_path / "fonts"
    folder.mkdir()
    shutil.copy(package("fontpkg_arvo") / "files" / "Arvo-Regular.ttf", folder)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.md").write_text("# Heading\n\nSome *plain* prose, 3 → 4.\n", "utf-8")
    given = {"fonts": folder, "corpus": tmp_path / "texts", "languages": {"en": 1}}
    return RenderSettings(width=96, height=96, **(given | changes))


def test_a_users_folders_are_used_and_what_no_font_draws_is_left_out(tmp_path):
    renderer = Renderer(user_settings(tmp_path))
    sample = renderer.sample(0)
    assert {line["font"] for line in sample.meta["lines"]} == {"Arvo-Regular.ttf#0"}
    assert set(sample.text) <= set("Heading Some plain prose, 3  4.\n")
    assert "→" not in sample.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fonts": Path("nowhere")}, "nowhere is not a folder"),
        ({"corpus": Path("nowhere")}, "nowhere does not exist"),
        ({"photographs": Path("nowhere")}, "nowhere is not a folder"),
        ({"languages": {"zh": 1}}, "no face in .* covers Chinese"),
        ({"languages": {"zh": 1}, "fonts": None}, "no characters for language 'zh'"),
    ],
)
def test_missing_material_is_an_error_at_the_start(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        Renderer(user_settings(tmp_path, **changes))


def test_text_that_is_not_utf8_is_refused_by_name(tmp_path):
    (tmp_path / "latin.txt").write_bytes("café au lait".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.txt is not UTF-8"):
        Corpus.at(tmp_path, ASCII)


def test_paragraphs_are_sorted_by_script(tmp_path):
    path = tmp_path / "both.txt"
    path.write_text("Plain words here.\n\n今天天气\n很好，是吗？\n\nпривет\n", "utf-8")
    drawable = frozenset(range(0x20, 0x10000))
    corpus = Corpus.at(path, drawable)
    rng = np.random.default_rng(0)
    assert set(corpus.draw(rng, "zh", 100)) <= set("今天天气很好，是吗？")
    assert "привет" not in corpus.draw(rng, "en", 200)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.integers(0, 99), st.sampled_from(["en", "zh"]))
def test_drawn_text_is_never_empty_nor_too_long(characters, seed, language):
    text = EMBEDDED.draw(np.random.default_rng(seed), language, characters)
    assert 0 < len(text) <= characters


EMBEDDED = Corpus.embedded(frozenset(range(0x20, 0x10000)))


def photographs(folder: Path) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(2):
        pixels = rng.integers(0, 60, (120, 140, 3), dtype=np.uint8)
        (folder / f"good{i}.png").write_bytes(encode_png(pixels))
    (folder / "bad.png").write_bytes(b"\x89PNG but not really")
    return folder


def test_an_unreadable_photograph_is_passed_over_and_named(tmp_path):
    settings = user_settings(tmp_path, photographs=photographs(tmp_path / "p"), flat_share=0)
    renderer = Renderer(settings)
    used = {renderer.plan(i * 8).background.source for i in range(12)}
    assert used == {"good0.png", "good1.png"}
    assert list(renderer.unreadable) == ["bad.png"]


def test_no_readable_photograph_is_an_error(tmp_path):
    folder = photographs(tmp_path / "p")
    for good in folder.glob("good*"):
        good.write_bytes(b"gone")
    renderer = Renderer(user_settings(tmp_path, photographs=folder, flat_share=0))
    with pytest.raises(UserError, match="none of 3 in"):
        renderer.plan(0)


def test_the_fingerprint_follows_the_material(tmp_path):
    settings = user_settings(tmp_path)
    before = Renderer(settings).fingerprint()
    assert Renderer(settings, seed=3).fingerprint() == before
    (tmp_path / "texts" / "b.txt").write_text("More prose.", "utf-8")
    assert Renderer(settings).fingerprint() != before


def test_train_and_heldout_pages_share_no_photograph(tmp_path):
    parts = {}
    settings = user_settings(tmp_path)
    for part in ("train", "heldout"):
        renderer = Renderer(settings.model_copy(update={"part": part}))
        source = renderer.backgrounds.source
        parts[part] = {source.name(i) for i in range(len(source))}
    assert parts["train"]
    assert parts["heldout"]
    assert not parts["train"] & parts["heldout"]
