"""The renderer's promises: purity, plans that paint again, settings, material, plain errors."""

import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin
from pydantic import ValidationError

import render.renderer
from render import Plan, Renderer, RenderSettings, versions
from render.page import Page
from render.plan import Effect
from render.settings import DIFFICULTY, only
from render.truth import legibility
from shards import UserError, decode, encode_png
from tests.render.pages import SETTINGS, ground, package, stored, truth, variant

INDICES = range(0, 40, 3)

BUSY = {"flat_share": 0, "contrast_floor": 15}
KINDS = {
    "plain": {},
    "plated": BUSY | only("plate"),
    "outlined": {"flat_share": 0, "contrast_floor": 8, **only("outline")},
    "linear": {"blending": {"linear": 1}},
    "vertical": {"layouts": {"vertical": 1}, "languages": {"zh": 1, "zh-hant": 1}},
    "warped": {"warp_share": 1},
    "warped and plated": BUSY | only("plate") | {"warp_share": 1},
    "effects": {"effects": {"blur": 1, "noise": 1, "jpeg": 1, "webp": 1}},
    "sheets": {"layouts": {"newspaper": 1, "web": 1, "table": 1}} | only("sheet"),
}


@pytest.fixture(scope="module")
def samples(renderer):
    return {i: renderer.sample(i) for i in INDICES}


def bytes_of(sample):
    return b"".join(data for _, data in sample.files())


def test_order_and_a_cold_cache_change_nothing(samples):
    fresh = Renderer(SETTINGS, seed=5)
    for i in reversed(INDICES):
        assert bytes_of(fresh.sample(i)) == bytes_of(samples[i])


def test_two_workers_that_share_the_pages_make_the_same_bytes(samples):
    workers = [Renderer(SETTINGS, seed=5) for _ in range(2)]
    for n, i in enumerate(INDICES):
        assert bytes_of(workers[n % 2].sample(i)) == bytes_of(samples[i])


def test_another_process_makes_the_same_bytes(samples):
    code = (
        "import hashlib, sys; from render import Renderer, RenderSettings\n"
        "r = Renderer(RenderSettings.model_validate_json(sys.argv[1]), seed=5)\n"
        "data = b''.join(d for i in (36, 9, 0) for _, d in r.sample(i).files())\n"
        "print(hashlib.sha256(data).hexdigest())"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, SETTINGS.model_dump_json()],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    own = b"".join(bytes_of(samples[i]) for i in (36, 9, 0))
    assert out.stdout.strip() == hashlib.sha256(own).hexdigest()


def test_a_variant_makes_the_bytes_of_a_renderer_of_its_own(renderer):
    settings = SETTINGS.model_copy(update={"width": 200, "layouts": {"slide": 1.0}})
    own = Renderer(settings, seed=5)
    assert bytes_of(renderer.with_settings(settings).sample(1)) == bytes_of(own.sample(1))
    assert renderer.settings == SETTINGS


def test_seed_index_and_settings_each_make_another_page(renderer, samples):
    others = [
        Renderer(SETTINGS, seed=6).sample(0),
        renderer.sample(1),
        variant(renderer, subpixel_share=0, hinting={"full": 1}, size_px=(6, 9)).sample(0),
    ]
    images = {sample.image for sample in (samples[0], *others)}
    assert len(images) == 4


def test_a_sample_is_named_by_its_index(samples):
    assert [sample.key for sample in samples.values()] == [f"{i:09d}" for i in INDICES]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_plan_paints_the_same_bytes(renderer, kind):
    maker = variant(renderer, **KINDS[kind])
    other = maker.with_settings(maker.settings)
    found = set()
    for i in range(12):
        sample = maker.sample(i)
        plan = stored(sample)
        assert plan == maker.plan(i) == sample.meta["plan"]
        assert encode_png(other.paint(plan)) == sample.image
        found |= {block.ground for block in plan.blocks}
        assert (plan.warp is not None) == (kind.startswith("warped"))
        assert len(plan.effects) == (4 if kind == "effects" else 0)
        assert all(block.vertical == (kind == "vertical") for block in plan.blocks)
    grounds = {"plated": {"plate"}, "warped and plated": {"plate"}, "outlined": {"outline"}}
    assert grounds.get(kind, set()) <= found


