"""Fonts: which face is chosen, what each draws, and what happens where one draws nothing."""

import os
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

from render import Fonts, RenderSettings
from render.plan import Font
from render.text.breaks import Text
from render.text.paragraphs import text_files
from render.text.scripts import ASCII, HAN
from render.type import reading
from render.type.atlas import Atlas
from render.type.fonts import MIN_X_HEIGHT_PX
from render.type.glyphs import FAINT
from render.type.placing import SetText, place
from render.type.reading import HANDS, LIGHTEST, WEIGHTS
from render.type.tables import faces, require_few_parts
from shards import UserError
from shards.listing import HIDDEN, MET_BEFORE
from tests.render.pages import (
    PLEX,
    SIMPLIFIED,
    TRADITIONAL,
    block_of,
    font_file,
    package,
    page_of,
    style_of,
    variant,
    with_ink,
)

SIZES = (4, 5, 7, 12, 20)
LANGUAGES = ("en", "zh", "zh-hant", "mixed")


@pytest.fixture(scope="module")
def fonts(renderer) -> Fonts:
    return renderer.material.fonts


def slots(face, text):
    return face.slots(np.array([ord(c) for c in text], np.uint32))


def placed(renderer, font, text, size_px=12, hinting="none", x=20, shift=0):
    """Return text on one line, with its pens `shift` quarters of a px further."""
    block = block_of(text, font, size_px, x, 40)
    line = block.lines[0]
    block = replace(block, lines=(replace(line, pens=line.pens + shift),))
    return place(SetText.of(block, renderer.material.fonts), renderer.material.atlas, hinting)


def mask(glyphs, n):
    offset, width, height = glyphs.rows[glyphs.row_numbers[n], :3]
    return glyphs.masks[offset : offset + width * height].reshape(height, width)


def test_of_a_regional_collection_only_chinese_faces_are_used(fonts):
    noto = {name: face.family for name, face in fonts.faces.items() if "NotoSansCJK" in name}
    assert set(noto.values()) == {f"Noto Sans CJK {region}" for region in ("SC", "TC", "HK")}
    assert "region" in fonts.skipped["NotoSansCJK-VF.otf.ttc#0"]
    assert not any("JP" in face.family or "KR" in face.family for face in fonts.faces.values())


def test_simplified_and_traditional_text_get_faces_of_their_region(fonts):
    assert "zh-hant" not in fonts.faces[SIMPLIFIED].languages
    assert "zh" not in fonts.faces[TRADITIONAL].languages
    for language, allowed in (("zh", {"SC"}), ("zh-hant", {"TC", "HK"}), ("mixed", {"SC"})):
        names = {face.family for family in fonts.families(language) for face in family}
        assert {name.split()[-1] for name in names if "Noto" in name} == allowed


@pytest.mark.parametrize("style_class", ["", "mono"])
@pytest.mark.parametrize("language", ["zh", "zh-hant", "mixed"])
def test_chinese_designs_are_drawn_alike_however_many_files_each_has(fonts, language, style_class):
    rng = np.random.default_rng(0)
    drawn = [fonts.draw(rng, language, 12, style_class=style_class).face for _ in range(600)]
    shares = Counter(face.design for face in drawn)
    assert {*shares} == {"Noto Sans", "Noto Serif", "WenQuanYi Micro Hei"}
    assert max(shares.values()) < 0.4 * len(drawn)
    wenquanyi = {face.family for face in drawn if face.design == "WenQuanYi Micro Hei"}
    mono = "WenQuanYi Micro Hei Mono"
    assert wenquanyi == {mono} if style_class else mono in wenquanyi


def test_english_gets_latin_faces_and_no_handwriting(fonts):
    faces = [face for family in fonts.families("en") for face in family]
    assert not any(face.han or face.family in HANDS for face in faces)
    hands = {face.family for family in fonts.families("en", "hand") for face in family}
    assert hands == HANDS - {"LXGW WenKai"}
    assert all(
        "mono" in face.style_class for family in fonts.families("en", "mono") for face in family
    )


def test_weights_are_never_too_thin_and_each_draws_another_weight(fonts):
    for face in fonts.faces.values():
        weights = [value for axis in face.axes if axis.tag == "wght" for value in axis.values]
        assert all(LIGHTEST <= weight <= 700 for weight in weights)
    face = fonts.faces[SIMPLIFIED]
    ink = [int(_ink(fonts, face.name, weight)) for weight in sorted(WEIGHTS)]
    assert ink == sorted(ink)
    assert len(set(ink)) == len(ink)


