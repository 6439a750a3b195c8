"""What a recipe makes, drawn to be looked at."""

import io

import numpy as np
import pytest
from PIL import Image

from render import LAYOUTS, Renderer, RenderSettings
from render.gallery import CROP_PX, TIMES, Gallery, Picture
from render.variations import variations
from tests.conftest import picture

SETTINGS = RenderSettings(
    width=160, height=128, size_px=(6, 13), layouts={"paragraph": 1.0, "vertical": 1.0}
)


@pytest.fixture(scope="module")
def gallery():
    def never():
        raise AssertionError("a renderer of the asked languages alone cannot draw the others")

    return Gallery.of(SETTINGS, 0, never)


def test_pages_say_which_the_recipe_makes(gallery):
    cards = list(gallery.pages())
    assert [(card.layout, card.language) for card in cards] == gallery.pairs
    assert {card.language for card in cards if not card.made} == {"zh-hant"}
    assert {language for _, language in gallery.pairs} == {
        language for name in SETTINGS.layouts for language in LAYOUTS[name].languages
    }


def test_the_renderer_of_the_recipe_serves_where_it_can():
    only = SETTINGS.model_copy(update={"layouts": {"paragraph": 1.0}})
    spoken = {"en": 1.0, "zh": 1.0, "zh-hant": 1.0, "mixed": 1.0}
    settings = RenderSettings.model_validate(only.model_dump() | {"languages": spoken})
    renderer = Renderer(settings)
    assert Gallery.of(settings, 0, lambda: renderer).renderer is renderer


def test_crops_are_cut_to_the_page_and_details_are_as_wide(gallery):
    for crop in gallery.crops():
        side = min(CROP_PX, 128)
        assert crop.page.shape == (side, side, 3)
        assert crop.detail.shape == (side // TIMES // 2 * TIMES, side, 3)
        assert crop.caption.endswith(f"px, {TIMES} times enlarged")


def test_only_the_warped_variant_shows_its_page(gallery):
    for language, shown in zip(gallery.compared, variations(gallery), strict=True):
        assert shown.language == language
        whole = {one.name for group in shown.groups.values() for one in group if one.picture}
        assert whole == {"turned and tilted"}


def test_a_picture_is_lossless_and_stored_before_it_is_enlarged():
    pixels = picture(0, 90, 120)
    shown = Picture.enlarged(pixels, (50, 40))
    stored = np.asarray(Image.open(io.BytesIO(shown.webp)))
    assert np.array_equal(stored, pixels[26:90, 24:120])
    assert (shown.width, shown.height) == (TIMES * 96, TIMES * 64)
    assert shown.outlines == b""
