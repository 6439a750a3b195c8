"""`shards report`: one page, looked at as its bytes and in a real browser."""

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from shards import ImageSource, Sample, ShardWriter, UserError, encode_png
from shards import dataset as datasets
from shards.inspect import contents
from shards.inspect.charts import chart
from shards.inspect.report import LARGEST_SIDE, PIXELS, write_report
from shards.inspect.stats import Histogram
from shards.skipped import Skip, Skips
from tests.conftest import picture
from tests.shards.browser import Browser, find_browser
from tests.shards.inspect.test_cli import shards

HOSTILE = '</script><img src=x onerror="alert(1)"><b>&amp;</b>\u202e'
SHARDS, EACH = 3, 8
REASON = "<i>blurry</i>"


def sample(i):
    hostile = i == 5
    meta = {
        "width": 60,
        "height": 40,
        "language": HOSTILE if hostile else ("en", "zh")[i % 2],
        "characters": 10 + i,
        "characters_by": {"ground": {"bare": 3, "sheet": 1}, HOSTILE: {HOSTILE: 1}},
        "size_px": [5 + i % 4, 8 + i % 4],
        "scores": {"contrast": 3.0 + i / 8, "plates": 0},
        "layout": HOSTILE if hostile else "note",
        HOSTILE: 1,
        "lines": [{"box": [0, 0, 1, 1]}],
    }
    text = HOSTILE if hostile else f"word{i:02d} 你好 Straße"
    key = f"{i:09d}" if i != 6 else "<u>key"
    return Sample(key, encode_png(picture(i)), "png", text=text, meta=meta)


SKIPS = Skips()
SKIPS.add(Skip(f"beside {HOSTILE}", ".json"))


def fill(folder, *, recipe="r" * 64):
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(SHARDS):
        with ShardWriter(folder, shard, recipe=recipe, versions={"freetype": "2.13.2"}) as writer:
            writer.extend(sample(i) for i in range(shard * EACH, (shard + 1) * EACH))
            writer.drop(f"photo{shard}.png", REASON, scores={"sharpness": shard / 10})
            writer.drop(HOSTILE, "unreadable", detail=HOSTILE)
            if shard == 0:
                writer.skip(SKIPS)
    return folder


@pytest.fixture
def dataset(tmp_path):
    return make(tmp_path)


def make(tmp_path):
    """Write three shards and the recipe of a filter run whose images still exist."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for shard in range(SHARDS):
        Image.fromarray(picture(90 + shard)).save(photos / f"photo{shard}.png")
    folder = fill(tmp_path / "data <set>")
    inputs = {"images": ImageSource.at(photos).fingerprint()}
    recipe = {"recipe": {"images": str(photos), "part": "all", "note": HOSTILE}, "inputs": inputs}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    return folder


class Page(HTMLParser):
    """Elements as (tag, attributes, text inside)."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append([tag, dict(attrs), ""])

    def handle_endtag(self, tag):
        self.elements.append(["", {}, ""])

    def handle_data(self, data):
        if self.elements:
            self.elements[-1][2] += data

    def of(self, tag, name):
        return [found[name] for kind, found, _ in self.elements if kind == tag and name in found]


def report(where, tmp_path, **options):
    file = tmp_path / "out" / "report.html"
    made = write_report(where, file, **options)
    return made, file.read_text()


def test_the_page_holds_all_it_needs_and_nothing_from_elsewhere(dataset, tmp_path):
    made, text = report(dataset, tmp_path)
    page = Page(text)
    sources = page.of("img", "src")
    assert len(sources) == made["samples"] + made["rejects"] == SHARDS * EACH + SHARDS
    for uri in sources:
        kind, _, data = uri.partition(";base64,")
        assert kind == "data:image/jpeg"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (60, 40)
    assert not {"link", "iframe", "object", "base"} & {tag for tag, _, _ in page.elements}
    assert all(address.startswith("#") for address in page.of("a", "href"))
    assert not page.of("script", "src")
    assert made["bytes"] == len(text.encode())


