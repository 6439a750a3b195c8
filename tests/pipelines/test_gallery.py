"""`render --preview`: one file that shows what a recipe makes."""

import base64
import io
import json
import re
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from pipelines.engine.jobs import RenderJob
from pipelines.gallery import preview_recipe
from render import DIFFICULTY, LAYOUTS, RenderSettings
from render.picture.effects import EFFECTS
from render.settings import only
from shards import UserError
from tests.command import mistake, nonpareil

SMALL = {"width": 160, "height": 128, "size_px": [6, 13]}
FEW = {"paragraph": 1.0, "vertical": 1.0, "receipt": 0.5, "web": 0.0}


class Page(HTMLParser):
    """Collects elements as (tag, attributes)."""

    def __init__(self, text: str):
        super().__init__()
        self.elements = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def of(self, tag, name):
        return [found[name] for kind, found in self.elements if kind == tag and name in found]


def job(**render):
    return RenderJob.model_validate({"render": SMALL | {"layouts": FEW} | render})


@pytest.fixture(scope="module")
def recipe():
    return job()


@pytest.fixture(scope="module")
def gallery(recipe, tmp_path_factory):
    file = tmp_path_factory.mktemp("gallery") / "new" / "pages.html"
    return preview_recipe(recipe, "pages.toml", file), file.read_text()


def decoded(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2])))


def test_every_layout_is_shown_in_every_language_it_supports(gallery):
    made, text = gallery
    shown = [
        (found["data-layout"], found["data-language"], "data-absent" in found)
        for tag, found in Page(text).elements
        if tag == "article"
    ]
    expected = [
        (name, language, language == "zh-hant")
        for name, share in FEW.items()
        if share
        for language in LAYOUTS[name].languages
    ]
    assert shown[: len(expected)] == expected
    assert made["bytes"] == len(text.encode())
    # On 128 px of height there is room for every set of sizes.
    assert made["pages"] == len(expected) + 2 * len(DIFFICULTY)


def test_every_set_of_sizes_and_every_variation_is_named(gallery):
    _, text = gallery
    assert all(re.search(rf"<h3>{name}, \d+–\d+ px, (en|zh)</h3>", text) for name in DIFFICULTY)
    captions = re.findall(r"<figcaption><b>(.*?)</b>", text)
    named = {"light", "full", "srgb", "linear", "on", "off", "turned and tilted", "plate"}
    assert named | {"outline", *EFFECTS} <= {*captions}


def test_pictures_are_lossless_and_boxes_lie_over_them(recipe, gallery):
    _, text = gallery
    sources = Page(text).of("img", "src")
    assert {uri.partition(";")[0] for uri in sources} == {"data:image/webp", "data:image/png"}
    page, boxes = (decoded(uri) for uri in sources[:2])
    only = RenderSettings(**SMALL, languages={"en": 1.0}, layouts={"paragraph": 1.0})
    sample = recipe.renderer.with_settings(only).sample(0)
    assert np.array_equal(np.asarray(page.convert("RGB")), sample.pixels())
    drawn = np.asarray(boxes.convert("RGBA"))
    left, top, right, bottom = sample.meta["lines"][0]["box"]
    assert (drawn[[top, bottom - 1], left:right] == (230, 30, 30, 255)).all()
    assert drawn[0, 0, 3] == 0
    assert unescape(text).count(sample.text) == 1


def test_the_page_needs_nothing_else_and_says_where_it_comes_from(recipe, gallery):
    _, text = gallery
    page = Page(text)
    assert not page.of("script", "src") + page.of("link", "href")
    assert all(uri.startswith("data:") for uri in page.of("img", "src"))
    assert recipe.digest in text
    assert "freetype" in text