def _ink(fonts, name, weight):
    strike = Atlas().strike(fonts.instance(Font(name, (weight,))), 20, "none")
    strike.find(slots(fonts.faces[name], "国"))
    return strike.masks.sum()


def test_a_thin_static_face_is_left_out(fonts, tmp_path):
    assert "too thin" in fonts.skipped["IBMPlexMono-Thin.ttf#0"]
    font_file(tmp_path / "thin.ttf", ASCII, weight=200)
    assert "weight class 200" in Fonts.folder(tmp_path).skipped["thin.ttf#0"]


def test_every_design_of_a_family_is_drawn(fonts):
    rng = np.random.default_rng(0)
    drawn = {fonts.draw(rng, "zh", 12).name for _ in range(400)}
    assert {font.design for font in drawn if font.face == SIMPLIFIED} == {(w,) for w in WEIGHTS}
    families = {fonts.faces[fonts.draw(rng, "en", 20).name.face].family for _ in range(400)}
    assert len(families) == len(fonts.families("en"))


@pytest.mark.parametrize("size_px", SIZES)
def test_a_latin_face_is_chosen_only_where_its_x_height_can_be_read(fonts, size_px):
    rng = np.random.default_rng(0)
    most = max(face.x_height_em for family in fonts.families("en") for face in family)
    for _ in range(60):
        face = fonts.draw(rng, "en", size_px).face
        assert face.x_height_em * size_px >= min(MIN_X_HEIGHT_PX, most * size_px)


def test_the_x_height_is_that_of_the_drawn_x(renderer, fonts):
    for size_px in SIZES:
        for name in (PLEX, SIMPLIFIED, "Inter[opsz,wght].ttf#0"):
            font = fonts.plain(fonts.faces[name]).name
            strike = renderer.material.atlas.strike(fonts.instance(font), size_px, "none")
            boxes = placed(renderer, font, "x", size_px).boxes
            assert strike.x_height_px == boxes[0, 3] - boxes[0, 1]
    assert fonts.faces[PLEX].x_height_em == pytest.approx(0.516, abs=0.02)


def test_heights_in_the_label_are_those_of_the_ink(renderer):
    one = variant(renderer, languages={"en": 1}, layouts={"paragraph": 1}, flat_share=1)
    seen = 0
    for i in range(12):
        for line in one.sample(i).meta["lines"]:
            boxes = with_ink(line["characters"])
            assert line["ink_height_px"] == boxes[:, 3].max() - boxes[:, 1].min()
            for character, box in zip(line["text"], line["characters"], strict=True):
                if character == "x":
                    seen += 1
                    assert line["x_height_px"] == box[3] - box[1]
    assert seen > 3


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_face_draws_tofu_for_the_text(renderer, fonts, language):
    """Every character that a page keeps is mapped, has ink, and is not the glyph for "missing"."""
    page = page_of(renderer, language=language, width=3000, height=4000)
    corpus, rng = renderer.material.corpus, np.random.default_rng(1)
    faces = [face for family in fonts.families(language) for face in family]
    for n, face in enumerate(faces):
        style = style_of(page, face.name, size_px=SIZES[1 + n % 4], language=language)
        composed = page.compose(style, corpus.draw(rng, language, 2000), 3000, 4000)
        assert composed is not None
        assert len(composed.text) > 1500
        for number, instance in enumerate(composed.characters.fonts):
            own = {
                c
                for c, o in zip(composed.text, composed.characters.font_index, strict=True)
                if o == number
            }
            letters = sorted(own - {" "})
            found = slots(instance.face, letters)
            assert found.min(initial=0) >= 0
            assert instance.face.glyphs[found].min(initial=1) > 0
            boxes = placed(renderer, instance.name, "".join(letters), style.size_px).boxes
            assert (boxes[:, 2] > boxes[:, 0]).all(), letters


