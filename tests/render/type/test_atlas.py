"""The atlas: it saves time and changes no byte, whatever state its folder is in."""

import ctypes
import hashlib
import subprocess
import sys
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest

import render.type.atlas
from render import Atlas, Renderer
from render.plan import Font
from render.type.atlas import BLANK
from render.type.glyphs import NO_GLYPH
from tests.render.pages import PLEX, SETTINGS, SIMPLIFIED, variant

PAGES = (0, 3, 6)

FILL = """
import hashlib, sys
from pathlib import Path
from render import Renderer, RenderSettings
r = Renderer(RenderSettings.model_validate_json(sys.argv[1]), seed=5, atlas=Path(sys.argv[2]))
data = b"".join(d for i in (0, 3, 6) for _, d in r.sample(i).files())
r.material.atlas.save()
print(hashlib.sha256(data).hexdigest())
"""


def bytes_of(renderer, pages=PAGES):
    return b"".join(data for i in pages for _, data in renderer.sample(i).files())


@pytest.fixture(scope="module")
def expected(renderer) -> bytes:
    """The pages, drawn without a folder."""
    return bytes_of(renderer)


def sharing(renderer, folder):
    """Return a renderer like `renderer` that knows no glyph yet and uses a folder."""
    other = renderer.with_settings(SETTINGS)
    other.material = replace(other.material, atlas=Atlas(folder))
    return other


def grown(renderer):
    return [strike for strike in renderer.material.atlas._strikes.values() if strike.grown]


def codes(text):
    return np.array([ord(c) for c in text], np.uint32)


def strike_of(renderer, face=PLEX, size_px=12, atlas=None, **changes):
    instance = renderer.material.fonts.plain(renderer.material.fonts.faces[face])
    return (atlas or Atlas()).strike(instance, size_px, changes.pop("hinting", "none"), **changes)


def drawn(strike, text, phase=0):
    """Return the masks of the characters, with their size and place."""
    slots = strike.font.face.slots(codes(text))
    strike.find(slots)
    rows = strike.rows[strike.table[slots] + phase]
    return [(*row[1:], bytes(strike.masks[row[0] : row[0] + row[1] * row[2]])) for row in rows]


@pytest.mark.parametrize("face", [PLEX, SIMPLIFIED])
@pytest.mark.parametrize("hinting", ["none", "light", "full"])
def test_glyphs_drawn_in_several_places_at_once_are_those_drawn_alone(renderer, face, hinting):
    font = renderer.material.fonts.plain(renderer.material.fonts.faces[face])
    glyphs = font.face.glyphs[font.face.slots(codes("fg汉%"))].tolist()
    shifts = [(16, 0), (0, 0), (48, -16), (48, -16)]
    for matrix in (None, (65536, 6554, -3277, 60000)):
        poses = [(matrix, *shift) for shift in shifts]
        each = np.repeat([*glyphs, NO_GLYPH], len(poses)).tolist()
        masks, rows = font.draw(each, 13, hinting, cycle(poses))
        for at, pose in enumerate(poses):
            for n, glyph in enumerate([*glyphs, NO_GLYPH]):
                alone, row = font.draw([glyph], 13, hinting, [pose])
                offset, width, height = rows[n * len(shifts) + at, :3]
                assert rows[n * len(shifts) + at, 1:].tolist() == row[0, 1:].tolist()
                assert masks[offset : offset + width * height].tolist() == alone.tolist()


def test_nothing_is_put_back_where_a_broken_glyph_was_loaded(renderer, monkeypatch):
    font = renderer.material.fonts.plain(renderer.material.fonts.faces[PLEX])
    put_back = list[int]()
    monkeypatch.setattr(ctypes, "memmove", lambda points, *_: put_back.append(points))
    glyph = int(font.face.glyphs[0])
    _, rows = font.draw([glyph, glyph, NO_GLYPH, NO_GLYPH, NO_GLYPH], 13, "none")
    assert len(put_back) == 1
    assert not rows[2:].any()


