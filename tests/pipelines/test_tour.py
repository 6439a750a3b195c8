"""The quickstart in a minute: every step for real, on less of everything."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from pipelines.engine.jobs import FilterJob, RenderJob
from pipelines.recipe import load, names
from pipelines.tour import Clock, Tour, _given, choose_streams
from shards import ImageSource, ShardWriter, UserError
from shards.dataset import Dataset
from shards.inspect.check import faults
from tests.command import mistake, nonpareil
from tests.conftest import make_sample
from vae import TrainSettings, load_model
from vae.curriculum.stage import check_world

KINDS = {"render": RenderJob, "filter": FilterJob, "train": TrainSettings, "quickstart": Tour}

LITTLE = [
    *("--set", "pages.shards=1", "--set", "pages.samples_per_shard=4"),
    *("--set", "documents.at_most=4"),
    *("--set", "plain.shards=1", "--set", "plain.samples_per_shard=2"),
    *("--set", "unseen_plain.samples_per_shard=2", "--set", "unseen_pages.samples_per_shard=2"),
    *("--set", "scoring.images=2", "--set", "train.skip_start=2"),
    *("--set", "train.stages.0.samples=4", "--set", "train.stages.0.batch=2"),
    *("--set", "train.stages.0.micro=1"),
    *("--set", "train.stages.1.samples=4", "--set", "train.stages.1.batch=2"),
    *("--set", "train.stages.1.micro=1"),
    *("--set", "train.stages.2.samples=4", "--set", "train.stages.2.batch=2"),
    *("--set", "train.stages.2.micro=1"),
]


@pytest.mark.parametrize("name", names())
def test_every_recipe_that_ships_can_be_loaded(name):
    load(KINDS[name.partition("_")[0]], name)


def test_the_quickstart_trains_as_the_nano_recipe_does_in_fewer_samples():
    recipe, brief = load(TrainSettings, "train_nano"), load(Tour, "quickstart").train
    for name in ("preset", "overrides", "weights", "skip_rate"):
        assert getattr(recipe, name) == getattr(brief, name)
    for long, short in zip(recipe.stages, brief.stages, strict=True):
        assert short.samples < long.samples / 4
        for name in ("name", "batch", "micro", "resolution", "aspects"):
            assert getattr(long, name) == getattr(short, name)


def test_what_is_scored_was_not_trained_on():
    tour = load(Tour, "quickstart")
    trained, scored = [tour.pages, tour.plain], [tour.unseen_pages, tour.unseen_plain]
    assert {job.seed for job in trained}.isdisjoint(job.seed for job in scored)
    assert {job.part for job in (tour.photos, tour.documents)} == {"train"}
    assert tour.unseen_photos.part == tour.unseen_pages.render.part == "heldout"
    assert {job.render.part for job in trained} == {"train"}


@pytest.fixture
def images(tmp_path):
    """A folder of photographs, a scanned page, and a blurred image of hostile name."""
    folder = tmp_path / "images"
    folder.mkdir()
    source = ImageSource.embedded(documents=True)
    for name in ("astronaut.png", "coffee.png", "page.png", "rocket.jpg", "china.jpg"):
        (file,) = (place.file for place in source.places if place.file.name == name)
        shutil.copy(file, folder)
    (blurred,) = (p.file for p in source.places if p.file.name == "clock_motion.png")
    shutil.copy(blurred, folder / "<img src=x onerror=alert(1)>.png")
    return folder


@pytest.mark.parametrize("dense", [True, False])
def test_plain_pages_stand_in_where_no_image_is_rich_in_text(tmp_path, dense, capsys):
    for name, kept in (("photos", True), ("documents", dense)):
        (tmp_path / name).mkdir()
        with ShardWriter(tmp_path / name, 0, recipe="r") as writer:
            writer.extend([make_sample(0)] if kept else [])
    made = []
    streams = choose_streams(tmp_path, made.append)
    assert streams["real"].name == ("documents" if dense else "plain")
    assert made == ([] if dense else ["plain"])
    assert ("no image here is rich in text" in capsys.readouterr().out) is not dense


def test_nothing_to_learn_from_is_said(tmp_path):
    (tmp_path / "photos").mkdir()
    with ShardWriter(tmp_path / "photos", 0, recipe="r"):
        pass
    with pytest.raises(UserError, match="no image was kept"):
        choose_streams(tmp_path, lambda name: None)


@pytest.mark.slow
def test_the_whole_path_and_again(tmp_path, images):
    out, given = tmp_path / "run", ("--images", images)
    done = nonpareil("quickstart", "--out", out, *given, *LITTLE)
    assert "Images the model never saw" in done.stdout
    assert "documents: a sample of 4 of 5 images" in done.stdout
    judged = Dataset(out / "documents").totals()
    assert judged.samples + judged.dropped.total() == 4
    for name in ("pages", "photos", "documents", "unseen_pages", "unseen_plain", "unseen_photos"):
        assert list(faults(out / name)) == []
    assert load_model(out / "train").settings.factor == 16
    rows = json.loads((out / "scores/scores.json").read_text())
    assert {(row["data"], row["codec"]) for row in rows} == {
        (f"unseen_{data}", codec)
        for data in ("plain", "pages", "photos")
        for codec in ("model f16c64", "DCT f16c64")
    }
    page = (out / "report.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    assert "rejected as blurry" in page
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;.png" in page

    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")}
    weights = {path: path.read_bytes() for path in out.rglob("*.safetensors")}
    # In a process of its own, which remembers nothing.
    again = [sys.executable, "-m", "pipelines.cli", "quickstart", "--out", out, *given, *LITTLE]
    subprocess.run(again, check=True, capture_output=True)
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")}
    assert weights == {path: path.read_bytes() for path in out.rglob("*.safetensors")}
    said = mistake("quickstart", "--out", out, *given, *LITTLE, "--set", "train.seed=9")
    assert "recipe.train.seed: 0 → 9" in said


def test_folders_reach_every_job_as_they_are_called(tmp_path):
    given = tmp_path / "\u3000a\\b\n'\"\u202f"
    tour = load(Tour, "quickstart", ["pages.render.corpus=mine"], _given(given, given))
    assert tour.photos.images == tour.documents.images == tour.unseen_photos.images == given
    assert tour.plain.render.photographs == tour.plain.render.corpus == given
    assert str(tour.pages.render.corpus) == "mine"


def test_the_clock_adds_up_interrupted_steps(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            Clock(tmp_path / "times.json").run("train", interrupt)
    assert Clock(tmp_path / "times.json").seconds["train"] > 0


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["train_f16c64", "train_f32c128"])
def test_the_course_of_the_report_is_shared_by_8_to_256_ranks(name):
    settings = load(TrainSettings, name)
    for world in (8, 16, 32, 64, 128, 256):
        check_world(settings.stages, world)
    assert [stage.resolution for stage in settings.stages] == [256, 512, 1024, 2048]
    first = load(TrainSettings, "train_f16c64")
    assert settings.model_copy(update={"preset": first.preset}) == first
