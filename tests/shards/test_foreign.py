"""Tars that others made are read as WebDataset reads them; what is odd is refused or counted."""

import os
import tarfile

import pytest

from shards import ShardError, ShardReader, UserError, encode_png
from tests.conftest import picture
from tests.tar_files import member, write

PNG = encode_png(picture(0))


LAYOUTS = pytest.mark.parametrize("layout", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])


@LAYOUTS
def test_names_are_split_as_webdataset_splits_them(tmp_path, layout):
    long = "日" * 120
    write(
        tmp_path / "a.tar",
        member("./", kind=tarfile.DIRTYPE),
        member("x/y.z/000.jpeg", PNG),
        member("x/y.z/000.txt", "猫".encode()),
        member("x/y.z/000.seg.png", b"mask"),
        member("README", b"no ending"),
        member(".hidden", b"no key"),
        member(f"{long}.PNG", PNG),
        member(f"{long}.json", b'{"a": 1}'),
        layout=layout,
    )
    write(tmp_path / "b.tar", member("c.webp", PNG), member("c.cls", b"7"))
    (tmp_path / "notes.txt").write_text("not a tar")
    with ShardReader.foreign(tmp_path) as reader:
        found = [(sample.key, sample.format, sample.text, sample.meta) for sample in reader]
        assert found == [
            ("x/y.z/000", "jpg", "猫", {}),
            (long, "png", "", {"a": 1}),
            ("c", "webp", "", {}),
        ]
        assert reader[reader.find("x/y.z/000")].image == PNG
        assert {sample.image for sample in reader} == {PNG}


def test_a_folder_of_foreign_tars_says_how_to_open_it(tmp_path):
    write(tmp_path / "a.tar", member("0.png", PNG))
    with pytest.raises(UserError, match=r"tars without sidecar \(1\); .* nonpareil shards index"):
        ShardReader(tmp_path)


def test_a_folder_without_samples(tmp_path):
    with pytest.raises(UserError, match="holds no finished shard"):
        ShardReader.foreign(tmp_path)


def test_a_bucket_of_foreign_tars(s3, tmp_path):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.tar", *(member(f"{name}{i}.png", PNG) for i in range(3)))
    with ShardReader.foreign(tmp_path) as local:
        for name in ("a.tar", "b.tar"):
            data = (tmp_path / name).read_bytes()
            from shards import open_store

            open_store(f"{s3}/foreign").replace(name, data)
        with ShardReader.foreign(f"{s3}/foreign") as remote:
            assert list(remote) == list(local)


LINK = member("c.jpg", kind=tarfile.SYMTYPE, linkname="first.png")


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (member("a.png", kind=tarfile.SYMTYPE, linkname="/etc/passwd"), "link without target"),
        (member("a.png", kind=tarfile.LNKTYPE, linkname="b.png"), "link without target"),
        (member("a.png", kind=tarfile.CHRTYPE), "pipe, socket or device"),
        (member("../a.png", PNG), "leads out"),
        (member("x" * 2000 + ".png", PNG), "longer than 1,024"),
        (member("a.png", PNG, pax_headers={"size": "-5"}), "broken header"),
        (member("a.png", PNG, pax_headers={"size": str(10**18)}), "cut short"),
        (member("a.png", PNG, pax_headers={"GNU.sparse.map": "0,9"}), "sparse"),
        (member("a.png", PNG, pax_headers={"comment": "x" * 2**21}), "longer than 1,048,576"),
        (member("first.PNG", PNG), "file that its sample has already: first.PNG"),
    ],
)
def test_what_is_odd_is_refused_by_name_or_counted(tmp_path, bad, why):
    write(tmp_path / "a.tar", member("first.png", PNG), bad, member("last.png", PNG), LINK)
    with pytest.raises(ShardError, match=rf"a\.tar is refused: .*{why}") as caught:
        ShardReader.foreign(tmp_path)
    assert len(str(caught.value)) < 400
    with ShardReader.foreign(tmp_path, on_error="skip") as reader:
        samples = {sample.key: sample.image for sample in reader}
    assert {"first", "last", "c"} <= {*samples}
    assert {*samples.values()} == {PNG}
    (skipped,) = reader.index.skips.rows()
    assert why.partition(":")[0] in skipped.reason
    assert skipped.names[0].startswith("a.tar/")


def test_any_name_is_a_key(tmp_path):
    names = ["x\\a", "x\x1b[2Ja", "a\nb", "日本"]
    write(tmp_path / "a.tar", *(member(f"{name}.png", PNG) for name in names), member("README"))
    with ShardReader.foreign(tmp_path) as reader:
        assert [sample.key for sample in reader] == names
    assert reader.index.skips.counts == {"file of no sample": 1}


def test_samples_of_joined_tars_stay_apart(tmp_path):
    one = write(tmp_path / "a.tar", member("a.png", PNG), member("a.txt", b"x"))
    one.write_bytes(one.read_bytes() * 2)
    with ShardReader.foreign(tmp_path) as reader:
        assert [(sample.key, sample.text) for sample in reader] == [("a", "x")] * 2


def test_a_sample_whose_files_lie_far_apart_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr("shards.foreign.MAX_BYTES", 999)
    linked = (member(f"{key}.png", kind=tarfile.SYMTYPE, linkname="a.png") for key in "bc")
    write(tmp_path / "a.tar", member("a.png", PNG), *linked, member("c.txt", b"x"))
    with ShardReader.foreign(tmp_path, on_error="skip") as reader:
        assert len(reader) == 2
    assert reader.index.skips.counts == {"sample whose files overlap or lie far apart": 1}


def test_a_folder_or_a_pipe_named_tar_is_counted(tmp_path):
    (tmp_path / "d.tar").mkdir()
    os.mkfifo(tmp_path / "p.tar")
    write(tmp_path / "a.tar", member("a.png", PNG))
    with ShardReader.foreign(tmp_path, on_error="skip") as reader:
        assert len(reader) == 1
    assert sum(reader.index.skips.counts.values()) == 2


def test_tars_without_a_sample_say_what_they_hold(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"hello" * 1000)
    with pytest.raises(UserError, match=r"no sample in any of its tars \(1 broken header\)"):
        ShardReader.foreign(tmp_path, on_error="skip")
