"""What a shard of a job holds."""

import json

import numpy as np
import pytest

from pipelines.engine.estimate import estimate
from pipelines.engine.jobs import FilterJob, RenderJob
from pipelines.engine.run_options import RunOptions
from pipelines.engine.workers import Run
from render.text.scripts import ASCII
from shards import ShardReader, UserError, encode_png
from shards.boxes import draw_boxes
from shards.dataset import Dataset
from shards.inspect.check import faults
from shards.store import open_store
from tests.conftest import picture
from tests.render.pages import font_file
from vae.data.em import em_map


def test_of_a_large_image_a_piece_is_kept_as_it_is_and_a_small_one_whole(tmp_path):
    images = {"large": picture(1, 300, 700), "long": picture(2, 100, 300), "small": picture(3)}
    for folder in ("images", "out"):
        (tmp_path / folder).mkdir()
    for name, pixels in images.items():
        (tmp_path / f"images/{name}.png").write_bytes(encode_png(pixels))
    job = FilterJob.model_validate(
        {
            "images": tmp_path / "images",
            "piece": 256,
            "filter": [{"kind": "resolution", "minimum": 8}],
        }
    )
    job.make_shard(0, open_store(tmp_path / "out"))
    large, long, small = ShardReader(tmp_path / "out")
    for sample, name, size in ((large, "large", (256, 256)), (long, "long", (100, 256))):
        left, top = sample.meta["piece"]
        height, width = size
        assert (sample.meta["height"], sample.meta["width"]) == sample.pixels().shape[:2] == size
        assert np.array_equal(
            sample.pixels(), images[name][top : top + height, left : left + width]
        )
    assert small.image == (tmp_path / "images/small.png").read_bytes()
    assert "piece" not in small.meta


SPELLINGS = ["{}/", "{}/../images", "file://{}", "~/images", "images"]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_data_are_what_they_hold_wherever_and_however_they_are_named(
    tmp_path, monkeypatch, spelling
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.png").write_bytes(encode_png(picture(1)))

    def run(where):
        filters = [{"kind": "resolution", "minimum": 8}]
        job = FilterJob.model_validate({"images": where, "filter": filters})
        list(Run(job, tmp_path / "out", RunOptions("inline")))
        return job, json.loads((tmp_path / "out/recipe.json").read_text())

    _, first = run(images)
    job, held = run(spelling.format(images))
    assert (held["digest"], held["recipe"]) == (first["digest"], first["recipe"])
    assert job.digest == held["digest"]
    images.rename(tmp_path / "moved")
    _, held = run("./moved")
    assert held["places"] == {"images": str(tmp_path / "moved")}
    assert held["recipe"]["images"] is None
    (tmp_path / "moved/b.png").write_bytes(b"other")
    with pytest.raises(UserError, match=r"another recipe \(inputs.images: "):
        run(tmp_path / "moved")
    old = {"kind": "FilterJob", "recipe": {"images": str(images)}, "inputs": {}, "digest": "0"}
    (tmp_path / "out/recipe.json").write_text(json.dumps(old))
    with pytest.raises(UserError, match="by an older version, which took paths for settings"):
        run(tmp_path / "moved")


@pytest.mark.parametrize("key", ["fonts", "corpus", "photographs"])
def test_a_relative_place_is_refused_on_a_cluster_before_anything_starts(tmp_path, key):
    job = RenderJob(render={key: "data/mine"})
    with pytest.raises(
        UserError, match=rf"^render\.{key} data/mine: with --engine ray give an abs"
    ):
        Run(job, tmp_path / "out", RunOptions("ray"))
    assert not (tmp_path / "out").exists()


def test_pages_depend_on_what_a_corpus_holds_and_not_on_where_it_lies(tmp_path):
    texts = [tmp_path / "one" / "a.txt", tmp_path / "two" / "a.txt"]
    for text in texts:
        text.parent.mkdir()
        text.write_text("Plain words of a text that fonts can draw. " * 20)
    page = {"width": 96, "height": 64, "size_px": [7, 12], "languages": {"en": 1}}
    jobs = [RenderJob(render={**page, "corpus": text.parent}) for text in texts]
    one, two = (job.identity() for job in jobs)
    assert one.pop("places") != two.pop("places")
    assert one == two
    assert set(one["inputs"]) == {"fonts", "corpus", "facts", "photographs"}
    assert jobs[0].digest == jobs[1].digest


def test_the_first_shard_of_pages_tells_what_the_material_holds_and_no_page_shows(tmp_path):
    for folder in ("fonts", "texts", "out"):
        (tmp_path / folder).mkdir()
    font_file(tmp_path / "fonts/good.ttf", ASCII)
    (tmp_path / "fonts/web.ttf").write_bytes(b"wOF2" + bytes(60))
    (tmp_path / "texts/a.txt").write_text("Plain ŵords, 漢字漢 and שלום.")
    (tmp_path / "texts/b.txt").write_bytes(b"caf\xe9")
    pages = {
        "languages": {"en": 1},
        "layouts": {"paragraph": 1},
        "flat_share": 1,
        "size_px": (8, 9),
    }
    pages |= {"embedded_fonts": False}
    pages |= {"fonts": tmp_path / "fonts", "corpus": tmp_path / "texts", "width": 64, "height": 64}
    job = RenderJob.model_validate({"shards": 2, "samples_per_shard": 1, "render": pages})
    characters = "characters of 7 kinds that no font draws"
    told = {
        characters: 8,
        "fonts: WOFF2, a font packed for the web; convert it to TTF or OTF": 1,
        "text: not UTF-8; save it as UTF-8": 1,
    }
    plan = estimate(job, tmp_path / "out")
    assert plan.skipped == told
    assert any(line.startswith("left out 10 (8 characters of 7") for line in plan.lines())
    list(Run(job, tmp_path / "out", RunOptions("inline")))
    dataset = Dataset(open_store(tmp_path / "out"))
    assert dataset.totals().skipped == told
    (first, second) = dataset.sidecars()
    names = {skip.reason: skip.names for skip in first.skipped}
    assert names[characters][0] == "漢 U+6F22"
    assert names["text: not UTF-8; save it as UTF-8"] == (str(tmp_path / "texts/b.txt"),)
    assert not second.skipped


def test_a_label_holds_as_much_as_was_asked_for(tmp_path):
    kinds = ("plan", "characters", "lines")
    made: dict[str, ShardReader] = {}
    for label in kinds:
        (tmp_path / label).mkdir()
        small = {"width": 96, "height": 64, "size_px": [7, 12], "warp_share": 0.5}
        settings = {"samples_per_shard": 8, "label": label, "render": small}
        RenderJob.model_validate(settings).make_shard(0, open_store(tmp_path / label))
        made[label] = ShardReader(tmp_path / label)
        assert list(faults(tmp_path / label, deep=True)) == []
    assert {sample.meta["warped"] for sample in made["plan"]} == {True, False}
    for whole, boxes, lines in zip(*made.values(), strict=True):
        assert whole.image == boxes.image == lines.image
        assert whole.meta.keys() - boxes.meta.keys() == {"plan"}
        assert boxes.meta.items() <= whole.meta.items()
        bare = [
            {k: v for k, v in line.items() if k != "characters"} for line in whole.meta["lines"]
        ]
        assert lines.meta == boxes.meta | ({} if whole.meta["warped"] else {"lines": bare})
        drawn = [em_map(sample.meta, 64, 96, "x") for sample in (whole, boxes, lines)]
        assert np.array_equal(drawn[0], drawn[1])
        assert np.array_equal(drawn[0], drawn[2])
        assert draw_boxes(lines).shape == (64, 96, 3)
