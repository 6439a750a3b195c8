"""Where real images come from, and what lies beside them."""

import errno
import os
from functools import reduce
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards import (
    ImageSource,
    ShardReader,
    ShardWriter,
    UnreadableImage,
    UserError,
    encode_png,
    open_store,
)
from shards.skipped import Skips, by_ending, skipped_in_words
from shards.source import HELD_OUT_FROM, MAX_BYTES, Place, _rank
from shards.store import Bucket
from tests.conftest import picture
from tests.tar_files import member, write


@pytest.fixture
def images(tmp_path):
    for name in ("b.png", "sub/a.PNG", "c.jpg", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"broken" if name == "c.jpg" else encode_png(picture(1)))
    return tmp_path


def test_folder_lists_images_in_fixed_order(images):
    source = ImageSource.folder(images)
    assert [source.name(i) for i in range(len(source))] == ["b.png", "c.jpg", "sub/a.PNG"]


def test_image_is_read_as_stored(images):
    sample = ImageSource.folder(images).read(0)
    assert sample.image == (images / "b.png").read_bytes()
    assert (sample.meta["width"], sample.meta["height"]) == (60, 40)


def test_unreadable_image_is_named(images):
    with pytest.raises(UnreadableImage, match=r"c\.jpg: not a readable"):
        ImageSource.folder(images).read(1)


def test_other_formats_and_huge_files_are_refused(images, monkeypatch):
    (images / "b.png").write_bytes(b"\0\0\1\0 an icon")
    with pytest.raises(UnreadableImage, match=r"not a readable PNG, .* file"):
        ImageSource.folder(images).read(0)
    monkeypatch.setattr("shards.source.MAX_BYTES", 3)
    with pytest.raises(UnreadableImage, match="bytes exceed 3"):
        ImageSource.folder(images).read(2)
    assert MAX_BYTES > 3


@pytest.mark.parametrize("name", ["missing", "empty", "file"])
def test_bad_folder_is_a_user_error(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=rf"{name}.* give a folder"):
        ImageSource.folder(tmp_path / name)


def test_parts_divide_the_embedded_images():
    source = ImageSource.embedded(documents=True)
    train, held_out = source.part("train"), source.part("heldout")
    assert {*train.places}.isdisjoint(held_out.places)
    assert {*train.places, *held_out.places} == {*source.places}


@given(st.sets(st.text("abcdef", min_size=1, max_size=6), min_size=2, max_size=9))
def test_both_parts_hold_something_and_membership_is_by_name(names):
    source = ImageSource(Path("/r"), [Place(name, Path("/r") / name) for name in names])
    train, held_out = source.part("train"), source.part("heldout")
    assert len(train) + len(held_out) == len(names)
    assert len(train) > 0
    assert len(held_out) > 0
    ranks = [_rank(name) for name in names]
    if min(ranks) < HELD_OUT_FROM <= max(ranks):
        kept = [_rank(train.name(i)) for i in range(len(train))]
        assert max(kept) < HELD_OUT_FROM


@given(st.sets(st.text("abcdef", min_size=1, max_size=6), min_size=1, max_size=9))
def test_a_sample_is_chosen_by_name_and_a_smaller_one_within_it(names):
    from pathlib import Path

    def sample(names, count):
        places = [Place(name, Path("/r") / name) for name in names]
        return {place.name for place in ImageSource(Path("/r"), places).at_most(count).places}

    samples = [sample(names, count) for count in range(1, len(names) + 2)]
    assert [len(each) for each in samples] == [*range(1, len(names) + 1), len(names)]
    assert all(less <= more for less, more in pairwise(samples))
    gone = min(names)
    assert sample(names, 3) - {gone} <= sample(names - {gone}, 3)


def test_one_image_cannot_be_divided(tmp_path):
    (tmp_path / "a.png").write_bytes(encode_png(picture(1)))
    with pytest.raises(UserError, match="2 or more"):
        ImageSource.folder(tmp_path).part("train")


def test_fingerprint_follows_the_content(images):
    before = ImageSource.folder(images).fingerprint()
    (images / "b.png").write_bytes(b"other")
    assert ImageSource.folder(images).fingerprint() != before


def tar_of(path, names):
    """Write a tar as img2dataset does: image, text and JSON of each key."""
    return write(
        path,
        *(
            member(f"{name}.{ending}", data or encode_png(picture(number)))
            for number, name in enumerate(names)
            for ending, data in (("jpg", b""), ("txt", b"caption"), ("json", b"{}"))
        ),
    )


