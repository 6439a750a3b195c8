"""Sidecars for tars of others: what every command then knows of them, and what is counted."""

import json
from io import BytesIO

import pytest
from PIL import Image

from shards import Dataset, ShardReader
from shards.derive import indexing
from shards.inspect.check import faults
from shards.sidecar import read_sidecar
from shards.store import Folder
from tests.command import mistake, nonpareil
from tests.conftest import picture
from tests.tar_files import member, packed, write


def encoded(i, kind):
    buffer = BytesIO()
    Image.fromarray(picture(i)).save(buffer, kind)
    return buffer.getvalue()


def files(i, kind="jpeg", ending="jpg", folder=""):
    """What img2dataset writes for one image."""
    meta = json.dumps({"caption": f"猫 {i}", "key": f"{i:09d}", "width": 60}).encode()
    name = f"{folder}{i:09d}"
    return [
        member(f"{name}.{ending}", encoded(i, kind)),
        member(f"{name}.json", meta),
        member(f"{name}.txt", f"猫 {i}".encode()),
    ]


@pytest.fixture
def theirs(tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    write(folder / "00000.tar", *files(0), *files(1), member("1.2/README", b"x"))
    write(folder / "00001.tar", *files(2, "png", "PNG", "a/b.c/"), *files(3, "bmp", "bmp"))
    broken = [member("000000004.jpg", b"no image"), member("000000005.txt", b"alone")]
    damaged = packed(*files(6), *broken, *files(7))
    (folder / "x y.tar").write_bytes(damaged[:512] + damaged[512:].replace(b"000000007", b"x" * 9))
    (folder / "00000_stats.json").write_text("{}")
    return folder


def index(theirs, out):
    return json.loads(nonpareil("shards", "index", theirs, "--out", out, "--json").stdout)


def test_every_command_knows_the_tars_of_others(theirs, tmp_path):
    out = tmp_path / "out"
    before = {path.name: path.read_bytes() for path in theirs.iterdir()}
    made = index(theirs, out)
    assert (made["shards"], made["samples"]) == (3, 5)
    assert made["dropped"] == {"no picture": 1, "unreadable": 1}
    assert sum(made["skipped"].values()) >= 2  # the README, and three members with a bad checksum
    keys = [
        json.loads(line)["key"]
        for line in nonpareil("shards", "ls", out, "--keys", "--json").stdout.splitlines()
    ]
    assert keys == ["000000000", "000000001", "a_b_c_000000002", "000000003", "000000006"]
    with ShardReader(out, check=True) as ours, ShardReader.foreign(theirs, on_error="skip") as all_:
        found = {sample.key.replace("/", "_").replace(".", "_"): sample for sample in all_}
        for sample in ours:
            plain = found[sample.key]
            assert (sample.image, sample.text) == (plain.image, plain.text)
            assert sample.meta == plain.meta
        assert [*ours.sizes()[0]] == [40, 60]
    assert list(faults(out, deep=True)) == []
    for verb in ("stats", "sheet", "report", "extract"):
        where = ["--out", tmp_path / f"{verb}.{'html' if verb == 'report' else 'png'}"]
        nonpareil("shards", verb, out, *(where if verb != "stats" else []))
    nonpareil("shards", "copy", out, "--out", tmp_path / "copied", "--where", "key like 'a%'")
    assert Dataset(tmp_path / "copied").totals().samples == 1
    assert list(faults(tmp_path / "copied", deep=True)) == []
    nonpareil("finalize", out)
    assert {path.name: path.read_bytes() for path in theirs.iterdir()} == before


def test_text_that_is_none_is_dropped_by_name_and_skipped_by_a_reader(tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    image = encoded(0, "png")
    write(
        folder / "a.tar",
        *(member("a.png", image), member("a.txt", "照片".encode("gb18030"))),
        *(member("b.png", image), member("b.txt", "猫".encode("utf-16"))),
        *(member("c.png", image), member("c.json", b"[1]")),
        *(member("d.png", image), member("d.txt", "é".encode("latin-1"))),
        *(member("e.png", encoded(1, "png")), member("e.json", b'{"a": NaN}')),
    )
    with ShardReader.foreign(folder, on_error="skip") as reader:
        assert [sample.text for sample in reader] == ["猫", "", ""]
        said = "its text is not UTF-8"
        assert reader.skipped == {0: f"sample a: {said}", 3: f"sample d: {said}"}
    indexing.index(Folder(folder), Folder(tmp_path / "ours"))
    dataset = Dataset(tmp_path / "ours")
    assert [sample.key for sample in ShardReader(tmp_path / "ours")] == ["b", "e"]
    dropped = [
        (drop.source, drop.detail) for drop in read_sidecar(dataset.store, dataset.names[0]).dropped
    ]
    assert dropped == [("a", said), ("c", "its metadata is not a JSON object"), ("d", said)]
    assert not list(faults(tmp_path / "ours", deep=True))


def test_an_index_goes_on_and_notices_other_bytes(theirs, tmp_path):
    out = tmp_path / "out"
    index(theirs, out)
    first = {path.name: path.read_bytes() for path in out.glob("part-*")}
    (out / "part-000001.json").unlink()
    index(theirs, out)
    assert {path.name: path.read_bytes() for path in out.glob("part-*")} == first
    tar = theirs / "00001.tar"
    data = bytearray(tar.read_bytes())
    data[600] ^= 1
    tar.write_bytes(data)
    assert [fault.kind for fault in faults(out)] == ["sha256"]
    nonpareil("shards", "repair", out)
    index(theirs, out)
    assert list(faults(out)) == []
    tar.unlink()
    assert [fault.kind for fault in faults(out)] == ["tar"]
    assert "was made by another recipe" in mistake("shards", "index", theirs, "--out", out)


def test_what_cannot_be_indexed_is_one_line(theirs, tmp_path, s3):
    assert "nonpareil shards index" in mistake("shards", "ls", theirs)
    assert "holds no .tar" in mistake("shards", "index", tmp_path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    for place in ([s3, "--out", tmp_path / "out"], [theirs, "--out", f"{s3}/x"]):
        assert "is in a bucket; give a path of this machine" in mistake("shards", "index", *place)
    index(theirs, tmp_path / "out")
    again = mistake("shards", "index", tmp_path / "out", "--out", tmp_path / "x")
    assert "has sidecars already" in again
