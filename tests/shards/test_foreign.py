"""Tars that others made are read as WebDataset reads them; hostile ones are refused in a line."""

import io
import tarfile

import pytest

from shards import ShardError, ShardReader, UserError, encode_png, foreign
from tests.conftest import picture

PNG = encode_png(picture(0))


def member(name, data=b"", kind=tarfile.REGTYPE, **fields):
    info = tarfile.TarInfo(name)
    info.size, info.type = len(data), kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def write(path, *members, layout=tarfile.PAX_FORMAT):
    with tarfile.open(path, "w", format=layout) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return path


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
    with pytest.raises(UserError, match=r"tars without sidecar \(1\); .* ShardReader\.foreign"):
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


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (member("a.png", kind=tarfile.SYMTYPE, linkname="/etc/passwd"), "no plain file"),
        (member("a.png", kind=tarfile.LNKTYPE, linkname="b.png"), "no plain file"),
        (member("a.png", kind=tarfile.CHRTYPE), "no plain file"),
        (member("a.png", kind=tarfile.FIFOTYPE), "no plain file"),
        (member("../a.png", PNG), "leads out"),
        (member("x/../../a.png", PNG), "leads out"),
        (member("/etc/a.png", PNG), "leads out"),
        (member("x\\a.png", PNG), "backslashes"),
        (member("x\x1b[2Ja.png", PNG), "control characters"),
        (member("a.png\n", PNG), "control characters"),
        (member("a" * 2000 + ".png", PNG), "longer than 1,024"),
        (member("a.png", PNG, pax_headers={"size": "-5"}), "ends beyond|broken header"),
        (member("a.png", PNG, pax_headers={"size": str(10**18)}), "ends beyond"),
        (member("a.png", PNG, pax_headers={"GNU.sparse.map": "0,9", "GNU.sparse.size": "9"}), ""),
        (member("a.png", PNG, pax_headers={"comment": "x" * 2**21}), "exceeds 1,048,576"),
    ],
)
def test_hostile_archives_are_refused(tmp_path, bad, why):
    tar = write(tmp_path / "a.tar", member("first.png", PNG), bad)
    with pytest.raises(ShardError, match=rf"a\.tar .*({why})") as caught:
        ShardReader.foreign(tmp_path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400
    assert tar.exists()


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    tar = write(tmp_path / "a.tar", member("b.png", PNG), layout=tarfile.USTAR_FORMAT)
    data = bytearray(tar.read_bytes())
    data[0] = 0xFF
    data[148:156] = b"%06o\0 " % (sum(data[:148]) + sum(data[156:512]) + 8 * 32)
    tar.write_bytes(data)
    with pytest.raises(ShardError, match="not UTF-8"):
        ShardReader.foreign(tmp_path)


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    write(tmp_path / "a.tar", *(member(f"{i}.png", b"") for i in range(4)))
    monkeypatch.setattr(foreign, "MAX_MEMBERS", 4)
    assert len(ShardReader.foreign(tmp_path)) == 4
    monkeypatch.setattr(foreign, "MAX_MEMBERS", 3)
    with pytest.raises(ShardError, match="more than 3 members"):
        ShardReader.foreign(tmp_path)


def test_a_sample_with_two_files_of_an_ending_is_refused(tmp_path):
    write(tmp_path / "a.tar", member("a.jpg", PNG), member("a.jpeg", PNG))
    with pytest.raises(ShardError, match="sample 'a' has two files jpg"):
        ShardReader.foreign(tmp_path)


def test_headers_that_only_lead_to_headers_are_refused(tmp_path):
    one = member("a", b"9 path=a\n", kind=tarfile.XHDTYPE)
    write(tmp_path / "a.tar", *[one] * 5000, layout=tarfile.USTAR_FORMAT)
    with pytest.raises(ShardError, match=r"a\.tar is not a whole tar"):
        ShardReader.foreign(tmp_path)


@pytest.mark.parametrize("size", [300, 700, 8000])
def test_a_tar_cut_short_is_named(tmp_path, size):
    tar = write(tmp_path / "a.tar", member("a.png", PNG), member("b.png", PNG))
    tar.write_bytes(tar.read_bytes()[:size])
    with pytest.raises(ShardError, match=r"a\.tar (is not a whole tar|is refused: .* beyond)"):
        ShardReader.foreign(tmp_path)


def test_a_broken_header_is_not_taken_for_the_end(tmp_path):
    tar = write(tmp_path / "a.tar", member("a.png", PNG), member("b.png", PNG))
    data = bytearray(tar.read_bytes())
    second = data.index(b"b.png")
    data[second : second + 5] = b"B.PNG"
    tar.write_bytes(data)
    with pytest.raises(ShardError, match=f"broken header at byte {second:,}"):
        ShardReader.foreign(tmp_path)


def test_what_is_no_tar_is_named(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"hello" * 1000)
    with pytest.raises(ShardError, match=r"a\.tar is not a whole tar"):
        ShardReader.foreign(tmp_path)