def test_lines_are_equal_when_all_of_them_is(renderer):
    line = renderer.plan(0).blocks[0].lines[0]
    assert line == replace(line, pens=line.pens.copy())
    for change in ({"pens": line.pens + 1}, {"pens": line.pens[1:]}, {"text": "other"}):
        assert line != replace(line, **change)
    assert line != line.text


def test_what_was_drawn_on_a_page_is_not_painted_twice(renderer):
    plan = renderer.plan(3)
    first = renderer.paint(plan)
    first[:] = 7
    assert not np.array_equal(renderer.paint(plan), first)
    assert np.array_equal(renderer.paint(plan), renderer.sample(3).pixels())


def test_metadata_says_what_the_plan_says(samples):
    for sample in samples.values():
        plan, meta = stored(sample), truth(sample)
        for name in ("width", "height", "language", "layout", "hinting", "subpixel", "blending"):
            assert meta[name] == getattr(plan, name)
        grounds = [block.ground for block in plan.blocks]
        assert meta["scores"]["plates"] == grounds.count("plate")
        assert meta["scores"]["outlines"] == grounds.count("outline")
        assert meta["scores"]["fallbacks"] == plan.fallbacks
        assert meta["scores"]["contrast"] == min(line.contrast for _, line in plan.lines())
        assert meta["scores"]["retries"] == plan.retries
        assert {sum(of.values()) for of in meta["characters_by"].values()} == {meta["characters"]}
        assert meta["characters_by"]["ground"].keys() == {*grounds}
        assert meta["characters_by"]["layout"].keys() == {plan.layout}
        assert meta["characters_by"]["legibility"].keys() == {
            line["legibility"] for line in meta["lines"]
        }
        assert sample.text == plan.text


def test_lines_and_blocks_point_at_each_other(samples):
    for sample in samples.values():
        meta = truth(sample)
        for number, block in enumerate(meta["blocks"]):
            first, stop = block["lines"]
            lines = meta["lines"][first:stop]
            assert lines
            assert {line["block"] for line in lines} == {number}
            boxes = np.array([line["box"] for line in lines])
            union = [*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)]
            assert block["box"] == union


def test_legibility_follows_size_and_script(samples):
    for sample in samples.values():
        for line in truth(sample)["lines"]:
            assert line["legibility"] == legibility(line["language"], line["size_px"])
    table = {
        "en": {4: "lost", 5: "hard", 6: "hard", 7: "clear", 20: "clear"},
        "zh": {4: "lost", 6: "lost", 7: "hard", 9: "hard", 10: "clear", 20: "clear"},
    }
    for language, script in (("en", "en"), ("zh", "zh"), ("zh-hant", "zh"), ("mixed", "zh")):
        assert {px: legibility(language, px) for px in table[script]} == table[script]