def test_images_inside_tars_are_read_in_place(tmp_path):
    tar_of(tmp_path / "b.tar", ["000000001", "000000000"])
    (tmp_path / "a.png").write_bytes(encode_png(picture(9)))
    source = ImageSource.at(tmp_path)
    names = [source.name(i) for i in range(len(source))]
    assert names == ["a.png", "b.tar/000000000.jpg", "b.tar/000000001.jpg"]
    assert np.array_equal(source.read(1).pixels(), picture(1))
    alone = ImageSource.at(tmp_path / "b.tar")
    assert [alone.name(i) for i in range(2)] == names[1:]
    assert alone.fingerprint() != source.fingerprint()


def test_a_list_names_images_and_tars_beside_it(tmp_path):
    (tmp_path / "sub").mkdir()
    tar_of(tmp_path / "sub" / "b.tar", ["x"])
    (tmp_path / "a.png").write_bytes(encode_png(picture(3)))
    (tmp_path / "other.png").write_bytes(encode_png(picture(4)))
    (tmp_path / "list.txt").write_bytes(
        b"\xef\xbb\xbfsub/b.tar\r\n\r\na.png\r\n a.png\nsub\ngone.png\n\xd5.png\npipe"
    )
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / os.fsdecode(b"\xd5.png")).write_bytes(encode_png(picture(5)))
    source = ImageSource.at(tmp_path / "list.txt")
    assert names_of(source) == [r"\xd5.png", "a.png", "sub/b.tar/x.jpg"]
    assert np.array_equal(source.read(0).pixels(), picture(5))
    assert reasons(source) == {
        "listed twice": ["a.png"],
        "listed folder": ["sub"],
        "listed but not there": ["gone.png"],
        "pipe, socket or device": ["pipe"],
        ".txt": ["sub/b.tar/x.txt"],
        ".json": ["sub/b.tar/x.json"],
    }

    (tmp_path / "list.txt").write_text("a.png\r\n", "utf-16")  # as PowerShell writes it
    assert names_of(ImageSource.at(tmp_path / "list.txt")) == ["a.png"]


def names_of(source):
    return [source.name(i) for i in range(len(source))]


def reasons(source):
    return {row.reason: [*row.names] for row in source.skips.rows()}