@pytest.mark.parametrize("size_px", SIZES[:3])
@pytest.mark.parametrize("hinting", ["none", "light", "full"])
def test_what_is_kept_has_ink_at_every_place_of_its_pen(renderer, fonts, size_px, hinting):
    page = page_of(renderer, hinting=hinting, width=3000, height=100)
    blank = set()
    for face in fonts.faces.values():
        if "en" not in face.languages or face.han:
            continue
        style = style_of(page, face.name, size_px=size_px)
        composed = page.compose(style, " ".join(".,:;'`-_~^|!") + " x", 3000, 100)
        assert composed is not None
        for number, instance in enumerate(composed.characters.fonts):
            kept = [
                c
                for c, o in zip(composed.text, composed.characters.font_index, strict=True)
                if o == number
            ]
            text = "".join(c for c in kept if c != " ")
            for shift in range(4):
                boxes = placed(renderer, instance.name, text, size_px, hinting, shift=shift).boxes
                flat = boxes[:, 2] <= boxes[:, 0]
                blank |= {(face.name, c, shift) for c, f in zip(text, flat, strict=True) if f}
    assert not blank


def test_a_character_is_drawn_by_another_face_where_its_own_has_none(renderer, fonts):
    page = page_of(renderer)
    composed = page.compose(style_of(page, PLEX), "An 中 x", 380, 40)
    assert composed is not None
    assert composed.text == "An 中 x"
    faces = [composed.characters.fonts[o].face for o in composed.characters.font_index]
    assert [face.name == PLEX for face in faces] == [True, True, True, False, True, True]
    assert slots(faces[3], "中")[0] >= 0


def test_what_no_face_draws_is_dropped_from_text_and_label(renderer):
    page = page_of(renderer)
    composed = page.compose(style_of(page, PLEX), "a\U0001f600b \U000f1234c", 380, 40)
    assert composed is not None
    assert composed.text == "ab c"
    assert page.place(composed, 10, 10, "body") is not None
    assert [line.text for line in page.blocks[0].lines] == ["ab c"]
    assert len(page.blocks[0].lines[0].pens) == 4


def test_text_of_which_nothing_can_be_drawn_sets_nothing(renderer):
    page = page_of(renderer)
    for text in ("", " ", "\U000f1234", "\U000f1234 \U000f1234"):
        assert page.compose(style_of(page, PLEX), text, 380, 40) is None


def test_a_line_may_end_before_a_dropped_character(renderer):
    page = page_of(renderer)
    text = Text(
        np.array([ord(c) for c in "ab\U000f1234cd"], np.uint32), np.array([0, 0, 1, 0, 1], bool)
    )
    composed = page.compose(style_of(page, PLEX), text, 20, 100)
    assert composed is not None
    assert (composed.text, composed.lengths) == ("abcd", (2, 2))


def test_a_mapped_but_blank_character_counts_as_missing(tmp_path):
    font_file(tmp_path / "gap.ttf", ASCII, blank=frozenset({ord("q")}))
    fonts = Fonts.folder(tmp_path)
    face = fonts.faces["gap.ttf#0"]
    strike = Atlas().strike(fonts.plain(face), 12, "none")
    found = strike.find(slots(face, "qa国"))
    assert (found >= 0).tolist() == [False, True, False]


def test_a_face_with_blank_letters_is_refused_by_name(tmp_path):
    font_file(tmp_path / "empty.ttf", ASCII, blank=frozenset(map(ord, "aeon")))
    font_file(tmp_path / "digits.ttf", frozenset(map(ord, "0123456789")))
    (tmp_path / "broken.otf").write_bytes(b"no font")
    (tmp_path / "broken.ttc").write_bytes(b"ttcf")
    fonts = Fonts.folder(tmp_path)
    assert not fonts.faces
    assert fonts.characters() == frozenset()
    assert "maps 'a' but draws nothing" in fonts.skipped["empty.ttf#0"]
    assert "covers neither" in fonts.skipped["digits.ttf#0"]
    for name in ("broken.otf", "broken.ttc"):
        assert "not a font" in fonts.skipped[name]
    with pytest.raises(UserError, match=r"no face in here covers the Latin alphabet.*broken\.otf"):
        fonts.require("en", "here")


