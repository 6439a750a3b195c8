"""The manifest says what lies there, or is not written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import braceexpand
import pytest

from pipelines.engine.jobs import RenderJob
from pipelines.engine.progress import follow
from pipelines.engine.run_options import RunOptions
from pipelines.engine.workers import Run
from pipelines.finalize import describe_dataset
from shards import UserError, open_store
from tests.command import mistake, nonpareil
from tests.pipelines.conftest import INLINE, SMALL_PAGES

ROOT = Path(__file__).parents[2]


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
    assert expanded(held["urls"]) == [shard["url"] for shard in held["shardlist"]]
    assert held["bytes"] == sum((out / shard["url"]).stat().st_size for shard in held["shardlist"])
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


def test_every_reader_opens_what_was_finalized(out, tmp_path):
    nonpareil("finalize", out)
    script = """
import sys
import datasets, wids
folder, cache = sys.argv[1:]
for row in datasets.load_dataset(folder, split="train", cache_dir=cache):
    print(row["__key__"], row["png"].size, row["json"]["width"], row["txt"] is not None)
found = wids.ShardListDataset(f"{folder}/dataset.json", cache_dir=cache, keep=True)
print(len(found), found[5]["__key__"])
"""
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(out), str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")},
    ).stdout.splitlines()
    assert told == [*(f"{i:09d} (96, 64) 96 True" for i in range(6)), "6 000000005"]


def test_a_card_of_somebody_else_stays(out):
    nonpareil("finalize", out)
    ours = (out / "README.md").read_text()
    assert "# 6 samples in 3 shards" in ours
    assert nonpareil("finalize", out).stdout.count("\n") == 1
    assert (out / "README.md").read_text() == ours
    (out / "README.md").write_text("mine")
    said = nonpareil("finalize", out).stdout
    assert (
        said.splitlines()[-1] == f"{out}/README.md was written by somebody else and stays as it is"
    )
    assert (out / "README.md").read_text() == "mine"


def test_webdataset_opens_what_finalize_says_of_a_bucket(out, s3, tmp_path):
    """By the one command that its users have: here a small one that does what `aws` does."""
    url = f"{s3}/{tmp_path.name}"
    for path in out.iterdir():
        if path.is_file():
            open_store(url).replace(path.name, path.read_bytes())
    pattern = nonpareil("finalize", url).stdout.rpartition("; open ")[2].strip()
    assert pattern == f"pipe:aws s3 cp {url}/part-{{000000..000002}}.tar -"
    aws = tmp_path / "aws"
    aws.write_text(
        f"#!{sys.executable}\nimport sys\nfrom shards import open_store\n"
        "assert sys.argv[1:3] == ['s3', 'cp'] and sys.argv[4] == '-'\n"
        "place, _, name = sys.argv[3].rpartition('/')\n"
        "sys.stdout.buffer.write(open_store(place).read(name))\n"
    )
    aws.chmod(0o755)
    code = (
        "import sys, webdataset\n"
        "for sample in webdataset.WebDataset(sys.argv[1], shardshuffle=False):\n"
        "    print(sample['__key__'])\n"
    )
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, pattern]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout
    assert told.split() == [f"{i:09d}" for i in range(6)]


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
    with pytest.raises(UserError, match=r"part-000002\.tar: 5 bytes instead of"):
        describe_dataset(out, allow_missing=True)


def test_other_folders_are_one_line(tmp_path):
    assert "is not a folder" in mistake("finalize", tmp_path / "nowhere")
    assert "holds no recipe.json" in mistake("finalize", tmp_path)
