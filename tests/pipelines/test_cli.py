"""The command line, as a person and as a machine meets it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from shards import Dataset, encode_png
from tests.command import COLUMNS, mistake, nonpareil, run_module
from tests.conftest import picture

ROOT = Path(__file__).parent.parent.parent
VERBS = (
    *("quickstart", "render", "atlas", "fonts", "filter", "finalize", "preflight", "shards"),
    *("train", "replay", "evaluate", "export", "push", "report"),
)


def test_help_lists_every_verb_and_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from pipelines.cli import main\n"
        "sys.argv = ['nonpareil', '--help']\n"
        "try: main()\n"
        "finally: assert not {'torch', 'ray', 'cv2', 'rapidocr', 'PIL.Image'} & {*sys.modules}\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert all(f"\n  {verb} " in done.stdout for verb in VERBS)


@pytest.mark.parametrize("told", [None, "ACTIVE"])
def test_threads_wait_asleep_unless_the_user_says_otherwise(told):
    code = (
        "import pipelines, os, sys; print(os.environ['OMP_WAIT_POLICY'], "
        "os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    )
    waiting = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}
    environment = {name: value for name, value in os.environ.items() if name not in waiting}
    environment |= {} if told is None else {"OMP_WAIT_POLICY": told}
    command = [sys.executable, "-c", code]
    assert subprocess.check_output(command, text=True, cwd=ROOT, env=environment).split() == [
        told or "PASSIVE",
        "None" if told else "1000",
        "False",
    ]


@pytest.mark.parametrize("group", [(), ("shards",)])
def test_the_first_line_of_every_verb_is_shown_whole(group):
    _, listed = nonpareil(*group, "--help").stdout.split("\nCommands:\n")
    assert len(listed.splitlines()) >= 9
    assert "..." not in listed
    assert max(map(len, listed.splitlines())) <= COLUMNS


def test_the_two_reports_name_each_other():
    assert "nonpareil shards report" in nonpareil("report", "--help").stdout
    one_dataset = " ".join(nonpareil("shards", "report", "--help").stdout.split())
    assert "about a whole quickstart run, with training and scores, use nonpareil report" in (
        one_dataset
    )


def test_the_example_of_train_names_the_streams_of_its_recipe():
    from pipelines.recipe import load
    from vae import TrainSettings
    from vae.curriculum.stage import streams_of

    (command,) = re.findall(
        r"Example: (nonpareil train train_nano(?:.*\\\n)*.*)", nonpareil("train", "--help").stdout
    )
    stages = load(TrainSettings, "train_nano").stages
    assert {*re.findall(r"--stream (\w+)=", command)} == {*streams_of(stages)}


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "shards"])
def test_every_verb_has_an_example_and_runs_as_a_module(verb):
    said = nonpareil(verb, "--help").stdout
    assert "Example: nonpareil " + verb in said
    # A line of the shell stays one, so that it can be copied.
    for line in re.findall(r"Example: .*\n.+", said):
        assert "\\\n" in line
    assert f"Usage: python -m pipelines.{verb} " in run_module(f"pipelines.{verb}", "--help").stdout
    assert f"nonpareil {verb}" in (ROOT / "README.md").read_text()


def test_render_then_look(tmp_path):
    out = tmp_path / "pages"
    small = ("--set", "shards=1", "--set", "samples_per_shard=2", "--engine", "inline")
    done = nonpareil("render", "render_pages", "--out", out, *small, "--json")
    assert json.loads(done.stdout)["samples"] == 2
    nonpareil("shards", "verify", out)
    shown = nonpareil(
        "shards", "show", out, "000000001", "--boxes", "--out", tmp_path / "a.png", "--json"
    )
    assert json.loads(shown.stdout)["kind"] == "render"
    again = nonpareil("render", "render_pages", "--out", out, *small, "--json")
    assert json.loads(again.stdout)["samples_per_second"] == 0
    said = mistake("render", "render_pages", "--out", out, *small, "--set", "seed=1")
    assert "recipe.seed: 0 → 1" in said


def test_bad_folders_and_corpora_are_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank.txt").write_text(" \n\n ")
    out = tmp_path / "out"
    cases = {
        ("--images", tmp_path / "nowhere"): "is not a folder",
        ("--images", tmp_path / "empty"): "empty holds no .apng, .avif, .bmp, ",
        ("--corpus", tmp_path / "nowhere"): "nowhere",
        ("--corpus", tmp_path / "blank.txt"): "blank.txt",
        ("--set", "pages.shard=1"): "unknown key pages.shard; allowed: ",
    }
    for arguments, said in cases.items():
        assert said in mistake("quickstart", "--out", out, *arguments)
        assert not out.exists()


def test_one_unreadable_image_among_good_ones_is_counted(tmp_path):
    images = tmp_path / "\u3000a\\b\u202f\u200d\n'\"\"\"'''=\xa0"
    images.mkdir()
    (images / "good.png").write_bytes(encode_png(picture(0, 300, 300)))
    (images / "bad.png").write_bytes(b"\x89PNG broken")
    for name in ("good.json", "bad.json", "notes.txt"):
        (images / name).write_text("beside")
    only_size = ("--set", 'filter=[{kind="resolution", minimum=64}]', "--engine", "inline")
    arguments = ("filter", "filter_photos", "--images", images, "--out", tmp_path / "o", *only_size)
    summary = json.loads(nonpareil(*arguments, "--json").stdout)
    assert (summary["samples"], summary["dropped"]) == (1, {"unreadable": 1})
    assert summary["skipped"] == {".json": 2, ".txt": 1}
    again = nonpareil(*arguments).stdout
    assert (
        "1 dropped (unreadable 1), 1 unreadable, 3 left out (2 .json, 1 .txt), 0 samples/s" in again
    )
    (sidecar,) = Dataset(tmp_path / "o").sidecars()
    assert [(row.reason, row.names) for row in sidecar.skipped] == [
        (".json", ("bad.json", "good.json")),
        (".txt", ("notes.txt",)),
    ]
    nonpareil("finalize", tmp_path / "o")
    assert json.loads((tmp_path / "o/dataset.json").read_text())["skipped"] == summary["skipped"]


def test_wrong_words_are_one_line(tmp_path):
    assert "does not ship" in mistake("render", "nope", "--out", tmp_path / "o")
    assert "not one of" in mistake(
        "render", "render_pages", "--out", tmp_path / "o", "--engine", "spark"
    )
    for setting, why in {
        "table.columns=1": "greater than or equal to 2",
        "statement.years=[4, 2]": "must be [least, most]",
        "tabel.columns=3": "did you mean table?",
        "table.rows=3": "allowed: body_size, caption, columns,",
    }.items():
        override = ("--set", f"render.layout.{setting}")
        assert why in mistake("render", "render_pages", "--out", tmp_path / "o", *override)
    for verb, option in (("train", "--stream"), ("evaluate", "--data")):
        for pair in ("general", "=runs/photos", "general="):
            said = mistake(verb, "train_nano", option, pair, "--out", tmp_path / "o")
            assert said == f"error: {option} {pair}: write it as NAME=DIR or NAME=URL\n"
        said = mistake(verb, "x", option, "../x=b", "--out", tmp_path / "o")
        assert f"{option} ../x=b: '../x' is no name for data; use letters" in said
    assert "quickstart run" in mistake("report", tmp_path)


@pytest.mark.parametrize("name", ["filters.py", "shards/__init__.py"])
def test_a_file_of_the_users_in_our_place_is_named(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    command = [sys.executable, "-m", "pipelines.render", "--help"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"would be imported from {tmp_path / name}, not from" in done.stderr
    assert done.stderr.count("\n") == 1
