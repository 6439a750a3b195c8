"""What the documents name is there: files, commands, modules. Nothing is run."""

import re
import subprocess
from pathlib import Path

import pytest
import typer.main

from pipelines.cli import app
from pipelines.recipe import names
from shards.inspect.cli import app as shards_app

ROOT = Path(__file__).parent.parent
TRACKED = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
).stdout.split()
DOCUMENTS = [ROOT / name for name in TRACKED]

VERBS = set(typer.main.get_command(app).commands)
SHARDS_VERBS = set(typer.main.get_command(shards_app).commands)
OURS = ("benchmarks", "filters", "pipelines", "render", "shards", "vae")

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: one.stem)


def anchor(title: str) -> str:
    """The name that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


@every_document
def test_links_lead_somewhere(document):
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", document.read_text("utf-8")):
        path, _, place = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        if place:
            titles = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.M)
            assert place in {anchor(title) for title in titles}, link


@every_document
def test_commands_are_there(document):
    text = document.read_text("utf-8")
    for verb in re.findall(r"\bnonpareil ([a-z][\w-]*)", text):
        assert verb in VERBS, verb
    for verb in re.findall(r"(?:\bnonpareil|-m|`)\s*shards ([a-z][\w-]*)", text):
        assert verb in SHARDS_VERBS, verb
    for recipe in re.findall(r"(?:nonpareil|pipelines\.)\s*(?:render|filter|atlas) (\w+)", text):
        assert recipe in {*names(), "RECIPE"}, recipe


@every_document
def test_modules_are_there(document):
    for module in re.findall(r"python3? -m ([\w.]+)", document.read_text("utf-8")):
        if module.split(".")[0] in OURS:
            place = ROOT / module.replace(".", "/")
            assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), module


@every_document
def test_files_named_in_code_are_there(document):
    text = document.read_text("utf-8")
    folders = "|".join((*OURS, "tests", "docs"))
    for name in re.findall(rf"`((?:{folders})/[\w/.-]+\.(?:py|toml|txt|md|yaml))`", text):
        assert (ROOT / name).exists(), name


SETTINGS = set(re.findall(r"(?m)^    (\w+):", (ROOT / "render/settings.py").read_text("utf-8")))
"""The fields of RenderSettings, which a recipe and `--set` call `render.NAME`."""


@every_document
def test_names_of_the_code_are_there(document):
    """`vae.objective.alignment.balance` leads to a module that says `balance`."""
    for name in re.findall(rf"`((?:{'|'.join(OURS)})(?:\.\w+)+)`", document.read_text("utf-8")):
        parts = name.split(".")
        place = ROOT / parts[0]
        while len(parts) > 1 and (place / parts[1]).is_dir():
            place, parts = place / parts[1], parts[1:]
        if len(parts) > 1 and (place / f"{parts[1]}.py").exists():
            place, parts = place / f"{parts[1]}.py", parts[1:]
        else:
            place = place / "__init__.py"
        words = set(re.findall(r"\w+", place.read_text("utf-8")))
        fields = SETTINGS if name.startswith("render.") else set[str]()
        assert len(parts) == 1 or parts[1] in words | fields, name
        assert len(parts) < 3 or parts[1][0].isupper(), name  # an attribute of a class


def test_the_drawing_of_the_house_has_every_room():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    rooms = {
        file.parent.relative_to(ROOT).as_posix()
        for package in OURS
        if package != "benchmarks"
        for file in (ROOT / package).rglob("__init__.py")
    }
    assert set(re.findall(r"^\| `([a-z/]+)` \|", text, re.M)) == rooms
    drawing = text.split("```")[1]
    assert all(room.rpartition("/")[2] in drawing for room in rooms)