def test_a_variation_changes_the_picture(gallery):
    _, text = gallery
    figures = re.findall(r'<img src="([^"]+)"[^>]+alt="(\w+) ([\w ]+)">', text)
    groups = {}
    for uri, group, _ in figures:
        groups.setdefault(group, []).append(uri)
    assert len(groups["hinting"]) == 6
    assert len({*groups["hinting"]}) > 2
    for group in ("blending", "subpixel", "ground"):
        assert len({*groups[group]}) == len(groups[group])


def test_hostile_names_and_text_stay_text(tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(["<script>alert(1)</script> &amp; <b>bold</b> words again"] * 40))
    hostile = tmp_path / '<img src=x onerror="alert(2)">.toml'
    render = SMALL | {"languages": {"en": 1.0}, "layouts": {"paragraph": 1.0}}
    recipe = RenderJob.model_validate({"render": render | {"corpus": corpus}})
    file = tmp_path / "pages.html"
    preview_recipe(recipe, str(hostile), file)
    page = Page(file.read_text())
    assert all(uri.startswith("data:") for uri in page.of("img", "src"))
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert not page.of("img", "onerror")
    # A user's own text is shown in the languages asked for: it may hold no other.
    assert {*page.of("article", "data-language")} == {"en"}
    assert str(tmp_path) not in file.read_text().partition("<details><summary>Recipe")[0]


def test_sizes_too_large_for_the_page_are_named_not_drawn(tmp_path):
    small = {"width": 64, "height": 64, "layouts": {"paragraph": 1.0}, "size_px": [6, 8]}
    recipe = RenderJob.model_validate({"render": small | {"languages": {"en": 1.0}}})
    file = tmp_path / "pages.html"
    preview_recipe(recipe, "small", file)
    assert "64x64 px is too small for text of 20 px" in file.read_text()


def test_a_contact_sheet_shows_every_layout_and_details(tmp_path):
    file = tmp_path / "pages.png"
    made = preview_recipe(job(layouts=dict.fromkeys(LAYOUTS, 1.0), **only("sheet")), "all", file)
    assert made["pages"] == len(LAYOUTS)
    with Image.open(file) as sheet:
        sheet.load()
        assert (sheet.format, sheet.mode) == ("PNG", "RGB")
        # Five pages of 128 px side by side, three rows and a strip of details.
        assert sheet.size == (8 + 5 * (128 + 8), 8 + 3 * (128 + 24) + 64 + 24)


@pytest.mark.parametrize("name", ["pages.pdf", "pages", "pages.jpg"])
def test_other_endings_are_refused_before_anything_is_made(name, tmp_path):
    with pytest.raises(UserError, match=r"does not end in \.html or \.png"):
        preview_recipe(job(), "pages", tmp_path / "new" / name)
    assert not (tmp_path / "new").exists()


def test_a_preview_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file; give a folder"):
        preview_recipe(job(), "pages", tmp_path / "file" / "pages.html")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        preview_recipe(job(), "pages", tmp_path / "folder.png")


def test_the_command_makes_a_preview_and_nothing_else(tmp_path):
    file = tmp_path / "pages.png"
    recipe = tmp_path / "small.toml"
    recipe.write_text("[render]\nwidth = 64\nheight = 64\nsize_px = [6, 8]\n")
    only = ("--set", "render.layouts={ paragraph = 1 }")
    done = nonpareil("render", recipe, "--preview", file, *only, "--json")
    made = json.loads(done.stdout)
    assert made["pages"] == 1
    assert "give render.photographs and render.corpus for more than a try" in made["caution"]
    assert {path.name for path in tmp_path.iterdir()} == {"small.toml", "pages.png"}


def test_the_command_says_what_is_missing_or_too_much(tmp_path):
    recipe = tmp_path / "plain.toml"
    recipe.write_text("")
    assert "give --out DIR" in mistake("render", recipe)
    both = ("--out", tmp_path / "o", "--preview", tmp_path / "p.html")
    assert "without --out" in mistake("render", recipe, *both)
    assert ".html or .png" in mistake("render", recipe, "--preview", tmp_path / "p.gif")
    assert [*tmp_path.iterdir()] == [recipe]