def test_the_policy_allows_this_script_and_this_style_alone(dataset, tmp_path):
    _, text = report(dataset, tmp_path)
    page = Page(text)
    policy = page.of("meta", "content")[0]
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for tag in ("script", "style"):
        (inside,) = [inside for kind, _, inside in page.elements if kind == tag]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert not [name for _, found, _ in page.elements for name in found if name[:2] == "on"]
    assert not page.of("div", "style")


def test_hostile_keys_text_and_reasons_stay_text(dataset, tmp_path):
    _, text = report(dataset, tmp_path)
    page = Page(text)
    tags = {tag for tag, _, _ in page.elements}
    assert not {"b", "i", "u"} & tags
    assert not page.of("img", "onerror")
    assert [tag for tag, _, _ in page.elements].count("script") == 1
    assert HOSTILE in page.of("li", "data-language")
    words = [inside for _, _, inside in page.elements]
    assert HOSTILE in words  # the text of sample 5
    assert REASON in words
    assert "<u>key" in words
    assert f"beside {HOSTILE}" in words


def test_the_same_shards_give_the_same_bytes(dataset, tmp_path):
    first, again = report(dataset, tmp_path / "a"), report(dataset, tmp_path / "b")
    assert first[1] == again[1]
    assert str(tmp_path) not in first[1].partition("<summary>Recipe")[0]


@pytest.mark.parametrize("where", [".", "../data", "file://"])
def test_a_page_is_named_after_its_folder_alone(where, tmp_path, monkeypatch):
    folder = fill(tmp_path / "data")
    monkeypatch.chdir(folder)
    given = folder.as_uri() if where == "file://" else where
    assert "<title>data · shards</title>" in report(given, tmp_path)[1]


@pytest.mark.parametrize(("wanted", "shown"), [(1, [12]), (3, [4, 12, 20]), (1000, range(24))])
def test_samples_are_spread_over_all_shards(wanted, shown, dataset, tmp_path):
    made, text = report(dataset, tmp_path, samples=wanted)
    keys = [sample(i).key for i in shown]
    assert [alt.removeprefix("sample ") for alt in Page(text).of("img", "alt")][: len(keys)] == keys
    assert made["samples"] == len(keys)


def test_pictures_are_reduced_to_what_the_page_can_hold(tmp_path):
    large = np.full((40, 3 * LARGEST_SIDE, 3), 200, np.uint8)
    with ShardWriter(tmp_path, 0, recipe="r") as writer:
        writer.write(Sample("a", encode_png(large), "png"))
    _, text = report(tmp_path, tmp_path)
    page = Page(text)
    assert (page.of("img", "width"), page.of("img", "height")) == ([str(LARGEST_SIDE)], ["13"])
    assert LARGEST_SIDE**2 <= PIXELS


def test_what_varies_is_drawn_and_what_does_not_is_said(dataset, tmp_path):
    _, text = report(dataset, tmp_path)
    titles = re.findall(r"<figcaption><h3>(.*?)</h3>", text)
    assert {"Language", "Smallest font size, px", "Score: contrast", "Score: sharpness"} < {*titles}
    assert "Characters by ground" in titles
    assert "% on bare photographs</small>" in text
    assert "Score: plates" not in titles
    assert re.search(r"The same in all samples: .*<bdi>plates</bdi> 0", text)


def test_kept_and_dropped_are_counted_in_the_same_bins():
    kept, dropped = Histogram(), Histogram()
    for value in range(40):
        (dropped if value < 10 else kept).add(value / 40)
    drawn = chart("score", kept, dropped)
    assert drawn.captions.keys() == {"kept", "dropped"}
    for name, one in (("kept", kept), ("dropped", dropped)):
        heights = sum(getattr(bar, name) for bar in drawn.bars)
        assert heights * drawn.tallest / 120 == pytest.approx(one.count, abs=0.1)
    assert all(bar.kept + bar.dropped <= 120.02 for bar in drawn.bars)


