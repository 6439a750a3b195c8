"""The fonts of a recipe, as a person and as a machine sees them."""

import json

from render.text.scripts import ASCII
from shards import decode
from tests.command import mistake, nonpareil
from tests.render.pages import font_file


def test_faces_are_listed_drawn_and_those_left_out_are_named(tmp_path):
    font_file(tmp_path / "mine.ttf", ASCII)
    font_file(tmp_path / "nearly.ttf", ASCII - {ord("~")})
    own = ("--set", f"render.fonts={tmp_path}", "--set", "render.embedded_fonts=false")
    told = nonpareil("fonts", "render_pages", *own).stdout
    assert "mine.ttf#0" in told
    assert "not used: nearly.ttf#0: lacks ~ of printable ASCII" in told
    picture = tmp_path / "specimen.png"
    command = ("fonts", "render_pages", *own, "--json", "--specimen", picture)
    listed = json.loads(nonpareil(*command).stdout)
    assert [face["face"] for face in listed["faces"]] == ["mine.ttf#0"]
    assert listed["designs"] == {"en": ["mine"]}
    assert {*listed["skipped"]} == {"nearly.ttf#0"}
    pixels = decode(picture.read_bytes(), "specimen.png")
    assert pixels.min() == 0
    assert pixels.shape[1:] == (1280, 3)


def test_a_specimen_is_a_png(tmp_path):
    line = mistake("fonts", "render_pages", "--specimen", tmp_path / "faces.jpg")
    assert ".png" in line