def test_a_truncated_font_is_refused_by_name(tmp_path):
    whole = (package("fontpkg_arvo") / "files" / "Arvo-Regular.ttf").read_bytes()
    for part in (12, 400, len(whole) // 2, len(whole) - 2000):
        (tmp_path / f"cut{part}.ttf").write_bytes(whole[:part])
    fonts = Fonts.folder(tmp_path)
    for name in fonts.skipped:
        assert name.startswith("cut")
    drawable = [fonts.plain(face) for face in fonts.faces.values()]
    assert len(fonts.skipped) + len(drawable) == 4
    assert len(fonts.skipped) >= 3


TABLES = ("OS/2", "cmap", "glyf", "head", "hhea", "hmtx", "loca", "maxp", "name", "post")


@pytest.mark.parametrize("tag", TABLES)
def test_a_table_that_is_cut_short_costs_no_other_font(tmp_path, tag):
    font_file(tmp_path / "good.ttf", ASCII)
    data = bytearray((tmp_path / "good.ttf").read_bytes())
    entry = data.index(tag.encode().ljust(4))
    for size in (0, 1, 7, 31):
        data[entry + 12 : entry + 16] = size.to_bytes(4, "big")
        (tmp_path / f"cut{size}.ttf").write_bytes(data)
    fonts = Fonts.folder(tmp_path)
    assert "good.ttf#0" in fonts.faces
    for size in (0, 1, 7, 31):
        reason = next((why for name, why in fonts.skipped.items() if f"cut{size}" in name), "")
        assert reason or f"cut{size}.ttf#0" in fonts.faces
        assert reason or tag not in ("cmap", "glyf", "head")


def test_what_is_no_font_costs_no_other_font(tmp_path):
    font_file(tmp_path / "good.ttf", ASCII)
    (tmp_path / "good.ttf").rename(tmp_path / os.fsdecode(b"\xd5\xd5.ttf"))
    (tmp_path / "web.ttf").write_bytes(b"wOF2" + bytes(60))
    (tmp_path / "nothing.otf").write_bytes(b"")
    (tmp_path / "folder.ttf").mkdir()
    os.mkfifo(tmp_path / "pipe.ttf")
    (tmp_path / "many.ttc").write_bytes(b"ttcf" + bytes(4) + (2**31).to_bytes(4, "big"))
    (tmp_path / "twice.ttc").write_bytes(b"ttcf" + bytes(7) + b"\2" + bytes(4) + bytes(4))
    fonts = Fonts.folder(tmp_path)
    assert list(fonts.faces) == ["\\xd5\\xd5.ttf#0"]
    assert len(fonts.fingerprint()) == 64
    (face,) = fonts.faces.values()
    strike = Atlas(tmp_path / "atlas").strike(fonts.plain(face), 12, "none")
    assert strike.find(slots(face, "ab")).min() >= 0
    assert fonts.skipped["web.ttf"] == "WOFF2, a font packed for the web; convert it to TTF or OTF"
    assert fonts.skipped["nothing.otf"] == "empty"
    assert fonts.skipped["folder.ttf"] == fonts.skipped["pipe.ttf"] == "not a file"
    assert "not a font" in fonts.skipped["many.ttc"]
    assert "not a font" in fonts.skipped["twice.ttc"]


def test_a_box_for_every_letter_is_no_letter(tmp_path):
    font_file(tmp_path / "all.ttf", ASCII, boxed=ASCII)
    font_file(tmp_path / "three.ttf", ASCII, boxed=frozenset(map(ord, "Il|")))
    accents = frozenset(range(0xC0, 0x100))
    font_file(tmp_path / "four.ttf", ASCII | accents, boxed=frozenset(map(ord, "abcd")) | accents)
    fonts = Fonts.folder(tmp_path)
    assert list(fonts.faces) == ["three.ttf#0"]
    assert fonts.skipped["all.ttf#0"] == "draws one box for 94 characters"
    assert fonts.skipped["four.ttf#0"] == "draws one box for 68 characters"


def test_no_embedded_face_draws_a_box_for_a_letter(fonts):
    """What is done to the fonts of a user takes no character from these."""
    assert all(reading._shown(face) is face for face in fonts.faces.values())
    small = [face for face in fonts.faces.values() if face.path.stat().st_size < 2**20]
    assert len(small) > 20
    for face in small:
        require_few_parts(faces(memoryview(face.path.read_bytes()))[face.index])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"advance": 0}, "letters without an advance"),
        ({"advance": 9000}, "beyond all bounds"),
        ({"units": 16}, "letters without an advance, or one beyond all bounds"),
        ({"units": 40, "advance": 30}, "maps 'x' but draws nothing"),
        ({"units": 16384, "advance": 9000}, "draws one box"),
    ],
)
def test_a_font_of_absurd_sizes_is_refused_by_name(tmp_path, changes, reason):
    font_file(tmp_path / "odd.ttf", ASCII, **changes)
    assert reason in Fonts.folder(tmp_path).skipped["odd.ttf#0"]