def test_a_folder_that_another_process_filled_changes_no_byte(renderer, expected, tmp_path):
    folder = tmp_path / "new" / "atlas"
    out = subprocess.run(
        [sys.executable, "-c", FILL, SETTINGS.model_dump_json(), str(folder)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert out.stdout.strip() == hashlib.sha256(expected).hexdigest()
    reader = sharing(renderer, folder)
    assert bytes_of(reader) == expected
    assert not grown(reader)


def test_a_folder_is_used_again_without_drawing(renderer, expected, tmp_path):
    writer = sharing(renderer, tmp_path)
    assert bytes_of(writer) == expected
    assert grown(writer)
    writer.material.atlas.save()
    assert not grown(writer)
    assert bytes_of(writer) == expected
    reader = sharing(renderer, tmp_path)
    assert bytes_of(reader) == expected
    assert not grown(reader)


def test_nothing_is_written_before_it_is_asked_for_and_nothing_else_is_left(renderer, tmp_path):
    writer = sharing(renderer, tmp_path / "atlas")
    bytes_of(writer)
    assert not (tmp_path / "atlas").exists()
    new = {strike.name for strike in grown(writer)}
    writer.material.atlas.save()
    assert {path.name for path in (tmp_path / "atlas").iterdir()} == new
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "atlas").iterdir()}
    writer.material.atlas.save()
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "atlas").iterdir()}


def test_processes_that_drew_different_pages_add_up(renderer, expected, tmp_path):
    writers = [sharing(renderer, tmp_path) for _ in PAGES]
    for writer, page in zip(writers, PAGES, strict=True):
        bytes_of(writer, [page])
    for writer in writers:
        writer.material.atlas.save()
    reader = sharing(renderer, tmp_path)
    assert bytes_of(reader) == expected
    assert not grown(reader)
    # Those that wrote before others added to the folder go on as if nothing had happened.
    assert bytes_of(writers[0]) == expected
    writers[0].material.atlas.save()
    assert bytes_of(sharing(renderer, tmp_path)) == expected


def cut(path, length):
    path.write_bytes(path.read_bytes()[:length])


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0x55
    path.write_bytes(data)


def as_folder(path):
    path.unlink()
    path.mkdir()


