"""What `nonpareil train` cannot do is told in one line, exit code 2, before anything is written."""

import json
import re
import sys

import pytest

from pipelines.cli import main
from shards import open_store
from shards.store.lock import Lock
from tests.vae.conftest import TINY, one_thread, write_shard  # noqa: F401

STAGE = {
    "name": "small",
    "samples": 8,
    "batch": 4,
    "micro": 1,
    "resolution": 16,
    "aspects": [1.0],
    "shares": {"general": 1.0, "synthetic": 1.0},
}
RECIPE = {
    "overrides": TINY,
    "skip_start": 1,
    "latent_batches": 1,
    "log_every": 1,
    "stages": [STAGE],
}


def toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(held)}" for key, held in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_shard(folder / "general", "photo", 4, (40, 50))
    write_shard(folder / "synthetic", "text", 4, (40, 40), seed=1)
    (folder / "empty").mkdir()
    write_shard(folder / "broken", "text", 2, (20, 20))
    (folder / "broken" / "part-000000.json").write_text("{")
    return folder


@pytest.fixture
def train(data, tmp_path, monkeypatch, capfd):
    """Run the command line here; return its exit code and what it said."""

    def run(*more, out=tmp_path / "out", streams=("general", "synthetic"), stage=(), **recipe):
        recipe = RECIPE | {"stages": [STAGE | dict(stage)]} | recipe
        path = tmp_path / "run.toml"
        path.write_text("".join(f"{key} = {toml(value)}\n" for key, value in recipe.items()))
        given = [f"--stream={name}={data / place}" for name, place in pairs(streams)]
        words = ["nonpareil", "train", path, *given, "--out", out, "--ranks=1", *more]
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        monkeypatch.chdir(tmp_path)
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, capfd.readouterr().err

    return run


def pairs(streams):
    return streams.items() if isinstance(streams, dict) else [(name, name) for name in streams]


BOTH = {"general": "general", "synthetic": "synthetic"}

CASES = {
    "a stream is missing": ({"streams": ["general"]}, "stages draw from synthetic"),
    "a stream is not there": ({"streams": BOTH | {"general": "none"}}, "none is not a folder"),
    "a stream is empty": ({"streams": BOTH | {"general": "empty"}}, "holds no finished shard"),
    "a stream is unreadable": ({"streams": BOTH | {"general": "broken"}}, "part-000000.json"),
    "no stage draws from a stream": (
        {"streams": [*BOTH, "empty"]},
        "no stage draws from empty; the stages draw from general, synthetic; leave",
    ),
    "gradients are not added up so": (
        {"more": ["--reduce", "all"]},
        "--reduce all: not one of exact, fast, shard",
    ),
    "a world does not divide": (
        {"more": ["--ranks", "3"]},
        "4 micro-batches cannot be shared by 3 ranks; use 1, 2 or 4",
    ),
    "a batch is no multiple of micro": ({"stage": {"micro": 3}}, "multiple of micro"),
    "a side is no multiple of f": ({"stage": {"resolution": 18}}, "18"),
    "crops are too small for lpips": (
        {"stage": {"resolution": 8}, "weights": {"l1": 1.0, "lpips": 1.0}},
        "too small for lpips, which needs 16",
    ),
    "the teacher is not there": (
        {"weights": {"l1": 1.0, "alignment": 0.5}, "alignment": {"teacher": "/none"}},
        "/none",
    ),
    "vgg is not there": (
        {"weights": {"l1": 1.0, "lpips": 1.0}, "vgg": "/none.pth", "stage": {"resolution": 32}},
        "/none.pth",
    ),
    "there is no GPU": ({"more": ["--device", "cuda"]}, "device=cuda: torch"),
    "ranks have no GPUs": ({"more": ["--device", "cuda", "--ranks", "2"]}, "device=cuda:1: torch"),
    "ranks cannot share a device": (
        {"more": ["--device", "cuda:1", "--ranks", "2"]},
        "several ranks cannot share it",
    ),
    "there is no such device": ({"more": ["--device", "tpu"]}, "choose cpu, cuda"),
    "no such engine": ({"more": ["--engine", "spark"]}, "not one of local, ray"),
    "no number of ranks": ({"more": ["--ranks", "two"]}, "give a number"),
    "no ranks": ({"more": ["--ranks", "0"]}, "at least 1"),
    "a range here": ({"more": ["--ranks", "1-2"]}, "a range is for --engine ray"),
    "a relative path on a cluster": (
        {"more": ["--engine", "ray"], "out": "runs/x"},
        "give an absolute path that every node sees",
    ),
    "a relative path in a recipe on a cluster": (
        {"more": ["--engine", "ray"], "vgg": "vgg.pth"},
        "vgg vgg.pth: with --engine ray give an absolute path",
    ),
    "a relative start on a cluster": (
        {"more": ["--engine", "ray"], "init": "runs/a"},
        "init runs/a: with --engine ray give an absolute path",
    ),
    "a recipe of before": ({"stage": {"steps": 4}}, "samples"),
    "no such store": ({"out": "ftp://host/run"}, "is not a store"),
    "no checkpoint to start from": ({"init": "/none"}, "/none"),
}


def listing(folder):
    return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))


@pytest.mark.skipif("sys.platform != 'linux'", reason="devices of other machines differ")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_bad_input_is_one_line_and_nothing_is_written(train, tmp_path, data, case):
    given, said = dict(case[0]), case[1]
    before = listing(data)
    code, error = train(*given.pop("more", ()), **given)
    assert code == 2, error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error
    assert [path.name for path in tmp_path.iterdir()] == ["run.toml"]
    assert listing(data) == before


def occupied(folder):
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (occupied, "is not empty"),
        (lambda out: out.write_text("mine"), "is a file"),
    ],
)
def test_an_output_that_is_not_ours_is_left_alone(train, tmp_path, prepare, said):
    prepare(tmp_path / "out")
    before = listing(tmp_path / "out")
    code, error = train()
    assert code == 2
    assert said in error
    assert error.count("\n") == 1
    assert listing(tmp_path / "out") == before


def test_an_output_of_another_run_or_in_use_is_left_alone(train, tmp_path):
    assert train()[0] == 0
    before = listing(tmp_path / "out")
    code, error = train(seed=1)
    assert (code, error.count("\n")) == (2, 1)
    assert "seed: 0 → 1" in error
    code, error = train(streams={"general": "general", "synthetic": "general"})
    assert (code, error.count("\n")) == (2, 1)
    assert "synthetic" in error
    assert listing(tmp_path / "out") == before
    with Lock(open_store(tmp_path / "out")):
        code, error = train()
    assert (code, error.count("\n")) == (2, 1)
    assert re.search("at work|in use", error)


def test_a_bucket_is_never_a_folder_called_s3(train, tmp_path, s3):
    out = f"{s3}/{tmp_path.name}"
    code, error = train(out=out)
    assert code == 0, error
    assert [path.name for path in tmp_path.iterdir()] == ["run.toml"]
    assert "step-000002" in open_store(out).names()
    assert "state.json" in open_store(f"{out}/step-000002").names()


def test_a_dry_run_says_what_a_plan_says_and_writes_nothing(train, tmp_path):
    assert train("--dry-run") == (0, "")
    assert not (tmp_path / "out").exists()
