"""Files of other packages are the ones we know, and each is read once a machine."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from shards import UserError
from shards.embedded import NOTE, Checksums, Package, fill, for_purpose, package, packages

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "docs" / name for name in ("dependencies.md", "fonts.md")]


@pytest.fixture
def known(tmp_path, monkeypatch) -> Package:
    """A package of one file, installed for the length of a test."""
    folder = tmp_path / "site" / "some_fonts"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "a.ttf").write_bytes(b"ink")
    monkeypatch.syspath_prepend(folder.parent)
    return Package(
        name="some-fonts",
        version="1.2",
        module="some_fonts",
        publisher="somebody",
        licence="OFL-1.1",
        holds="A",
        purpose="fonts",
        files={"a.ttf": hashlib.sha256(b"ink").hexdigest()},
    )


@pytest.mark.parametrize("one", packages(), ids=lambda one: one.name)
def test_what_pip_brought_is_what_we_know(one):
    assert len(one.paths()) == len(one.files) > 0


def test_a_file_that_changed_under_its_version_is_refused_in_one_line(known, tmp_path):
    (path,) = known.paths()
    path.write_bytes(b"oil")  # of the same length
    with pytest.raises(UserError) as refused:
        known.paths()
    (line,) = str(refused.value).splitlines()
    assert all(hashlib.sha256(data).hexdigest() in line for data in (b"ink", b"oil"))
    assert str(path) in line
    assert "pip install --force-reinstall --no-deps some-fonts==1.2" in line
    path.unlink()
    with pytest.raises(UserError, match="No such file"):
        known.paths()


def test_a_package_that_is_not_installed_has_no_files(known):
    assert known.model_copy(update={"module": "no_such_package"}).paths() == []


def test_a_file_is_read_once_a_machine_and_again_when_it_changed(known, tmp_path):
    (path,) = known.paths()
    first = Checksums(tmp_path / "cache")
    expected = first.of(path)
    first.save()
    note = tmp_path / "cache" / NOTE
    held = json.loads(note.read_text())
    note.write_text(json.dumps({str(path): [*held[str(path)][:-1], "noted"]}))
    assert Checksums(tmp_path / "cache").of(path) == "noted"  # not read
    later = path.stat().st_mtime_ns
    path.write_bytes(b"oil")
    assert path.stat().st_mtime_ns >= later
    found = Checksums(tmp_path / "cache").of(path)
    assert found == hashlib.sha256(b"oil").hexdigest() != expected


def test_a_file_put_in_the_place_of_another_is_read_whatever_its_times_say(known, tmp_path):
    (path,) = known.paths()
    held = path.stat()
    checksums = Checksums(tmp_path)
    checksums.of(path)
    checksums.save()
    other = path.with_name("b.ttf")
    other.write_bytes(b"oil")
    os.utime(other, ns=(held.st_atime_ns, held.st_mtime_ns))
    other.replace(path)
    assert Checksums(tmp_path).of(path) == hashlib.sha256(b"oil").hexdigest()


@pytest.mark.parametrize("noted", ["", "[1]", '{"a": 1}', "\0"])
def test_a_note_that_is_no_note_is_no_obstacle(known, tmp_path, noted):
    (tmp_path / NOTE).write_text(noted)
    checksums = Checksums(tmp_path)
    assert known.paths(checksums)
    checksums.save()
    assert str(known.paths()[0]) in json.loads((tmp_path / NOTE).read_text())


def test_a_folder_that_cannot_be_written_costs_no_run(known, tmp_path):
    (tmp_path / "file").touch()
    checksums = Checksums(tmp_path / "file")
    assert known.paths(checksums)
    checksums.save()


def test_the_page_and_the_pins_are_those_of_the_table():
    page = "".join(path.read_text("utf-8") for path in PAGES)
    assert fill(page) == page, "run python -m shards.embedded docs/dependencies.md docs/fonts.md"
    constraints = (ROOT / "constraints.txt").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = {*project["dependencies"], *(one for extra in extras for one in extra)}
    for one in packages():
        pin = f"{one.name}=={one.version}"
        assert re.search(rf"^{re.escape(pin)}$", constraints, re.M)
        assert pin in wanted
        assert all(digest in page for digest in one.files.values())


def test_fonts_are_found_without_importing_their_packages():
    modules = [one.module for one in for_purpose("fonts")]
    code = f"import sys; from render.type.fonts import Fonts; Fonts.embedded(); names = {modules}"
    code += "; sys.exit(bool({*names} & {*sys.modules}))"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)


def test_a_package_is_found_by_its_name():
    assert package("jieba").purpose == "words"