@pytest.mark.parametrize("depth", [60, 3])
def test_glyphs_made_of_glyphs_over_and_over_are_refused_by_name(tmp_path, depth):
    """FreeType would take 2^60 steps for an x of 60 levels, each twice the one below."""
    names = [f"level{n}" for n in range(depth)]
    font_file(tmp_path / "deep.ttf", ASCII)
    font = TTFont(tmp_path / "deep.ttf")
    font.setGlyphOrder([*font.getGlyphOrder(), *names])
    font["glyf"]["level0"] = font["glyf"]["u00061"]
    for below, name in zip(names, [*names[1:], "u00078"], strict=True):
        pen = TTGlyphPen(dict.fromkeys(font.getGlyphOrder()))
        for _ in range(2):
            pen.addComponent(below, (1, 0, 0, 1, 0, 0))
        font["glyf"][name] = glyph = pen.glyph()
        glyph.xMin = glyph.yMin = glyph.xMax = glyph.yMax = 0
    for name in names:
        font["hmtx"][name] = (500, 0)
    font.recalcBBoxes = False  # it would take as long
    font["maxp"].recalc = lambda _: None
    font.save(tmp_path / "deep.ttf")
    fonts = Fonts.folder(tmp_path)
    assert fonts.skipped == ({} if depth == 3 else {"deep.ttf#0": reading.BROKEN})


def test_a_font_packed_as_woff_is_read_for_vertical_text_too(fonts, tmp_path):
    mapped = [*ASCII, *map(ord, "，国（")]
    options = Options(layout_features=["*"], notdef_outline=True)
    font = TTFont(fonts.faces[SIMPLIFIED].path, fontNumber=2)
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=mapped)
    subsetter.subset(font)
    font.flavor = "woff"
    font.save(tmp_path / "packed.woff")
    (face,) = Fonts.folder(tmp_path).faces.values()
    instance = Fonts([face], {}).plain(face)
    assert instance.has_vertical_forms
    whole = fonts.plain(fonts.faces[SIMPLIFIED])
    for character in "，国（":
        form = instance.vertical_form(int(slots(face, character)[0]))
        assert form[1:] == whole.vertical_form(int(slots(whole.face, character)[0]))[1:]


def test_a_folder_without_fonts_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no \.ttf, \.otf or \.ttc file"):
        Fonts.folder(tmp_path)
    with pytest.raises(UserError, match="gone is not a folder"):
        Fonts.folder(tmp_path / "gone")


