"""Where real images come from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards import ImageSource, UnreadableImage, UserError, encode_png
from shards.source import HELD_OUT_FROM, MAX_BYTES, _rank
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
    (images / "b.png").write_bytes(b"GIF89a\x01\x00\x01\x00\x00\x00\x00;")
    with pytest.raises(UnreadableImage, match="not a readable PNG, JPEG, WEBP file"):
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
    assert {*train.files}.isdisjoint(held_out.files)
    assert {*train.files, *held_out.files} == {*source.files}


@given(st.sets(st.text("abcdef", min_size=1, max_size=6), min_size=2, max_size=9))
def test_both_parts_hold_something_and_membership_is_by_name(names):
    from pathlib import Path

    source = ImageSource(Path("/r"), [Path("/r") / name for name in names])
    train, held_out = source.part("train"), source.part("heldout")
    assert len(train) + len(held_out) == len(names)
    assert len(train) > 0
    assert len(held_out) > 0
    ranks = [_rank(name) for name in names]
    if min(ranks) < HELD_OUT_FROM <= max(ranks):
        kept = [_rank(train.name(i)) for i in range(len(train))]
        assert max(kept) < HELD_OUT_FROM


def test_one_image_cannot_be_divided(tmp_path):
    (tmp_path / "a.png").write_bytes(encode_png(picture(1)))
    with pytest.raises(UserError, match="2 or more"):
        ImageSource.folder(tmp_path).part("train")


def test_fingerprint_follows_the_content(images):
    before = ImageSource.folder(images).fingerprint()
    (images / "b.png").write_bytes(b"other")
    assert ImageSource.folder(images).fingerprint() != before