DAMAGE = {
    "empty": lambda path: cut(path, 0),
    "a part of the header": lambda path: cut(path, 20),
    "the header alone": lambda path: cut(path, 32),
    "half": lambda path: cut(path, path.stat().st_size // 2),
    "a byte short": lambda path: cut(path, path.stat().st_size - 1),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "other sizes": lambda path: flip(path, 9),
    "a flipped byte": lambda path: flip(path, -1),
    "a flipped table": lambda path: flip(path, 40),
    "no atlas": lambda path: path.write_bytes(b"something else" * 1000),
    "zeros": lambda path: path.write_bytes(bytes(5000)),
    "a folder": as_folder,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_drawn_anew(renderer, expected, tmp_path, damage):
    writer = sharing(renderer, tmp_path)
    bytes_of(writer)
    writer.material.atlas.save()
    for path in list(tmp_path.iterdir()):
        DAMAGE[damage](path)
    reader = sharing(renderer, tmp_path)
    assert bytes_of(reader) == expected
    reader.material.atlas.save()
    assert bytes_of(reader) == expected
    if damage != "a folder":
        after = sharing(renderer, tmp_path)
        assert bytes_of(after) == expected
        assert not grown(after)


@pytest.mark.parametrize("where", ["file", "file/atlas"])
def test_a_folder_that_cannot_be_written_costs_no_page(renderer, expected, tmp_path, where):
    (tmp_path / "file").write_text("not a folder")
    one = sharing(renderer, tmp_path / where)
    assert bytes_of(one, [0]) == bytes_of(renderer, [0])
    one.material.atlas.save()
    assert bytes_of(one) == expected
    one.material.atlas.save()
    assert (tmp_path / "file").read_text() == "not a folder"


def test_a_full_disk_costs_no_page(renderer, expected, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    one = sharing(renderer, tmp_path)
    bytes_of(one, [0])
    monkeypatch.setattr(Path, "write_bytes", full)
    one.material.atlas.save()
    assert list(tmp_path.iterdir()) == []
    assert bytes_of(one) == expected


def test_the_atlas_of_the_constructor_is_used(expected, tmp_path):
    own = Renderer(SETTINGS, seed=5, atlas=tmp_path)
    assert own.material.atlas.folder == tmp_path
    assert own.with_settings(SETTINGS).material.atlas is own.material.atlas
    assert bytes_of(own) == expected


def test_memory_is_bounded_and_what_is_forgotten_is_drawn_again(renderer, expected, monkeypatch):
    monkeypatch.setattr(render.type.atlas, "BYTES", 0)
    one = sharing(renderer, None)
    for page in PAGES:
        bytes_of(one, [page])
        one.material.atlas.save()
        assert len(one.material.atlas._strikes) <= 1
    assert bytes_of(one) == expected


def test_after_all_strikes_are_filled_no_glyph_is_left_to_draw(renderer, tmp_path):
    one = variant(
        sharing(renderer, tmp_path), languages={"zh": 1}, size_px=(8, 8), hinting={"light": 1},
        layouts={"paragraph": 1},
    )  # fmt: skip
    filled = set[str]()
    for strike, codes in one.strikes():
        strike.fill(codes)
        filled.add(strike.name)
    one.material.atlas.save()
    bytes_of(one, range(8))
    # What these faces show as blank is looked for in the faces of other languages.
    assert not filled & {strike.name for strike in grown(one)}


def test_the_order_of_drawing_changes_no_glyph(renderer):
    one, other = strike_of(renderer), strike_of(renderer)
    text = "quickbrownfox"
    together = drawn(one, text)
    alone = [drawn(other, c)[0] for c in reversed(text)]
    assert together == alone[::-1]


def test_a_strike_is_the_same_object_and_its_name_tells_all_that_matters(renderer):
    atlas = Atlas()
    assert strike_of(renderer, atlas=atlas) is strike_of(renderer, atlas=atlas)
    fonts = renderer.material.fonts
    strikes = [
        strike_of(renderer),
        strike_of(renderer, size_px=13),
        strike_of(renderer, hinting="light"),
        strike_of(renderer, face="IBMPlexMono-Bold.ttf#0"),
        strike_of(renderer, face=SIMPLIFIED),
        strike_of(renderer, face=SIMPLIFIED, vertical=True),
        Atlas().strike(fonts.instance(Font(SIMPLIFIED, (700.0,))), 12, "none"),
        strike_of(renderer, face="wqy-microhei.ttc#0"),
        strike_of(renderer, face="wqy-microhei.ttc#1"),
    ]
    assert len({strike.name for strike in strikes}) == len(strikes)


def test_what_has_no_ink_is_found_blank(renderer):
    strike = strike_of(renderer)
    found = strike.find(strike.font.face.slots(codes("a 国b")))
    assert (found == BLANK).tolist() == [False, True, True, False]


def test_a_written_strike_comes_back_as_it_was(renderer, tmp_path):
    strike = strike_of(renderer)
    shapes = [drawn(strike, "abc,", phase) for phase in range(4)]
    strike.write(tmp_path / "strike")
    back = strike_of(renderer)
    assert back.map(tmp_path / "strike")
    assert [drawn(back, "abc,", phase) for phase in range(4)] == shapes
    assert not back.grown
    assert drawn(back, "q") == drawn(strike_of(renderer), "q")
    assert back.grown
    assert [drawn(back, "abc,", phase) for phase in range(4)] == shapes


def test_a_strike_of_another_face_is_not_taken(renderer, tmp_path):
    strike = strike_of(renderer)
    drawn(strike, "abc")
    strike.write(tmp_path / "strike")
    assert not strike_of(renderer, face=SIMPLIFIED).map(tmp_path / "strike")
    assert not strike_of(renderer).map(tmp_path / "nothing")


def test_warped_pages_need_no_folder_either(renderer, tmp_path):
    one = variant(renderer, warp_share=1)
    expected = bytes_of(one)
    writer = one.with_settings(one.settings)
    writer.material = replace(writer.material, atlas=Atlas(tmp_path))
    assert bytes_of(writer) == expected
    writer.material.atlas.save()
    writer.material = replace(writer.material, atlas=Atlas(tmp_path))
    assert bytes_of(writer) == expected
