"""What is promised of every page, whatever is asked for: properties, by hypothesis.

A page is checked against a second drawing of its glyphs that shares no code with the renderer:
FreeType's own objects, and blending in plain NumPy.
"""

from functools import lru_cache

import freetype
import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from render import LAYOUTS, Renderer, RenderSettings
from render.settings import only
from shards import encode_png
from tests.render.pages import bare, covered, stored, truth, with_ink

FLAGS = {
    "none": freetype.FT_LOAD_NO_HINTING,
    "light": freetype.FT_LOAD_TARGET_LIGHT,
    "full": freetype.FT_LOAD_TARGET_NORMAL,
}

properties = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


GROUNDS = ["bare", "outline", "plate", "sheet"]


@st.composite
def asked(draw, **fixed):
    """Draw settings that can be satisfied, and an index."""
    layout = draw(st.sampled_from(sorted(LAYOUTS)))
    low = draw(st.integers(4, 14))
    given = {
        "width": draw(st.integers(96, 300)),
        "height": draw(st.integers(96, 200)),
        "size_px": (low, draw(st.integers(low, 20))),
        "layouts": {layout: 1},
        "languages": {draw(st.sampled_from(LAYOUTS[layout].languages)): 1},
        "flat_share": draw(st.sampled_from([0, 1])),
        "contrast_floor": draw(st.sampled_from([1.5, 3.0, 7.0])),
        **only("sheet" if LAYOUTS[layout].on_sheets else draw(st.sampled_from(GROUNDS))),
        "hinting": {draw(st.sampled_from(["none", "light", "full"])): 1},
        "blending": {draw(st.sampled_from(["srgb", "linear"])): 1},
        "subpixel_share": draw(st.sampled_from([0, 1])),
        "warp_share": draw(st.sampled_from([0, 1])),
    }
    return RenderSettings(**(given | fixed)), draw(st.integers(0, 40))


@properties
@given(asked())
def test_every_character_has_its_own_ink_inside_the_page(renderer, case):
    wanted, index = case
    one = renderer.with_settings(wanted)
    sample = one.sample(index)
    plan = sample.meta["plan"]
    changed = (bare(one, plan) != sample.pixels()).any(axis=2)
    for line in truth(sample)["lines"]:
        assert len(line["characters"]) == len(line["text"])
        for character, (left, top, right, bottom) in zip(
            line["text"], line["characters"], strict=True
        ):
            assert (right > left and bottom > top) == (character != " "), (character, line["font"])
            assert 0 <= left <= right <= plan.width
            assert 0 <= top <= bottom <= plan.height
            if character != " " and line["contrast"] > 1.5:
                assert changed[top:bottom, left:right].any(), (character, line["text"])


@properties
@given(asked())
def test_there_is_no_ink_outside_the_boxes(renderer, case):
    wanted, index = case
    one = renderer.with_settings(wanted)
    sample = one.sample(index)
    changed = (bare(one, sample.meta["plan"]) != sample.pixels()).any(axis=2)
    for line in truth(sample)["lines"]:
        halo = np.array([-1, -1, 1, 1]) * (line["ground"] == "outline")
        boxes = with_ink(line["characters"])
        changed &= ~covered(np.maximum(boxes + halo, 0), *changed.shape)
        union = [*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)]
        assert line["box"] == union
    assert not changed.any()


@properties
@given(asked())
def test_the_text_is_what_was_placed(renderer, case):
    wanted, index = case
    sample = renderer.with_settings(wanted).sample(index)
    meta, plan = truth(sample), stored(sample)
    lines = [line["text"] for line in meta["lines"]]
    assert sample.text == "\n".join(lines) == plan.text
    assert all(text == text.strip() != "" for text in lines)
    assert meta["characters"] == sum(c != " " for text in lines for c in text)
    for block, line in plan.lines():
        assert len(line.pens) == len(line.text)
        owners = line.fonts or (0,) * len(line.text)
        for character, owner in zip(line.text, owners, strict=True):
            face = renderer.material.fonts.faces[block.fonts[owner].face]
            assert character == " " or ord(character) in face.codes


