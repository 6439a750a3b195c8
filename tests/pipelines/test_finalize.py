"""The manifest says what lies there, or is not written."""

import json
import subprocess
import sys

import braceexpand
import pytest

from pipelines.engine.jobs import RenderJob
from pipelines.engine.progress import follow
from pipelines.engine.run_options import RunOptions
from pipelines.engine.workers import Run
from pipelines.finalize import describe_dataset
from shards import UserError
from tests.command import mistake, nonpareil
from tests.pipelines.conftest import INLINE, SMALL_PAGES


@pytest.fixture
def out(job, tmp_path):
    follow("render", job, tmp_path / "out", INLINE)
    return tmp_path / "out"


def expanded(urls):
    return [name for url in urls for name in braceexpand.braceexpand(url)]


def test_the_manifest_describes_the_shards_and_webdataset_opens_them(out):
    done = nonpareil("finalize", out, "--json")
    first = (out / "dataset.json").read_bytes()
    held = json.loads(first)
    assert json.loads(done.stdout)["samples"] == held["samples"] == 6
    assert held["urls"] == ["part-{000000..000002}.tar"]
    assert expanded(held["urls"]) == [shard["tar"] for shard in held["shards"]]
    assert held["bytes"] == sum((out / shard["tar"]).stat().st_size for shard in held["shards"])
    assert sum(held["languages"].values()) == 6
    assert held["recipe"] == json.loads((out / "recipe.json").read_text())["digest"]
    assert all(len(found) == 1 for found in held["versions"].values())
    # In a process of its own: webdataset leaves its files open.
    code = (
        "import sys, webdataset\n"
        "for sample in webdataset.WebDataset(sys.argv[1], shardshuffle=False):\n"
        "    print(sample['__key__'])\n"
    )
    command = [sys.executable, "-c", code, f"{out}/{held['urls'][0]}"]
    read = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert read == [f"{i:09d}" for i in range(6)]
    nonpareil("finalize", out)
    assert (out / "dataset.json").read_bytes() == first


def test_a_run_that_makes_a_shard_removes_the_manifest(out, job):
    nonpareil("finalize", out)
    first = (out / "dataset.json").read_bytes()
    list(Run(job, out, INLINE))  # nothing to do
    assert (out / "dataset.json").exists()
    list(Run(job, out, RunOptions("inline", only=[1])))
    assert not (out / "dataset.json").exists()
    nonpareil("finalize", out)
    assert (out / "dataset.json").read_bytes() == first


def test_missing_shards_are_refused_unless_allowed(tmp_path):
    job = RenderJob.model_validate(SMALL_PAGES | {"shards": 6})
    for only in ([0], [1, 3]):
        follow("render", job, tmp_path, RunOptions("inline", only=only))
    assert "has 3 of 6 shards (missing 2, 4-5)" in mistake("finalize", tmp_path)
    assert not (tmp_path / "dataset.json").exists()
    nonpareil("finalize", tmp_path, "--allow-missing")
    held = json.loads((tmp_path / "dataset.json").read_text())
    assert held["missing"] == [2, 4, 5]
    assert held["urls"] == ["part-{000000..000001}.tar", "part-000003.tar"]


def test_given_up_shards_are_named(out):
    (out / "part-000001.json").unlink()
    failure = [{"shard": 1, "attempts": 3, "error": "x", "traceback": ""}]
    (out / "quarantine.json").write_text(json.dumps(failure))
    with pytest.raises(UserError, match=r"missing 1; 1 in quarantine.json"):
        describe_dataset(out)


def test_broken_shards_are_refused_in_any_case(out):
    (out / "part-000002.tar").write_bytes(b"short")
    with pytest.raises(UserError, match=r"part-000002.tar is missing or cut short"):
        describe_dataset(out, allow_missing=True)


def test_other_folders_are_one_line(tmp_path):
    assert "is not a folder" in mistake("finalize", tmp_path / "nowhere")
    assert "holds no recipe.json" in mistake("finalize", tmp_path)
