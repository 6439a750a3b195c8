"""Names of places and of data, as users give them."""

from pathlib import Path

import pytest

from shards import UserError
from shards.places import (
    AnyPlace,
    LocalPlace,
    LocalPlaces,
    NameOrPlace,
    anywhere,
    apart,
    checked_name,
    file_at,
    here,
    places_in,
)
from shards.settings import Settings


class Asked(Settings):
    fonts: LocalPlace | None = None
    teacher: NameOrPlace = "owner/name"


class Shown(Settings):
    images: AnyPlace


def test_options_and_settings_take_the_same_places(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for text in ("~/a b", f"file://{tmp_path}/a%20b", tmp_path / "a b"):
        assert anywhere()(text).path == here("--x")(text) == Asked(fonts=text).fonts
    asked = Asked(fonts="./~")
    assert Asked.model_validate_json(asked.model_dump_json()) == asked


def test_a_name_is_a_place_where_it_looks_like_one_or_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "folder").mkdir()
    assert Asked().teacher == "owner/name"
    for text in ("~/folder", str(tmp_path / "folder"), f"file://{tmp_path}/folder"):
        assert Asked(teacher=text).teacher == tmp_path / "folder"
    asked = Asked(teacher="folder", fonts="~/fonts")
    assert places_in(asked) == {"teacher": Path("folder"), "fonts": tmp_path / "fonts"}
    assert apart(asked) == {
        "recipe": {"fonts": None, "teacher": None},
        "places": {
            key: str(tmp_path / name) for key, name in (("teacher", "folder"), ("fonts",) * 2)
        },
    }


def test_a_setting_may_name_several_places(tmp_path):
    class Many(Settings):
        fonts: LocalPlaces | None = None

    assert Many(fonts="/a").fonts == (Path("/a"),)
    asked = Many(fonts=["/a", "/b"])
    assert Many.model_validate_json(asked.model_dump_json()) == asked
    assert places_in(asked) == {"fonts": Path("/a"), "fonts[1]": Path("/b")}
    assert apart(asked) == {
        "recipe": {"fonts": None},
        "places": {"fonts": "/a", "fonts[1]": "/b"},
    }
    with pytest.raises(ValueError, match="a list with one at least"):
        Many(fonts=[])


def test_what_is_no_text_is_no_place():
    for key in ("fonts", "teacher"):
        with pytest.raises(ValueError, match="give a path, as text"):
            Asked(**{key: 5})


def test_what_may_lie_anywhere_is_a_path_or_a_bucket(tmp_path):
    for place in ("s3://b/x", tmp_path / "x"):
        shown = Shown(images=place)
        assert places_in(shown) == {"images": shown.images}
        assert apart(shown) == {"recipe": {"images": None}, "places": {"images": str(place)}}
        assert hash(shown) == hash(Shown.model_validate_json(shown.model_dump_json()))


def test_what_must_lie_here_says_so():
    with pytest.raises(UserError, match=r"^--fonts s3://b/x is in a bucket; give a path of this"):
        here("--fonts")("s3://b/x")
    with pytest.raises(ValueError, match="s3://b/x is in a bucket"):
        Asked(fonts="s3://b/x")
    with pytest.raises(UserError, match=r"^--out s3:/b is not a store"):
        anywhere("--out")("s3:/b")


def test_a_file_gets_its_folder_or_is_refused_before_any_work(tmp_path, s3):
    store, name = file_at(tmp_path / "new" / "a.PNG", "--out", (".png",))
    store.replace(name, b"x")
    assert (tmp_path / "new" / "a.PNG").read_bytes() == b"x"
    store, name = file_at(f"{s3}/sheets/a.png", "--out")
    store.replace(name, b"x")
    assert store.names() == [name] == ["a.png"]
    (tmp_path / "folder.png").mkdir()
    for place, said in {
        "a.txt": r"a\.txt does not end in \.png or \.svg",
        "folder.png": "is a folder",
        "new/a.PNG/x.png": "is a file",
    }.items():
        with pytest.raises(UserError, match=f"^--out .*{said}"):
            file_at(tmp_path / place, "--out", (".png", ".svg"))


@pytest.mark.parametrize("name", ["pages", "v1.5-b_2", "页", "हिन्दी", "é" * 50])
def test_names_of_every_script_are_taken(name):
    assert checked_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".a",
        "a.",
        "a/b",
        "../x",
        "/x",
        "a\\b",
        "a b",
        "a\n",
        "\x1b",
        "é" * 51,
        "\udcff",
    ],
)
def test_names_that_could_lead_out_or_steer_are_not(name):
    with pytest.raises(UserError, match="use letters, digits"):
        checked_name(name)