@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_a_format_keeps_every_pixel_or_all_of_the_colour(renderer, ending):
    maker = variant(renderer, format=ending)
    sample = maker.sample(2)
    image, drawn = Image.open(BytesIO(sample.image)), maker.paint(maker.plan(2))
    assert image.format == {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[ending]
    if ending == "jpg":
        assert JpegImagePlugin.get_sampling(image) == 0
        assert np.abs(sample.pixels().astype(int) - drawn).mean() < 3
    else:
        assert np.array_equal(sample.pixels(), drawn)


@pytest.mark.parametrize("language", ["en", "zh", "zh-hant"])
def test_what_has_no_share_never_occurs(renderer, language):
    one = variant(
        renderer,
        languages=dict.fromkeys(("en", "zh", "zh-hant", "mixed"), 0.0) | {language: 1},
        layouts={"paragraph": 0, "slide": 1, "vertical": 0},
        hinting={"none": 0, "light": 1},
        blending={"srgb": 0, "linear": 1},
        size_px={8: 1, 9: 0, 12: 1},
        flat_share=0, subpixel_share=0, effects={"blur": 0},
    )  # fmt: skip
    for plan in map(one.plan, range(8)):
        chosen = (plan.language, plan.layout, plan.hinting, plan.blending, plan.subpixel)
        assert chosen == (language, "slide", "light", "linear", False)
        assert plan.background.source is not None
        assert plan.warp is None
        assert plan.effects == ()
        assert {block.language for block in plan.blocks} == {language}
        assert {block.size_px for block in plan.blocks} <= {8, 12}


def test_what_has_the_whole_share_always_occurs(renderer):
    one = variant(renderer, flat_share=1, subpixel_share=1, warp_share=1, effects={"noise": 1})
    for plan in map(one.plan, range(8)):
        assert plan.background.source is None
        assert plan.subpixel
        assert plan.warp is not None
        assert [effect.kind for effect in plan.effects] == ["noise"]


def test_mixed_pages_hold_both_scripts_in_one_line(renderer):
    one = variant(renderer, width=400, languages={"mixed": 1}, layouts={"paragraph": 1})
    lines = [line for i in range(6) for block, line in one.plan(i).lines()
             if block.language == "mixed"]  # fmt: skip
    both = [
        line
        for line in lines
        if any(c.isascii() and c.isalpha() for c in line.text)
        and any("一" <= c <= "鿿" for c in line.text)
    ]
    assert len(both) > len(lines) / 4
    assert any(len(set(line.fonts)) > 1 for line in both)


@pytest.mark.parametrize(
    ("given", "sizes"),
    [
        ((6, 8), {6, 7, 8}),
        ([9, 9], {9}),
        ("hard", set(range(5, 10))),
        ({6: 2.0, 11: 1.0}, {6, 11}),
        ({"6": 2.0, "11": 1.0}, {6, 11}),
    ],
)
def test_sizes_are_a_range_a_name_or_shares(renderer, given, sizes):
    one = variant(renderer, size_px=given, layouts={"scatter": 1})
    assert set(one.settings.sizes) == sizes
    metas = [one.sample(i).meta for i in range(10)]
    drawn = {line["size_px"] for meta in metas for line in meta["lines"]}
    assert drawn <= sizes
    assert len(drawn) >= min(2, len(sizes))
    for meta in metas:
        own = [line["size_px"] for line in meta["lines"]]
        assert meta["size_px"] == [min(own), max(own)]


def test_sizes_come_in_proportion_to_their_shares(renderer):
    one = variant(renderer, size_px={6: 9.0, 12: 1.0}, layouts={"scatter": 1}, flat_share=1)
    blocks = [block.size_px for i in range(25) for block in one.plan(i).blocks]
    assert 0.7 < blocks.count(6) / len(blocks) < 1


def test_sizes_are_read_from_toml():
    given = tomllib.loads("size_px = { 6 = 2.0, 7 = 1.0 }\n")
    assert RenderSettings(**given).sizes == {6: 2.0, 7: 1.0}
    assert RenderSettings(**tomllib.loads('size_px = "easy"')).sizes.keys() == {*range(14, 21)}


def test_settings_survive_json():
    given = RenderSettings(size_px={6: 2.0, 7: 1.0}, effects={"blur": 0.5}, photographs=Path("a"))
    assert RenderSettings.model_validate_json(given.model_dump_json()) == given


def test_a_size_without_a_share_needs_no_room():
    assert RenderSettings(width=64, height=64, size_px={6: 1, 30: 0}).sizes[6] == 1


@pytest.mark.parametrize("name", DIFFICULTY)
def test_every_difficulty_is_a_range(name):
    low, high = DIFFICULTY[name]
    assert set(RenderSettings(size_px=name).sizes) == {*range(low, high + 1)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 31}, "greater than or equal to 32"),
        ({"width": 8193}, "less than or equal to 8192"),
        ({"height": 31}, "greater than or equal to 32"),
        ({"height": 8193}, "less than or equal to 8192"),
        ({"width": 64}, "64x256 px is too small for text of 20 px; give width and height of at le"),
        ({"height": 85}, "at least 86 or a smaller size_px"),
        ({"size_px": (12, 8)}, "must be .smallest, largest."),
        ({"size_px": (3, 8)}, r"within \[4, 64\]"),
        ({"size_px": (5, 65)}, r"within \[4, 64\]"),
        ({"size_px": {3: 1}}, r"within \[4, 64\]"),
        ({"size_px": {}}, "all 0"),
        ({"size_px": {6: 0}}, "all 0"),
        ({"size_px": {6: -1, 7: 1}}, "at least 0"),
        ({"size_px": {"x": 1}}, "valid integer"),
        ({"size_px": "tiny"}, "'easy', 'medium', 'hard' or 'all'"),
        ({"languages": {"fr": 1}}, "'en', 'zh', 'zh-hant' or 'mixed'"),
        ({"languages": {"en": -1}}, "at least 0"),
        ({"languages": {"en": float("nan")}}, "finite"),
        ({"languages": {"en": 0}}, "all 0; give one a positive share"),
        ({"languages": {}}, "all 0"),
        ({"layouts": {"plakat": 1}}, r"layouts \['plakat'\] are unknown; use \['article', "),
        ({"layouts": {"scatter": 0}}, "all 0"),
        ({"layouts": {"scatter": float("inf")}}, "finite"),
        ({"layouts": {"vertical": 1}}, "can be set in 'en'; add one, or set the share"),
        ({"layouts": {"vertical": 1, "web": 0}, "languages": {"mixed": 1}}, "set in 'mixed'"),
        ({"flat_share": 2}, "less than or equal to 1"),
        ({"flat_share": float("nan")}, "finite number"),
        ({"contrast_floor": 0.9}, "greater than or equal to 1"),
        ({"contrast_floor": 15.1}, "less than or equal to 15"),
        ({"outline_share": -1}, "greater than or equal to 0"),
        ({"bare_share": 0.75}, "they add up to 1.25, not to 1"),
        ({"sheet_opacity": (0.0, 1.0)}, "greater than 0"),
        ({"plate_opacity": (0.8, 0.5)}, r"\[0.8, 0.5\] must be \[least, most\]"),
        ({"layouts": {"receipt": 1, "book": 1}}, "receipt always lie on sheets and are 0.5 of the"),
        ({"hinting": {"strong": 1}}, "'none', 'light' or 'full'"),
        ({"hinting": {"none": 0}}, "all 0"),
        ({"blending": {"gamma": 1}}, "'srgb' or 'linear'"),
        ({"blending": {"srgb": 0}}, "all 0"),
        ({"subpixel_share": 1.1}, "less than or equal to 1"),
        ({"warp_share": -0.1}, "greater than or equal to 0"),
        ({"turn_deg": 11}, "less than or equal to 10"),
        ({"tilt": 0.3}, "less than or equal to 0.2"),
        ({"effects": {"sepia": 1}}, r"effects \['sepia'\] are unknown; use \['blur', 'jpeg'"),
        ({"effects": {"blur": 2}}, r"probabilities: each in \[0, 1\]"),
        ({"format": "gif"}, "'png', 'jpg' or 'webp'"),
        ({"part": "test"}, "'all', 'train' or 'heldout'"),
        ({"photographs": 3}, "give a path, as text"),
        ({"corpus": 3}, "give a path, as text"),
        ({"fonts": 3}, "give a path, as text"),
        ({"sizes": (5, 9)}, "Extra inputs"),
    ],
)
def test_wrong_settings_are_refused_with_the_reason(changes, message):
    with pytest.raises(ValidationError, match=message):
        RenderSettings(**changes)