def test_rejected_images_are_shown_only_while_they_are_what_they_were(dataset, tmp_path):
    photos = tmp_path / "photos"
    assert report(dataset, tmp_path)[0]["rejects"] == SHARDS
    (photos / "another.png").write_bytes(encode_png(picture(1)))
    made, text = report(dataset, tmp_path)
    assert made["rejects"] == 0
    assert "give <code>--images FOLDER</code>" in text
    assert report(dataset, tmp_path, images=photos)[0]["rejects"] == SHARDS


@pytest.mark.parametrize("recipe", ["[]", "{", '{"recipe": {"images": 3, "part": []}}', "null"])
def test_a_recipe_that_says_nothing_costs_no_page(recipe, dataset, tmp_path):
    (dataset / "recipe.json").write_text(recipe)
    made, text = report(dataset, tmp_path)
    assert made["rejects"] == 0
    assert ("no JSON" in text) == (recipe == "{")


def test_rejected_images_of_a_run_of_some_of_a_folder_are_shown(tmp_path):
    dataset, photos = make(tmp_path), tmp_path / "photos"
    judged = SHARDS * (EACH + 2)
    for more in range(judged):
        Image.fromarray(picture(more)).save(photos / f"more{more}.png")
    source = ImageSource.at(photos).at_most(judged)
    note = json.loads((dataset / "recipe.json").read_text())
    note["inputs"]["images"] = source.fingerprint()
    (dataset / "recipe.json").write_text(json.dumps(note))
    names = {source.name(i) for i in range(judged)} & {f"photo{i}.png" for i in range(SHARDS)}
    assert report(dataset, tmp_path)[0]["rejects"] == len(names) > 0


def test_only_some_rejects_are_kept_whatever_their_number(tmp_path):
    for shard in range(2):
        with ShardWriter(tmp_path, shard, recipe="r") as writer:
            for i in range(50):
                writer.drop(f"{shard}-{i}.png", "blurry")
    made, text = report(tmp_path, tmp_path)
    assert made["samples"] == 0
    assert "No sample was kept" in text
    names = re.findall(r'class="key">(\d-\d+)\.png', text)
    assert len(names) == 12
    assert {name[0] for name in names} == {"0", "1"}


def test_no_more_than_a_few_sidecars_are_held(dataset, tmp_path, monkeypatch):
    read, held = datasets.read_sidecar, []

    def watched(store, name):
        held.append(name)
        return read(store, name)

    monkeypatch.setattr(datasets, "read_sidecar", watched)
    monkeypatch.setattr(contents, "PARALLEL_READS", 2)
    seen = []
    contents.Contents.of(dataset, lambda done, total: seen.append((done, len(held), total)))
    assert [(done, total) for done, _, total in seen] == [(1, 3), (2, 3), (3, 3)]
    assert all(reads - done < 2 for done, reads, _ in seen)


def cut_tar(folder):
    tar = folder / "part-000001.tar"
    tar.write_bytes(tar.read_bytes()[:9000])


def alter_picture(folder):
    tar = folder / "part-000000.tar"
    data = bytearray(tar.read_bytes())
    data[700:720] = bytes(20)
    tar.write_bytes(data)


def quarantine(folder):
    rows = [{"shard": 7, "attempts": 3, "error": HOSTILE, "traceback": ""}, 1, {"shard": "x"}]
    (folder / "quarantine.json").write_text(json.dumps(rows))