def test_what_a_folder_holds_beside_images_is_counted(tmp_path, monkeypatch):
    root, outside = tmp_path / "root", tmp_path / "outside"
    for path in ("root/a.png", "root/z/d.gif", "outside/b.png", "outside/deep/c.png"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(encode_png(picture(0)))
    for name in ("notes.txt", "a.json", "b.json", "c.HEIC", "README", "._a.png"):
        (root / name).write_bytes(b"x")
    for name, target in {
        "file.png": outside / "b.png",
        "gone.png": "nowhere",
        "round.png": "round.png",
        "circle": ".",
        "first": outside,
        "second": outside / "deep",
        "up": tmp_path,
    }.items():
        (root / name).symlink_to(target)
    os.mkfifo(root / "pipe.png")
    (root / "locked").mkdir()
    listing = os.scandir

    def scandir(path):
        if Path(path).name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    source = ImageSource.at(root)
    names = ["a.png", "file.png", "first/b.png", "first/deep/c.png", "z/d.gif"]
    assert names_of(source) == names
    assert all(np.array_equal(source.read(i).pixels(), picture(0)) for i in range(5))
    found = {reason: sorted(names) for reason, names in reasons(source).items()}
    assert found == {
        ".txt": ["notes.txt"],
        ".json": ["a.json", "b.json"],
        ".heic": ["c.HEIC"],
        "of other kinds": ["README"],
        "hidden": ["._a.png"],
        "broken link": ["gone.png", "round.png"],
        "linked folder met before": ["circle/", "second/", "up/outside/", "up/root/"],
        "pipe, socket or device": ["pipe.png"],
        "permission denied": ["locked/"],
    }
    assert next(iter(source.skips.counts)) in found


def test_a_damaged_tar_gives_its_other_images_and_says_what_it_lost(tmp_path):
    whole = tar_of(tmp_path / "b.tar", ["0", "1", "2"]).read_bytes()
    second = whole.index(b"1.jpg")
    (tmp_path / "b.tar").write_bytes(whole[:second] + b"?" + whole[second + 1 :] + whole)
    source = ImageSource.at(tmp_path)
    images = [f"b.tar/{name}" for name in ("0.jpg", "0.jpg#2", "1.jpg", "2.jpg", "2.jpg#2")]
    assert names_of(source) == images
    assert np.array_equal(source.read(2).pixels(), picture(1))
    assert reasons(source)["broken header"] == [f"b.tar/byte {second:,}"]


def test_names_are_text_that_json_can_hold(tmp_path):
    names = [b"\xd5\xd5\xc6\xac.png", b"a\\b\n'\".png", "\u3000\u202f.png".encode()]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(encode_png(picture(0)))
    source = ImageSource.at(tmp_path)
    readable = [r"\xd5\xd5Ƭ.png", "a\\b\n'\".png", "\u3000\u202f.png"]
    assert names_of(source) == readable
    assert len(source.fingerprint()) == 64
    assert len(source.part("train")) + len(source.part("heldout")) == 3
    with ShardWriter(tmp_path, 0, recipe="r") as writer:
        writer.extend(source.read(i) for i in range(3))
        writer.drop(readable[0], "blurry")
    assert [sample.meta["source"] for sample in ShardReader(tmp_path)] == readable


def test_reasons_and_names_are_bounded():
    skips = Skips()
    skips.extend(by_ending(f"{i}.{i}") for i in range(1000))
    skips.extend(by_ending(f"{i}.json") for i in range(1000))
    rows = skips.rows()
    assert sum(row.count for row in rows) == 2000
    assert len(rows) < 70
    assert all(len(row.names) <= 8 for row in rows)
    assert skipped_in_words({".heic": 3, ".json": 1200}) == "1,200 .json, 3 .heic"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.txt", None, "is not a folder"),
        ("list.txt", b"gone.png\n", r"lists gone\.png, which does not exist \(all of 1 "),
        ("list.txt", b"\xff\xfe\x00", "no UTF-8 text"),
        ("list.txt", b"", "holds no"),
        ("photo.jpg", b"x", "neither .tar nor .txt"),
        ("broken.tar", b"no tar at all" * 99, "holds no .* file .but 1 broken header"),
    ],
)
def test_a_source_that_cannot_be_listed_is_refused_by_name(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        ImageSource.at(tmp_path / name)


def test_a_tar_that_lost_its_end_gives_an_unreadable_image(tmp_path):
    path = tar_of(tmp_path / "b.tar", ["x"])
    source = ImageSource.at(path)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(UnreadableImage, match="truncated"):
        source.read(0)


def test_a_bucket_holds_the_images_of_a_folder(tmp_path, s3):
    folder, bucket = tmp_path / "photos", open_store(f"{s3}/{tmp_path.name}")
    for name in ("a b.png", "sub/c%d.PNG", "sub/deep/e.png", "sub/.f.png", "notes.txt", "g.heic"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encode_png(picture(len(name))))
    (folder / "h.jpg").write_bytes(b"broken")
    write(folder / "sub" / "i.tar", member("j.png", encode_png(picture(9))), member("j.txt", b"j"))
    for path in folder.rglob("*"):
        if path.is_file():
            *above, name = path.relative_to(folder).parts
            reduce(Bucket.inside, above, bucket).replace(name, path.read_bytes())
    here, there = ImageSource.at(folder), ImageSource.at(bucket)
    assert names_of(there) == names_of(here)
    assert there.fingerprint() == here.fingerprint()
    assert there.skips.rows() == here.skips.rows()
    for i in range(len(here)):
        if here.name(i) != "h.jpg":
            assert there.read(i) == here.read(i)
    with pytest.raises(UnreadableImage, match=r"h\.jpg: not a readable"):
        there.read(names_of(there).index("h.jpg"))
    alone = ImageSource.at(f"{bucket}/sub/i.tar")
    assert (names_of(alone), alone.read(0).image) == (["i.tar/j.png"], encode_png(picture(9)))
    bucket.delete("a b.png")
    with pytest.raises(UnreadableImage, match=r"a b\.png: "):
        there.read(0)
    for name, said in (("none", "holds no"), ("none.tar", "is not there"), ("l.txt", "lists")):
        with pytest.raises(UserError, match=f"{name} .*{said}"):
            ImageSource.at(f"{bucket}/{name}")