def test_sizes_may_differ_by_language_and_chinese_stands_for_what_is_mixed_with_it(renderer):
    given = {"en": {6: 1.0}, "zh": [8, 9], "zh-hant": "hard"}
    settings = RenderSettings(**(SETTINGS.model_dump() | {"size_px": given}))
    assert [*settings.sizes_of("mixed")] == [8, 9]
    assert [*settings.sizes_of("zh-hant")] == [*range(5, 10)]
    assert RenderSettings.model_validate_json(settings.model_dump_json()) == settings
    one = renderer.with_settings(settings)
    for index in range(12):
        plan = one.plan(index)
        assert {b.size_px for b in plan.blocks} <= {*settings.sizes_of(plan.language)}
    with pytest.raises(ValidationError, match="no sizes for language 'en'; name it, too"):
        RenderSettings(size_px={"zh": [7, 20]})


@pytest.mark.parametrize("layout", ["paragraph", "book"])
def test_shares_of_sizes_are_of_characters(renderer, layout):
    changes = {"size_px": {6: 1, 18: 1}, "layouts": {layout: 1}, "languages": {"en": 1}}
    one = variant(renderer, width=256, height=256, **changes)
    counts = Counter[int]()
    for index in range(150):
        for block in one.plan(index).blocks:
            counts[block.size_px] += sum(len(line.text) for line in block.lines)
    assert 0.25 < counts[6] / counts.total() < 0.75