FAULTS = {
    "broken sidecar": lambda folder: (folder / "part-000001.json").write_text("{}"),
    "missing tar": lambda folder: (folder / "part-000001.tar").unlink(),
    "9,000 bytes instead of": cut_tar,
    "no sidecar: unfinished": lambda folder: (folder / "part-000001.json").unlink(),
    "3 shards below 6 are missing": lambda folder: (folder / "part-000006.tar").write_text(""),
    "made by another recipe": lambda folder: (folder / "part-000001.json").write_text(
        (folder / "part-000001.json").read_text().replace("r" * 64, "s" * 64)
    ),
    "given up after 3 attempts": quarantine,
    "no JSON": lambda folder: (folder / "quarantine.json").write_text("{"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named_and_stop_no_report(fault, dataset, tmp_path):
    assert report(dataset, tmp_path)[0]["faults"] == 0
    FAULTS[fault](dataset)
    made, text = report(dataset, tmp_path)
    assert made["faults"] >= 1
    assert fault in text


def test_a_sample_that_cannot_be_read_says_so_in_its_place(dataset, tmp_path):
    alter_picture(dataset)
    made, text = report(dataset, tmp_path)
    assert made["samples"] == SHARDS * EACH
    (said,) = re.findall(r'class="absent">(.*?)</span>', text.partition('id="rejects"')[0])
    assert "000000000" in said


def test_mistakes_are_named_before_any_work(dataset, tmp_path):
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "file").write_text("")
    for file, message in (
        (dataset / "recipe.json", "does not end in .html"),
        (tmp_path / "folder.html", "is a folder"),
        (tmp_path / "file" / "x.html", "is a file; give a folder"),
    ):
        with pytest.raises(UserError, match=message):
            write_report(dataset, file)
    for wanted in (0, 1001):
        with pytest.raises(UserError, match="give 1 to 1000"):
            write_report(dataset, tmp_path / "x.html", samples=wanted)
    with pytest.raises(UserError, match="no finished shard"):
        write_report(tmp_path / "photos", tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()


def test_the_command_writes_it_and_says_so(dataset, tmp_path):
    file = tmp_path / "r.html"
    made = json.loads(shards("report", dataset, "--out", file, "--json").stdout)
    assert made["bytes"] == file.stat().st_size
    assert "24 samples" in shards("report", dataset, "--out", file).stdout
    assert ".html" in shards("report", dataset, "--out", tmp_path / "r.pdf", code=2).stderr


def test_a_bucket_is_shown_like_a_folder(s3, tmp_path):
    with ShardWriter(s3, 0, recipe="r" * 64) as writer:
        writer.extend(map(sample, range(3)))
    made, text = report(s3, tmp_path)
    assert made["samples"] == 3
    assert len(Page(text).of("img", "src")) == 3


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not find_browser():
        pytest.skip("no Chromium or Chrome is installed")
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


VISIBLE = "[...document.querySelectorAll('.sheet > li:not([hidden]) .key')].map(e => e.textContent)"
OPENED = "document.querySelector('article:target .key')?.textContent ?? ''"


@pytest.fixture(scope="module")
def url(browser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    write_report(make(folder), folder / "report.html")
    return (folder / "report.html").as_uri()


def keys(numbers):
    return [sample(i).key for i in numbers]


def test_a_browser_shows_every_picture_and_asks_for_nothing(url, browser):
    browser.open(url)
    browser.wait("[...document.images].every(image => image.complete)")
    assert browser.ask("document.images.length") == SHARDS * EACH + SHARDS
    assert browser.ask("[...document.images].every(image => image.naturalWidth === 60)")
    assert browser.ask(VISIBLE) == keys(range(24))
    assert browser.log == []


def test_a_browser_runs_nothing_that_came_with_the_data(url, browser):
    browser.open(f"{url}#s5")
    assert browser.ask("document.querySelector('article:target pre').textContent") == HOSTILE
    assert browser.ask("document.querySelectorAll('b, i, u, [onerror]').length") == 0
    assert browser.log == []
    # The policy itself: were something not escaped, it would still not run, and be seen here.
    browser.ask("""document.body.insertAdjacentHTML('beforeend',
        '<img src=http://127.0.0.1:9/ onerror="alert(1)">')""")
    browser.wait("document.images.length === 28")
    assert any("violates" in str(entry) for entry in browser.log)
    assert "dialog" not in browser.log


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("language=zh", [i for i in range(24) if i % 2 and i != 5]),
        ("shard=1", range(8, 16)),
        ("from=11", [i for i in range(24) if i % 4 == 3]),
        ("to=5", [i for i in range(24) if i % 4 == 0]),
        ("q=STRASSE", []),
        ("q=WORD1+STRAẞE", range(10, 20)),
        ("q=word03", [3]),
        ("language=zh&shard=0&q=word", [1, 3, 7]),
        ("all", range(24)),
        ("%E0%A4=&=&q", range(24)),
    ],
)
def test_the_address_filters(address, shown, url, browser):
    browser.open(f"{url}#{address}")
    assert browser.ask(VISIBLE) == keys(shown)
    count = browser.ask("document.forms.filter.elements.count.value")
    assert count == ("24 shown" if len(shown) == 24 else f"{len(shown)} of 24 shown")


def test_typing_filters_and_the_address_follows(url, browser):
    browser.open(url)
    browser.press("/")
    for letter in "word04":
        browser.press(letter)
    assert browser.ask(VISIBLE) == keys([4])
    assert browser.ask("location.hash") == "#q=word04"
    browser.ask("document.querySelector('[name=clear]').click()")
    browser.wait("location.hash === '#all'")
    assert browser.ask(VISIBLE) == keys(range(24))


def test_keys_walk_through_what_the_filter_left(url, browser):
    browser.open(f"{url}#language=zh&shard=0")
    browser.ask("document.querySelector('.sheet > li:not([hidden]) a').click()")
    browser.wait(f"({OPENED}) === '000000001'")
    browser.wait("document.activeElement.className === 'close'")
    assert browser.ask("document.querySelector('header').inert")
    for key, then in (
        ("ArrowRight", "000000003"),
        ("ArrowRight", "000000007"),
        ("ArrowRight", "000000001"),
        ("ArrowLeft", "000000007"),
    ):
        browser.press(key)
        browser.wait(f"({OPENED}) === '{then}'")
    browser.press("Escape")
    browser.wait("!document.querySelector('header').inert")
    assert browser.ask("location.hash") == "#language=zh&shard=0"
    assert browser.ask(VISIBLE) == keys([1, 3, 7])


def test_closing_a_sample_leads_back_to_where_one_was(url, browser):
    browser.view(400, 500)
    browser.open(url)
    browser.ask("scrollTo(0, 900)")
    browser.ask("document.querySelector('#s9 a').click()")
    browser.wait("document.querySelector('header').inert")
    browser.press("Escape")
    browser.wait("!document.querySelector('header').inert")
    assert browser.ask("scrollY") == 900
    assert browser.ask("document.activeElement.getAttribute('href')") == "#s9"


def test_an_address_of_a_section_leads_there(url, browser):
    browser.open(f"{url}#provenance")
    browser.wait("scrollY > 0")
    assert browser.ask("location.hash") == "#provenance"
    assert browser.ask(VISIBLE) == keys(range(24))


def test_a_link_to_a_language_filters_by_it(url, browser):
    browser.open(url)
    browser.ask("document.querySelector('.tally a[href*=script]').click()")
    browser.wait("document.querySelectorAll('.sheet > li:not([hidden])').length < 24")
    assert browser.ask(VISIBLE) == keys([5])


@pytest.mark.parametrize("width", [320, 400, 1280])
def test_nothing_is_wider_than_the_screen(width, url, browser):
    browser.view(width, 800)
    for address in ("", "#s5"):
        browser.open(url + address)
        assert browser.ask("document.documentElement.scrollWidth <= innerWidth")


def test_without_scripts_the_page_is_still_one(url, browser):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(f"{url}#s3")
        assert browser.ask("document.forms.filter.hidden")
        assert browser.ask("getComputedStyle(document.forms.filter).display") == "none"
        assert browser.ask(OPENED) == "000000003"
        assert browser.ask("document.querySelector('article:target pre').offsetHeight > 0")
        assert browser.ask(VISIBLE) == keys(range(24))
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)


def test_dark_rooms_get_a_dark_page(url, browser):
    background = "getComputedStyle(document.body).backgroundColor"
    found = []
    for scheme in ("light", "dark"):
        browser.view(800, 600, scheme=scheme)
        browser.open(url)
        found.append(sum(map(int, re.findall(r"\d+", browser.ask(background))[:3])) / 3)
    assert found[0] > 200
    assert found[1] < 60
