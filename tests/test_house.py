"""The rules of the house, checked."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("shards", "render", "filters", "vae", "pipelines")
FILES = sorted(file for package in PACKAGES for file in (ROOT / package).glob("*.py"))

MAY_IMPORT = {
    "shards": {"shards"},
    "render": {"render", "shards"},
    "filters": {"filters", "shards"},
    "vae": {"vae", "shards"},
    "pipelines": {*PACKAGES},
}

AT_HOME = {
    "ray": {"pipelines"},
    "torch": {"vae", "pipelines"},
    "rapidocr": {"filters"},
    "paddleocr": {"filters"},
    "fontTools": {"render"},
}


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in ("import_module", "importlib.import_module")
            and isinstance(node.args[0], ast.Constant)
        ):
            found.add(str(node.args[0].value).split(".")[0])
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_imports_point_in_one_direction(file):
    package = file.parent.name
    found = imports(file)
    assert found & {*PACKAGES} <= MAY_IMPORT[package]
    for library, homes in AT_HOME.items():
        assert library not in found or package in homes


def test_the_check_of_imports_sees_every_way_to_import(tmp_path):
    file = tmp_path / "x.py"
    file.write_text("def f():\n import a.b\n from c.d import e\n importlib.import_module('g.h')\n")
    assert imports(file) == {"a", "c", "g"}


@pytest.mark.parametrize("package", ["shards", "render", "filters", "pipelines.cli"])
def test_torch_and_ray_stay_out_of_what_does_not_need_them(package):
    code = f"import sys, {package}; sys.exit(bool({{'torch', 'ray'}} & {{*sys.modules}}))"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


def test_nothing_that_ray_must_ship_is_ignored():
    """Ray drops what either file matches: an unanchored `shards/` would lose the package."""
    shipped = [str(file.relative_to(ROOT)) for file in FILES]
    shipped += [
        str(file.relative_to(ROOT))
        for folder in (
            "pipelines/recipes",
            "pipelines/templates",
            "render/prose",
            "shards/templates",
        )
        for file in (ROOT / folder).iterdir()
    ]
    for rules in (".gitignore", ".rayignore"):
        asked = subprocess.run(
            [
                "git",
                "-c",
                f"core.excludesFile={ROOT / rules}",
                "check-ignore",
                "--no-index",
                *shipped,
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
        assert asked.stdout == ""


def test_package_list_names_every_package():
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = table["tool"]["setuptools"]["packages"]
    assert [name for name in listed if "." not in name] == list(PACKAGES)
    assert all((ROOT / name.replace(".", "/")).is_dir() for name in listed)


def test_no_drawer_for_odds_and_ends():
    drawers = {"utils", "util", "helpers", "common", "misc", "manager"}
    assert not drawers & {file.stem for file in ROOT.rglob("*.py") if ".venv" not in file.parts}