def test_a_negative_index_or_seed_is_refused(renderer):
    with pytest.raises(UserError, match="index -1 must be at least 0"):
        renderer.plan(-1)
    with pytest.raises(UserError, match="seed -1 must be at least 0"):
        Renderer(SETTINGS, seed=-1)


def test_a_variant_keeps_to_the_material_that_was_loaded(renderer, tmp_path):
    for name in ("fonts", "corpus", "photographs"):
        with pytest.raises(UserError, match=rf"{name}: .*{tmp_path}.* is not what was loaded"):
            variant(renderer, **{name: tmp_path})
    english = Renderer(RenderSettings(languages={"en": 1}))
    with pytest.raises(UserError, match="'zh'"):
        english.with_settings(RenderSettings(languages={"zh": 1}))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("hinting",), "strong", "plan: hinting: Input should be 'none', 'light' or 'full'"),
        (("colour",), 3, "plan: colour: Unexpected keyword argument"),
        (("blocks", 0, "lines", 0, "text"), 3, r"plan: blocks\.0\.lines\.0\.text: .* string"),
        (("blocks", 0, "size_px"), "large", r"plan: blocks\.0\.size_px: .*; render the sample"),
        (("background", "crop"), [1, 2, 3], r"plan: background\.crop"),
        (("blocks", 0, "lines", 0, "pens"), [2**31], r"plan: .*\.pens\.0: .* less than"),
        (("blocks", 0, "lines", 0, "pens"), "wide", r"plan: .*\.pens: .* valid tuple"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused_by_the_field(samples, path, value, message):
    data = truth(samples[0])["plan"]
    *way, last = path
    place = data
    for step in way:
        place = place[step]
    place[last] = value
    with pytest.raises(UserError, match=message):
        Plan.of(data)


def test_what_is_no_plan_is_refused(samples):
    data = truth(samples[0])["plan"]
    del data["warp"]
    with pytest.raises(UserError, match="plan: warp: Field required"):
        Plan.of(data)
    for other in (None, [], "plan", json.loads("3")):
        with pytest.raises(UserError, match=r"plan: the plan: .*; render the sample again"):
            Plan.of(other)


def test_a_plan_for_other_material_says_so(renderer):
    plan = renderer.plan(0)
    block = plan.blocks[0]
    gone = replace(block, fonts=(replace(block.fonts[0], face="gone.ttf#0"), *block.fonts[1:]))
    with pytest.raises(UserError, match=r"fonts: the plan needs gone\.ttf#0"):
        renderer.paint(replace(plan, blocks=(gone,)))
    axes = replace(block, fonts=(replace(block.fonts[0], design=(1.0,) * 9), *block.fonts[1:]))
    with pytest.raises(UserError, match="sets 9 axes"):
        renderer.paint(replace(plan, blocks=(axes,)))
    background = replace(plan.background, source="gone.jpg")
    with pytest.raises(UserError, match=r"gone\.jpg: not in this source; give the same folder"):
        renderer.paint(replace(plan, background=background))


def test_a_plan_of_another_size_is_refused(renderer):
    plan = renderer.plan(0)
    with pytest.raises(UserError, match="160x128"):
        variant(renderer, width=320, height=256).paint(plan)


def test_a_plan_with_an_unknown_effect_is_refused(renderer):
    plan = replace(renderer.plan(0), effects=(Effect("sepia", 1.0),))
    with pytest.raises(UserError, match="sepia"):
        renderer.paint(plan)


def user_settings(tmp_path: Path, **changes) -> RenderSettings:
    folder = tmp_path / "fonts"
    folder.mkdir()
    shutil.copy(package("fontpkg_arvo") / "files" / "Arvo-Regular.ttf", folder)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.md").write_text("# Heading\n\nSome *plain* prose, 3 → 4.\n", "utf-8")
    given = {
        "fonts": folder,
        "embedded_fonts": False,
        "corpus": tmp_path / "texts",
        "character_shares": {},
        "languages": {"en": 1},
    }
    return RenderSettings(width=96, height=96, layouts={"paragraph": 1}, **(given | changes))


def test_a_users_folders_are_used_and_what_no_font_draws_is_left_out(tmp_path):
    sample = Renderer(user_settings(tmp_path)).sample(0)
    assert {line["font"] for line in sample.meta["lines"]} == {"Arvo-Regular.ttf#0"}
    assert set(sample.text) <= set("Heading Some plain prose, 3  4.\n")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fonts": Path("nowhere")}, "nowhere is not a folder"),
        ({"corpus": Path("nowhere")}, "nowhere does not exist"),
        ({"photographs": Path("nowhere")}, "nowhere is not a folder"),
        ({"languages": {"zh": 1}}, "no face in .* covers Chinese"),
        ({"languages": {"zh-hant": 1}}, "no face in .* covers Traditional Chinese"),
        ({"languages": {"zh": 1}, "embedded_fonts": True}, "no characters for language 'zh'"),
    ],
)
def test_missing_material_is_an_error_at_the_start(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        Renderer(user_settings(tmp_path, **changes))


def photographs(folder: Path) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(2):
        pixels = rng.integers(0, 60, (120, 140, 3), dtype=np.uint8)
        (folder / f"good{i}.png").write_bytes(encode_png(pixels))
    (folder / "bad.png").write_bytes(b"\x89PNG but not really")
    return folder


def test_an_unreadable_photograph_is_passed_over_and_named(tmp_path):
    given = user_settings(tmp_path, photographs=photographs(tmp_path / "p"), flat_share=0)
    renderer = Renderer(given)
    backgrounds = [renderer.plan(i * 8).background for i in range(12)]
    assert {one.source for one in backgrounds} == {"good0.png", "good1.png"}
    assert {name for one in backgrounds for name in one.passed_over} == {"bad.png"}
    assert list(renderer.unreadable) == ["bad.png"]
    # What was found unreadable before changes no page.
    assert Renderer(given).plan(88).background == backgrounds[-1]


def test_no_readable_photograph_is_an_error(tmp_path):
    folder = photographs(tmp_path / "p")
    for good in folder.glob("good*"):
        good.write_bytes(b"gone")
    renderer = Renderer(user_settings(tmp_path, photographs=folder, flat_share=0))
    with pytest.raises(UserError, match=r"none of 3 in .* can be read .* or flat_share = 1"):
        renderer.plan(0)


def test_a_page_is_cut_from_the_photograph_that_it_names(renderer):
    one = variant(renderer, flat_share=0)
    source = one.backgrounds.source
    names = [source.name(i) for i in range(len(source))]
    for i in (0, 8, 16):
        plan = one.plan(i)
        assert plan.background.source is not None
        photo = decode(source.read(names.index(plan.background.source)).image, "photo")
        left, top, right, bottom = plan.background.crop
        part = photo[top:bottom, left:right].mean(axis=(0, 1))
        empty = ground(one, replace(plan, rects=()))
        assert empty.mean(axis=(0, 1)) == pytest.approx(part, abs=4)


def test_the_fingerprint_follows_the_material(tmp_path):
    given = user_settings(tmp_path, photographs=photographs(tmp_path / "p"))
    prints = [Renderer(given).fingerprints()]
    assert Renderer(given, seed=3).fingerprints() == prints[0]
    (tmp_path / "texts" / "b.txt").write_text("More prose.", "utf-8")
    prints.append(Renderer(given).fingerprints())
    shutil.copy(package("fontpkg_arvo") / "files" / "Arvo-Bold.ttf", tmp_path / "fonts")
    prints.append(Renderer(given).fingerprints())
    (tmp_path / "p" / "bad.png").unlink()
    prints.append(Renderer(given).fingerprints())
    changed = [{k for k in now if now[k] != then[k]} for then, now in pairwise(prints)]
    assert [kinds - {"corpus"} for kinds in changed] == [set(), {"fonts"}, {"photographs"}]
    assert "corpus" in changed[0]


def test_train_and_heldout_pages_share_no_photograph(renderer):
    parts = []
    for part in ("train", "heldout"):
        source = variant(renderer, part=part).backgrounds.source
        parts.append({source.name(i) for i in range(len(source))})
    assert all(parts)
    assert not parts[0] & parts[1]


def test_the_smallest_page_with_the_highest_floor_still_carries_text(renderer):
    one = variant(renderer, width=86, height=86, contrast_floor=15, flat_share=0, **only("plate"))
    metas = [one.sample(i).meta for i in range(12)]
    assert all(meta["characters"] for meta in metas)
    assert all(meta["scores"]["contrast"] >= 15 for meta in metas)
    assert sum(meta["scores"]["plates"] for meta in metas) > 12


def test_the_smallest_page_of_all_may_be_turned_and_tilted(renderer):
    one = variant(
        renderer, width=32, height=32, size_px=(4, 6), warp_share=1, turn_deg=10, tilt=0.2,
        layouts={"slide": 1, "book": 1, "poster": 1},
    )  # fmt: skip
    assert all(one.sample(i).text for i in range(20))


def test_versions_name_the_libraries_that_shape_pixels():
    shaping = {
        "freetype",
        "pillow",
        "numpy",
        "opencv",
        "numba",
        "uharfbuzz",
        "uniseg",
        "fpng",
        "simplejpeg",
    }
    assert set(versions()) == shaping


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: line["pens"].append(4), "a pen and a font for each character"),
        (lambda line: line.update(fonts=[9] * len(line["text"])), "a pen and a font for each"),
        (lambda line: line.update(baseline_px=100_000), "outside the page of 160x128"),
        (lambda line: line.update(pens=[-(10**6)] * len(line["text"])), "outside the page"),
    ],
)
def test_a_plan_that_leaves_the_page_never_reaches_the_pixels(renderer, change, message):
    data = truth(renderer.sample(0))["plan"]
    change(data["blocks"][0]["lines"][0])
    with pytest.raises(UserError, match=message):
        renderer.paint(Plan.of(data))