def test_faces_of_equal_files_in_two_folders_are_both_there(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(package("fontpkg_arvo") / "files" / "Arvo-Regular.ttf", tmp_path / name)
    fonts = Fonts.folder(tmp_path)
    assert set(fonts.faces) == {"a/Arvo-Regular.ttf#0", "b/Arvo-Regular.ttf#0"}
    assert len(fonts.families("en")) == 1


def test_a_chinese_face_holds_the_common_characters(fonts):
    for name in (SIMPLIFIED, "wqy-microhei.ttc#0"):
        codes = set(fonts.faces[name].codes.tolist())
        assert len(codes & HAN) >= 0.95 * len(HAN)


def test_hinting_changes_the_shape_but_not_the_pens(renderer, fonts):
    font = fonts.plain(fonts.faces["Arvo-Regular.ttf#0"]).name
    shapes = [
        placed(renderer, font, "mesh", 11, how).glyphs[0] for how in ("none", "light", "full")
    ]
    drawn = [b"".join(mask(g, n).tobytes() for n in range(4)) for g in shapes]
    assert len(set(drawn)) == 3
    settings = {"layouts": {"paragraph": 1}, "flat_share": 1, "languages": {"en": 1}}
    plans = [variant(renderer, hinting={h: 1}, **settings).plan(1) for h in ("none", "light")]
    texts = [plan.blocks[0].lines[0] for plan in plans]
    assert texts[0].pens[:20].tolist() == texts[1].pens[:20].tolist()


def test_a_latin_glyph_is_drawn_for_each_quarter_of_a_pixel(renderer, fonts):
    font = fonts.plain(fonts.faces[PLEX]).name
    shapes = [placed(renderer, font, "n", shift=q).glyphs[0] for q in range(5)]
    assert len({mask(g, 0).tobytes() for g in shapes[:4]}) == 4
    assert np.array_equal(mask(shapes[0], 0), mask(shapes[4], 0))
    assert shapes[4].xs[0] == shapes[0].xs[0] + 1
    centre = [
        g.xs[0] + g.rows[g.row_numbers[0], 3] + _centroid(mask(g, 0).astype(float))
        for g in shapes[:4]
    ]
    assert np.diff(centre) == pytest.approx([0.25] * 3, abs=0.06)


def _centroid(shape):
    return (shape.sum(axis=0) * np.arange(shape.shape[1])).sum() / shape.sum()


def test_a_han_glyph_stands_on_whole_pixels(renderer, fonts):
    font = fonts.plain(fonts.faces[SIMPLIFIED]).name
    shapes = [placed(renderer, font, "国", shift=q).glyphs[0] for q in range(4)]
    assert len({mask(g, 0).tobytes() for g in shapes}) == 1
    assert [int(g.xs[0]) for g in shapes] == [20, 20, 21, 21]


def test_pens_without_subpixels_are_whole(renderer):
    settings = {"layouts": {"paragraph": 1}, "languages": {"en": 1}}
    for share, quarters in ((0, {0}), (1, {0, 1, 2, 3})):
        plans = map(variant(renderer, subpixel_share=share, **settings).plan, range(4))
        pens = [pen for plan in plans for _, line in plan.lines() for pen in line.pens]
        assert {pen % 4 for pen in pens} == quarters


def test_advances_are_those_of_the_font(fonts):
    """In IBM Plex Mono every advance is 0.6 em."""
    instance = fonts.plain(fonts.faces[PLEX])
    assert instance.advances(slots(instance.face, "iMx,")) == pytest.approx([0.6] * 4)
    han = fonts.plain(fonts.faces[SIMPLIFIED])
    assert han.advances(slots(han.face, "国，")) == pytest.approx([1.0, 1.0])


def test_no_glyph_kept_is_fainter_than_the_limit(renderer, fonts):
    font = fonts.plain(fonts.faces["CrimsonPro[wght].ttf#0"]).name
    glyphs = placed(renderer, font, "the quick, brown. fox; 'jumps' -- over", 5).glyphs[0]
    for n in np.flatnonzero(glyphs.row_numbers >= 0):
        assert mask(glyphs, n).max() >= FAINT


def test_the_comma_of_vertical_text_lies_in_the_upper_right_of_its_cell(renderer):
    one = variant(renderer, layouts={"vertical": 1}, languages={"zh": 1}, height=300)
    seen = 0
    for i in range(6):
        sample = one.sample(i)
        lines = zip(sample.meta["lines"], sample.meta["plan"].lines(), strict=True)
        for label, (block, line) in lines:
            cells = zip(label["text"], label["characters"], line.pens, strict=True)
            for character, (left, top, right, bottom), pen in cells:
                if character not in "，。":
                    continue
                seen += 1
                assert left >= line.baseline_px
                assert right <= line.baseline_px + block.size_px / 2 + 1
                assert (top + bottom) / 2 < pen / 4 + block.size_px / 2
                assert top >= pen / 4 - 1
    assert seen > 10


def test_vertical_forms_come_from_the_font(fonts):
    instance = fonts.plain(fonts.faces[SIMPLIFIED])
    assert instance.has_vertical_forms
    for character, turned in (("（", True), ("，", True), ("—", True), ("国", False), ("「", True)):
        slot = int(slots(instance.face, character)[0])
        glyph, right, _, advance = instance.vertical_form(slot)
        assert (glyph != instance.face.glyphs[slot]) == turned
        assert advance == instance.units_per_em
        assert right == -instance.units_per_em // 2


def test_vertical_text_keeps_the_forms_of_its_region(fonts):
    """The face for Taiwan writes 骨, 令 and 房 in its own way, upright too."""
    for name in (TRADITIONAL, "NotoSansCJK-VF.otf.ttc#4"):
        instance = fonts.plain(fonts.faces[name])
        for slot in slots(instance.face, "骨令房国的"):
            assert instance.vertical_form(int(slot))[0] == instance.face.glyphs[slot]


def test_vertical_text_gets_faces_that_have_forms_for_it(fonts):
    rng = np.random.default_rng(0)
    for language, regions in (("zh", {"SC"}), ("zh-hant", {"TC", "HK"})):
        families = {fonts.draw(rng, language, 12, vertical=True).face.family for _ in range(60)}
        assert {family.split()[-1] for family in families} == regions


def test_vertical_text_has_wide_letters_and_standing_quotes(renderer):
    page = page_of(renderer, language="zh")
    style = style_of(page, SIMPLIFIED, vertical=True)
    composed = page.compose(style, "他说“好的”，OK 3。", 40, 280)
    assert composed is not None
    assert composed.text == "他说「好的」，ＯＫ３。"


def test_codes_of_space_have_no_ink(renderer, fonts):
    for name in (PLEX, SIMPLIFIED):
        boxes = placed(renderer, fonts.plain(fonts.faces[name]).name, "a b").boxes
        assert boxes[1, 2] <= boxes[1, 0]
        assert boxes[0, 2] > boxes[0, 0]


def test_holders_come_by_name_and_map_the_character(fonts):
    names = [instance.face.name for instance in fonts.holders(ord("é"))]
    assert names == sorted(names)
    assert PLEX in names
    assert not list(fonts.holders(0x10FFFD))


def test_the_fingerprint_is_of_the_faces_in_use(tmp_path):
    font_file(tmp_path / "one.ttf", ASCII)
    before = Fonts.folder(tmp_path).fingerprint()
    font_file(tmp_path / "digits.ttf", frozenset(map(ord, "0123456789")))
    assert Fonts.folder(tmp_path).fingerprint() == before
    font_file(tmp_path / "one.ttf", ASCII | {0xE9})
    assert Fonts.folder(tmp_path).fingerprint() != before


def test_require_names_the_language_and_what_to_do(tmp_path):
    font_file(tmp_path / "one.ttf", ASCII)
    fonts = Fonts.folder(tmp_path)
    fonts.require("en", "here")
    for language in ("zh", "zh-hant", "mixed"):
        with pytest.raises(
            UserError, match=f"{language!r} needs; add a font or set its share to 0"
        ):
            fonts.require(language, "here")


def test_a_page_of_every_language_uses_only_its_faces(renderer):
    for language in LANGUAGES:
        wanted = "zh" if language == "mixed" else language
        one = renderer.with_settings(
            RenderSettings(languages={language: 1}, layouts={"paragraph": 1})
        )
        for block in one.plan(2).blocks:
            assert wanted in renderer.material.fonts.faces[block.fonts[0].face].languages or (
                language == "mixed" and block.language == "en"
            )


def test_folders_are_used_beside_each_other_and_the_embedded_fonts(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        font_file(tmp_path / folder / "mine.ttf", ASCII)
    font_file(tmp_path / "two" / "nearly.ttf", ASCII - {ord("~"), ord("`")})
    folders = [tmp_path / "one", tmp_path / "two"]
    fonts = Fonts.of(folders, embedded=False)
    assert {*fonts.faces} == {"mine.ttf#0", "2/mine.ttf#0"}
    assert fonts.skipped == {"nearly.ttf#0": "lacks ` ~ of printable ASCII"}
    assert not fonts.known
    both = Fonts.of(folders)
    assert {*fonts.faces} < {*both.faces}
    assert SIMPLIFIED in both.faces
    assert {*both.skipped} - both.known == {*fonts.skipped}
    assert {"mine"} <= {face.design for family in both.families("en") for face in family}


def test_a_recipe_without_embedded_fonts_names_its_own():
    with pytest.raises(ValueError, match="embedded_fonts = false leaves no font"):
        RenderSettings(embedded_fonts=False)


def test_fonts_and_text_are_looked_for_as_images_are(tmp_path):
    away, root = tmp_path / "away", tmp_path / "root"
    for folder in (away / "in", root / "a", root / ".b"):
        folder.mkdir(parents=True)
        (folder / "x.ttf").write_bytes(b"no font")
        (folder / "x.txt").write_text("Some plain words that are set.")
    (root / "link").symlink_to(away)
    (root / "z").symlink_to(root)
    skipped: dict[str, str] = {}
    assert text_files(root, skipped) == [root / "a/x.txt", root / "link/in/x.txt"]
    assert skipped == {".b": HIDDEN, "z/": MET_BEFORE}
    fonts = Fonts.folder(root)
    assert {*fonts.skipped} == {".b", "z/", "a/x.ttf", "link/in/x.ttf"}