@properties
@given(asked())
def test_contrast_and_sizes_keep_to_the_recipe(renderer, case):
    wanted, index = case
    sample = renderer.with_settings(wanted).sample(index)
    low, high = wanted.size_px
    for line in sample.meta["lines"]:
        assert line["contrast"] >= wanted.contrast_floor
        assert low <= line["size_px"] <= high
    assert sample.meta["scores"]["contrast"] >= wanted.contrast_floor


@properties
@given(asked(effects={"noise": 0.5, "jpeg": 0.5}))
def test_a_page_is_the_same_from_its_settings_and_from_its_plan(renderer, case):
    wanted, index = case
    sample = renderer.with_settings(wanted).sample(index)
    again = renderer.with_settings(wanted)
    assert encode_png(again.paint(stored(sample))) == sample.image
    assert dict(again.sample(index).files()) == dict(sample.files())


def test_the_seed_and_the_index_are_all_that_pages_differ_by(renderer):
    other = Renderer(renderer.settings, seed=6)
    plans = [(one, i) for one in (renderer, other) for i in range(6)]
    assert len({one.plan(i).text for one, i in plans}) == len(plans)


@lru_cache
def opened(path, index, design, size_px):
    face = freetype.Face(str(path), index)
    if design:
        face.set_var_design_coords(design)
    face.set_pixel_sizes(0, size_px)
    return face


def shape_of(face, character, phase, hinting):
    """Draw one glyph with FreeType, cut to its ink, (h, w) in [0, 255]."""
    still = freetype.Matrix(0x10000, 0, 0, 0x10000)
    face.set_transform(still, freetype.Vector(16 * phase, 0))
    flags = FLAGS[hinting] | freetype.FT_LOAD_NO_BITMAP | freetype.FT_LOAD_RENDER
    face.load_char(character, flags)
    bitmap = face.glyph.bitmap
    data = np.array(bitmap.buffer, np.uint8).reshape(bitmap.rows, bitmap.pitch)
    ys, xs = np.nonzero(data[:, : bitmap.width])
    return data[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]


def glyphs_of(sample):
    """Yield (font, character, box, pen, label of the line) of a page as they are drawn:

    block by block, and in a block one font after the other.
    """
    labels = iter(truth(sample)["lines"])
    for block in sample.meta["plan"].blocks:
        found = []
        for line in block.lines:
            label = next(labels)
            owners = line.fonts or (0,) * len(line.text)
            found += [
                (owner, character, box, pen, label)
                for owner, character, box, pen in zip(
                    owners, line.text, label["characters"], line.pens, strict=True
                )
                if character != " "
            ]
        for owner, *glyph in sorted(found, key=lambda one: one[0]):
            yield block.fonts[owner], *glyph


@properties
@given(asked(warp_share=0, blending={"srgb": 1}))
def test_lines_drawn_again_from_their_boxes_give_the_page(renderer, case):
    wanted, index = case
    assume("vertical" not in wanted.layouts)
    one = renderer.with_settings(wanted)
    sample = one.sample(index)
    plan = sample.meta["plan"]
    assume(not sample.meta["scores"]["outlines"])
    pixels = bare(one, plan).astype(float)
    for font, character, (left, top, right, bottom), pen, label in glyphs_of(sample):
        known = renderer.material.fonts.faces[font.face]
        face = opened(known.path, known.index, font.design, label["size_px"])
        phase = 0 if known.han else pen & 3
        share = shape_of(face, character, phase, plan.hinting)[..., None].astype(float)
        assert share.shape == (bottom - top, right - left, 1)
        part = pixels[top:bottom, left:right]
        part[...] = np.rint((part * (255 - share) + np.array(label["colour"]) * share) / 255)
    assert np.array_equal(pixels, sample.pixels())