@pytest.mark.parametrize("box", [[0, 0, 400, 10], [-5, 0, 10, 10], [20, 0, 10, 10]])
def test_a_rectangle_outside_the_page_is_refused(renderer, box):
    data = truth(renderer.sample(0))["plan"]
    data["rects"] = [{"box": box, "colour": [0, 0, 0], "opacity": 1.0}]
    with pytest.raises(UserError, match="outside the page"):
        renderer.paint(Plan.of(data))
    data["rects"][0] |= {"box": [0, 0, 9, 9], "colour": [0, 0, 256]}
    with pytest.raises(UserError, match=r"rects\.0\.colour"):
        Plan.of(data)


@pytest.mark.parametrize("warp_share", [0, 1])
def test_picture_and_truth_come_from_one_placing(renderer, monkeypatch, warp_share):
    """Where the page places a block it is drawn and labelled: there is no second way."""
    given = {"warp_share": warp_share, "layouts": {"paragraph": 1, "slide": 1}}
    one, placed = variant(renderer, **given), []

    placing = Page._placed

    def recorded(*args):
        placed.append(placing(*args))
        return placed[-1]

    monkeypatch.setattr(Page, "_placed", recorded)
    drawn = []
    inked = render.renderer.draw
    monkeypatch.setattr("render.renderer.draw", lambda *args: drawn.extend(args[1]) or inked(*args))
    for i in range(4):
        placed.clear(), drawn.clear()
        sample = one.sample(i)
        assert drawn
        assert {id(block) for block in drawn} <= {id(block) for block in placed}
        boxes = np.concatenate([line["characters"] for line in sample.meta["lines"]])
        assert np.array_equal(boxes, np.concatenate([block.boxes for block in drawn]))
