"""Where real images come from."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards import ImageSource, UnreadableImage, UserError, encode_png
from shards.source import HELD_OUT_FROM, MAX_BYTES, Place, _rank
from tests.conftest import picture


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
    from pathlib import Path

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
    import io
    import tarfile

    with tarfile.open(path, "w") as archive:
        for number, name in enumerate(names):
            for ending, data in (("jpg", None), ("txt", b"caption"), ("json", b"{}")):
                data = encode_png(picture(number)) if data is None else data
                member = tarfile.TarInfo(f"{name}.{ending}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return path


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
    (tmp_path / "list.txt").write_text("sub/b.tar\n\na.png\na.png\n")
    source = ImageSource.at(tmp_path / "list.txt")
    assert [source.name(i) for i in range(len(source))] == ["a.png", "sub/b.tar/x.jpg"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.txt", None, "is not a folder"),
        ("list.txt", b"gone.png\n", r"lists gone\.png, which does not exist \(1 of 1"),
        ("list.txt", b"\xff\xfe\x00", "no UTF-8 text"),
        ("list.txt", b"", "holds no"),
        ("photo.jpg", b"x", "neither .tar nor .txt"),
        ("broken.tar", b"no tar at all" * 99, "no plain tar that can be read"),
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
