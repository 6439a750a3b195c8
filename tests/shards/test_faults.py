"""Killed, raced and damaged runs end as an undisturbed one does; `benchmarks/faults.py` repeats."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.faults import DAMAGES, MOMENTS, RECIPE, Job, ended, failing_store, outcome
from shards import ShardError, ShardWriter
from shards.dataset import Dataset
from tests.conftest import make_sample

NOTHING = {"lost": 0, "doubled": 0, "silent": 0, "left": 0}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    job = Job(tmp_path_factory.mktemp("faults") / "whole")
    assert job.finish() == 1
    return job


@pytest.fixture(scope="module")
def expected(whole):
    return whole.sums()


@pytest.mark.slow
@pytest.mark.parametrize("fault", MOMENTS)
def test_the_same_command_ends_an_interrupted_run(fault, expected, tmp_path):
    job = Job(tmp_path / "job")
    MOMENTS[fault](job, np.random.default_rng(len(fault)))
    assert outcome(job, expected, repair=False) == NOTHING


@pytest.mark.slow
@pytest.mark.parametrize("fault", DAMAGES)
def test_repair_and_the_same_command_mend_what_was_damaged(fault, whole, expected, tmp_path):
    job = Job(tmp_path / "job")
    shutil.copytree(whole.folder, job.folder)
    DAMAGES[fault](job, np.random.default_rng(len(fault)))
    assert outcome(job, expected, repair=True) == NOTHING


@pytest.mark.slow
def test_an_object_store_that_fails_now_and_then_loses_nothing(expected, tmp_path):
    with failing_store(seed=1) as (bucket, store):
        job = Job(tmp_path / "job", f"{bucket}/out")
        ended(job.start())
        assert outcome(job, expected, repair=False) == NOTHING
        assert store.failed


def may_mount():
    asked = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return shutil.which("unshare") and not subprocess.run(asked, capture_output=True).returncode


@pytest.mark.slow
@pytest.mark.skipif(not may_mount(), reason="a full disk needs a mount of its own")
def test_full_disk_is_one_line_and_a_rerun_with_space_finishes(expected, tmp_path):
    recipe, disk, kept = tmp_path / "pages.toml", tmp_path / "disk", tmp_path / "kept"
    recipe.write_text(RECIPE)
    disk.mkdir()
    render = f"{sys.executable} -m pipelines.render {recipe} --out {disk}/out --engine inline"
    script = (
        f"mount -t tmpfs -o size=4m tmpfs {disk}; {render}; echo code $?; ls -A {disk}/out >&2;"
        f"mount -o remount,size=1g {disk}; {render} && cp -r {disk}/out {kept}"
    )
    told = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True)
    assert told.stdout.startswith("code 2\n")
    assert "error: the disk is full" in told.stderr
    assert ".tmp" not in told.stderr.replace("progress", "")
    assert {sidecar.shard: sidecar.sha256 for sidecar in Dataset(kept).sidecars()} == expected


def write(folder, seed=0):
    with ShardWriter(folder, 0, recipe="r") as writer:
        writer.write(make_sample(seed))
    return (folder / "part-000000.tar").read_bytes()


def test_the_second_of_two_writers_changes_nothing(tmp_path):
    first = write(tmp_path)
    before = (tmp_path / "part-000000.tar").stat().st_ino
    assert write(tmp_path) == first
    assert (tmp_path / "part-000000.tar").stat().st_ino == before


def test_a_second_writer_with_other_bytes_is_refused_and_the_first_stays(tmp_path):
    first = write(tmp_path)
    with pytest.raises(ShardError, match="two versions of fonts or libraries"):
        write(tmp_path, seed=1)
    assert (tmp_path / "part-000000.tar").read_bytes() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "part-000000.json",
        "part-000000.tar",
    ]


def test_a_sidecar_that_appears_while_the_tar_is_put_in_place_is_kept(tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    write(other, seed=1)
    monkeypatch.setattr(
        "shards.store.Folder.put",
        lambda store, *_: shutil.copy(other / "part-000000.json", store.path / "part-000000.json"),
    )
    with pytest.raises(ShardError, match="written meanwhile"):
        write(tmp_path, seed=0)
    assert list(Dataset(tmp_path).sidecars()) == list(Dataset(other).sidecars())


def test_a_sidecar_whose_tar_is_gone_or_short_is_not_finished(shard_folder):
    assert [summary.shard for summary in Dataset(shard_folder).whole()] == [0, 1]
    (shard_folder / "part-000000.tar").unlink()
    os.truncate(shard_folder / "part-000001.tar", 100)
    dataset = Dataset(shard_folder)
    assert list(dataset.whole()) == []
    assert [dataset.damage(summary).kind for summary in dataset.summaries()] == ["tar", "size"]
