"""Our tars in the tools that people have, and theirs in ours."""

import io
import json
import os
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from shards import ShardReader, decode
from tests.conftest import make_sample, picture

pytestmark = pytest.mark.filterwarnings("ignore")


def tars(folder):
    return sorted(str(path) for path in folder.glob("*.tar"))


def test_webdataset_reads_ours(shard_folder):
    import webdataset

    found = list(webdataset.WebDataset(tars(shard_folder), shardshuffle=False))
    for i, sample in enumerate(found):
        ours = make_sample(i)
        assert (sample["__key__"], sample["png"]) == (ours.key, ours.image)
        assert sample["txt"].decode() == ours.text
        assert json.loads(sample["json"]) == ours.meta
    assert len(found) == 6
    decoded = webdataset.WebDataset(tars(shard_folder), shardshuffle=False).decode("rgb8")
    assert all(np.array_equal(sample["png"], picture(i)) for i, sample in enumerate(decoded))


def test_wids_reads_ours(shard_folder, tmp_path):
    import wids

    shards = [{"url": tar, "nsamples": 3} for tar in tars(shard_folder)]
    (tmp_path / "index.json").write_text(json.dumps({"wids_version": 1, "shardlist": shards}))
    found = wids.ShardListDataset(
        str(tmp_path / "index.json"), cache_dir=str(tmp_path), keep=True, transformations=[]
    )
    assert len(found) == 6
    for i in (5, 0, 3):
        assert found[i]["__key__"] == make_sample(i).key
        assert found[i][".png"].read() == make_sample(i).image
        assert json.loads(found[i][".json"].read()) == make_sample(i).meta


def test_hugging_face_datasets_reads_ours(shard_folder, tmp_path):
    script = """
import sys
from datasets import load_dataset
found = load_dataset("webdataset", data_files=sys.argv[2:], split="train", cache_dir=sys.argv[1])
for row in found:
    print(row["__key__"], row["txt"], row["png"].size, row["json"]["characters"])
"""
    told = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            script,
            str(tmp_path / "cache"),
            *tars(shard_folder),
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")},
    )
    assert told.stdout.splitlines() == [f"{i:09d} 页 {i} (60, 40) {5 + i}" for i in range(6)]


def test_gnu_tar_reads_ours(shard_folder, tmp_path):
    for tar in tars(shard_folder):
        subprocess.run(["tar", "-xf", tar, "-C", str(tmp_path)], check=True)
    for i in range(6):
        ours = make_sample(i)
        for ending, data in ours.files():
            assert (tmp_path / f"{ours.key}.{ending}").read_bytes() == data


def jpeg(i):
    buffer = io.BytesIO()
    Image.fromarray(picture(i)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def files(i):
    """What img2dataset writes for one image."""
    meta = {"caption": f"猫 {i}", "url": "http://x/", "key": f"{i:09d}", "width": 60, "exif": "{}"}
    return {"jpg": jpeg(i), "txt": f"猫 {i}".encode(), "json": json.dumps(meta).encode()}


def check(reader, prefix=""):
    assert len(reader) == 4
    for i, sample in enumerate(reader):
        theirs = files(i)
        assert sample.key == f"{prefix}{i:09d}"
        assert (sample.image, sample.format) == (theirs["jpg"], "jpg")
        assert (sample.text, sample.meta) == (f"猫 {i}", json.loads(theirs["json"]))
        assert np.array_equal(sample.pixels(), decode(theirs["jpg"], "x"))
        assert reader.find(sample.key) == i


def test_we_read_webdataset(tmp_path):
    """img2dataset writes through this class: 00000.tar, KEY.jpg, KEY.txt, KEY.json."""
    import webdataset

    for shard in range(2):
        with webdataset.TarWriter(str(tmp_path / f"{shard:05d}.tar")) as writer:
            for i in range(2 * shard, 2 * shard + 2):
                writer.write({"__key__": f"{i:09d}", **files(i)})
    with ShardReader.foreign(tmp_path) as reader:
        check(reader)


@pytest.mark.parametrize("layout", ["gnu", "pax", "ustar", "oldgnu", "v7"])
def test_we_read_gnu_tar(tmp_path, layout):
    """A folder packed by hand: GNU tar, its own order of names, directories, times and owners."""
    for i in range(4):
        folder = tmp_path / "photos" / f"{i // 2}.d"
        folder.mkdir(parents=True, exist_ok=True)
        for ending, data in files(i).items():
            (folder / f"{i:09d}.{ending}").write_bytes(data)
    (tmp_path / "out").mkdir()
    subprocess.run(
        ["tar", f"--format={layout}", "--sort=name", "-cf", "out/0.tar", "photos"],
        check=True,
        cwd=tmp_path,
    )
    with ShardReader.foreign(tmp_path / "out") as reader:
        assert [sample.key for sample in reader] == [f"photos/{i // 2}.d/{i:09d}" for i in range(4)]
        assert [sample.image for sample in reader] == [jpeg(i) for i in range(4)]


@pytest.mark.parametrize("layout", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_we_read_the_standard_library(tmp_path, layout):
    prefix = "a/" * 40 + ("子/" * 60 if layout != tarfile.USTAR_FORMAT else "")
    with tarfile.open(tmp_path / "0.tar", "w", format=layout) as tar:
        for i in range(4):
            for ending, data in files(i).items():
                info = tarfile.TarInfo(f"{prefix}{i:09d}.{ending}")
                info.size, info.mtime = len(data), 1e9 + 0.5 * (layout == tarfile.PAX_FORMAT)
                tar.addfile(info, io.BytesIO(data))
    with ShardReader.foreign(tmp_path) as reader:
        check(reader, prefix)
