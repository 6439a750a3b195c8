"""Shards are the same bytes every time, whole or absent, and readable by others."""

import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest

from shards import Sample, ShardReader, ShardWriter, UserError
from shards.inspect.check import faults
from tests.conftest import make_sample, picture


def write(folder: Path, shard: int = 0, n: int = 3) -> bytes:
    folder.mkdir(exist_ok=True)
    with ShardWriter(folder, shard, recipe="r") as writer:
        writer.extend(make_sample(i) for i in range(n))
    return (folder / f"part-{shard:06d}.tar").read_bytes()


def test_same_samples_give_the_same_bytes(tmp_path):
    assert write(tmp_path / "a") == write(tmp_path / "b")


def test_exception_leaves_nothing_behind(tmp_path):
    def broken():
        yield make_sample(0)
        raise RuntimeError

    with pytest.raises(RuntimeError), ShardWriter(tmp_path, 0, recipe="r") as writer:
        writer.extend(broken())
    assert list(tmp_path.iterdir()) == []


def test_sidecar_comes_last(tmp_path, monkeypatch):
    def crash(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shards.store.Folder.create", crash)
    with pytest.raises(OSError, match="No space"), ShardWriter(tmp_path, 0, recipe="r") as writer:
        writer.write(make_sample(0))
    assert not list(tmp_path.glob("*.json"))
    with pytest.raises(UserError, match="no finished shard"):
        ShardReader(tmp_path)


def test_full_disk_leaves_no_temporary_file(tmp_path):
    writer = ShardWriter(tmp_path, 0, recipe="r")
    writer._temporary.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught, writer:
        writer.write(make_sample(0))
    assert caught.value.filename == str(writer._temporary)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["", "a.b", "a/b"])
def test_key_that_webdataset_would_split_is_refused(tmp_path, key):
    with pytest.raises(UserError, match="key"), ShardWriter(tmp_path, 0, recipe="r") as writer:
        writer.write(Sample(key, b"", "png"))


@pytest.mark.parametrize("keys", [["a", "a"], ["a", "b", "a"]])
def test_a_key_given_twice_is_named(tmp_path, keys):
    with (
        pytest.raises(UserError, match=r"'a' is in part-000000.tar already; give every sample"),
        ShardWriter(tmp_path, 0, recipe="r") as writer,
    ):
        writer.extend(Sample(key, b"x", "png") for key in keys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "sample",
    [
        Sample("\udce9", b"x", "png"),
        Sample("a", b"x", "png", text="\ud800"),
        Sample("a", b"x", "png", meta={"set": {1}}),
        Sample("a", b"x", "png", meta={"big": 2**70}),
        Sample("a", b"x", "png", meta={"scores": {"sharp": float("nan")}}),
    ],
)
def test_what_no_tar_or_sidecar_holds_is_named_and_leaves_the_shard_as_it_was(tmp_path, sample):
    with ShardWriter(tmp_path, 0, recipe="r") as writer:
        with pytest.raises(UserError, match=r"^sample '.*' cannot be written: \S+") as caught:
            writer.write(sample)
        writer.write(make_sample(0))
    assert "\n" not in str(caught.value)
    with ShardReader(tmp_path) as reader:
        assert [sample.key for sample in reader] == [make_sample(0).key]
    assert list(faults(tmp_path)) == []


@pytest.mark.parametrize("key", ["k" * 96, "照" * 32])
def test_a_name_too_long_for_a_tar_is_named(tmp_path, key):
    with (
        pytest.raises(UserError, match=f"'{key}' gives a file name of 101 bytes.*shorten it by 1"),
        ShardWriter(tmp_path, 0, recipe="r") as writer,
    ):
        writer.write(Sample(key, b"x", "png", text="x", meta={"a": 1}))
    with ShardWriter(tmp_path, 0, recipe="r") as writer:
        writer.write(Sample(key[:-1], b"x", "png", text="x", meta={"a": 1}))
    with tarfile.open(tmp_path / "part-000000.tar") as archive:
        assert archive.getnames()[-1] == f"{key[:-1]}.json"


@pytest.mark.filterwarnings("ignore")
def test_plain_webdataset_reads_it(shard_folder):
    import webdataset

    urls = [str(path) for path in sorted(shard_folder.glob("*.tar"))]
    rows = list(webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8"))
    assert [row["__key__"] for row in rows] == [f"{i:09d}" for i in range(6)]
    assert [row["txt"] for row in rows] == [f"页 {i}" for i in range(6)]
    assert all(np.array_equal(row["png"], picture(i)) for i, row in enumerate(rows))


def test_gnu_tar_reads_it(shard_folder):
    tar = shard_folder / "part-000000.tar"
    names = subprocess.run(["tar", "tf", tar], check=True, capture_output=True, text=True).stdout
    assert names.split()[:3] == ["000000000.png", "000000000.txt", "000000000.json"]


def test_members_carry_no_time_and_no_owner(shard_folder):
    with tarfile.open(shard_folder / "part-000000.tar") as archive:
        assert {(member.mtime, member.uid, member.gid) for member in archive} == {(0, 0, 0)}
