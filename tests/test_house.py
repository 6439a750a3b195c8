"""The rules of the house, checked."""

import ast
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("shards", "render", "filters", "vae", "pipelines")
FILES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))

MAY_IMPORT = {
    "shards": set[str](),
    "shards.derive": {"shards"},
    "shards.inspect": {"shards", "shards.derive"},
    "shards.__main__": {"shards", "shards.inspect"},
    "render.plan": {"shards"},
    "render.compiled": {"shards"},
    "render.warp": set[str](),
    "render.text": {"render.plan", "render.compiled", "shards"},
    "render.picture": {"render.plan", "render.warp", "render.compiled", "shards"},
    "render.type": {"render.text", "render.plan", "render.warp", "render.compiled", "shards"},
    "render.page": {
        *("render.text", "render.type", "render.picture"),
        *("render.plan", "shards"),
    },
    "render.layouts": {"render.page", "render.picture", "render.plan", "shards"},
    "render": {"render.*", "shards"},
    "filters": {"shards"},
    "vae.compiled": {"shards"},
    "vae.norm_silu": {"vae.compiled"},
    "vae.ops": {"vae.norm_silu"},
    "vae.layers": {"vae.ops", "shards"},
    "vae.pixels": set[str](),
    "vae.settings": {"shards"},
    "vae.sizes": set[str](),
    "vae.skips": {"vae.layers", "vae.settings", "shards"},
    "vae.model": {"vae.layers", "vae.settings", "vae.sizes", "vae.skips"},
    "vae": {"vae.layers", "vae.settings", "vae.sizes", "vae.skips", "shards"},
    "vae.objective": {"vae.settings", "vae.sizes", "shards"},
    "vae.inference": {
        *("vae.layers", "vae.model", "vae.settings", "vae.sizes"),
        *("vae.compiled", "shards"),
    },
    "vae.curriculum": {"vae.objective", "shards"},
    "vae.data": {"vae.curriculum", "shards"},
    "vae.training": {
        *("vae", "vae.model", "vae.settings", "vae.pixels"),
        *("vae.objective", "vae.inference", "vae.curriculum", "vae.data", "shards"),
    },
    "pipelines.recipe": {"shards"},
    "pipelines.options": {"shards"},
    "pipelines.engine": {"pipelines.recipe", "render", "filters", "shards"},
    "pipelines.evaluation": {"filters", "vae", "shards"},
    "pipelines": {"*"},
}
"""What each room, or a single file in front of the rooms, may import beside itself; `a.*` stands
for every room of `a`. What a package's `__init__` offers may come from any of its rooms."""

AT_HOME = {
    "ray": {"pipelines"},
    "torch": {"vae", "pipelines"},
    "rapidocr": {"filters"},
    "paddleocr": {"filters"},
}


def imports(file: Path) -> set[str]:
    """Every module that a file names, `from a import b` as `a` and `a.b`."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in ("import_module", "importlib.import_module")
            and isinstance(node.args[0], ast.Constant)
        ):
            found.add(str(node.args[0].value))
    return found


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file) for file in FILES}


def room_of(module: str) -> str:
    while module not in MAY_IMPORT:
        module = module.rpartition(".")[0]
    return module


def may_import(room: str) -> set[str]:
    names = {room} | MAY_IMPORT[room]
    return {other for other in MAY_IMPORT if any(fnmatch(other, name) for name in names)}


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_imports_point_in_one_direction(file):
    found, module = imports(file), module_of(file)
    rooms = {room_of(one) for one in found & MODULES}
    if module in PACKAGES:  # the names that a package offers
        assert all(room.split(".")[0] in {module, "shards"} for room in rooms)
    else:
        assert rooms <= may_import(room_of(module))
    for library, homes in AT_HOME.items():
        packages = {one.split(".")[0] for one in found}
        assert library not in packages or module.split(".")[0] in homes


def test_rooms_stand_on_one_another_without_a_circle():
    """A file in front of the rooms may use all of them; no room may lead back to itself."""
    graph = {room: may_import(room) - {room} for room in MAY_IMPORT}
    assert {*TopologicalSorter(graph).static_order()} == {*MAY_IMPORT}


def test_no_file_leads_back_to_itself():
    graph = {module_of(file): (imports(file) & MODULES) - {module_of(file)} for file in FILES}
    assert {*TopologicalSorter(graph).static_order()} == MODULES


def test_the_check_of_imports_sees_every_way_to_import(tmp_path):
    file = tmp_path / "x.py"
    file.write_text("def f():\n import a.b\n from c.d import e\n importlib.import_module('g.h')\n")
    assert imports(file) == {"a.b", "c.d", "c.d.e", "g.h"}


def test_torch_and_ray_stay_out_of_what_does_not_need_them():
    code = (
        "import sys, importlib\n"
        "for package in ('shards', 'render', 'filters', 'pipelines.cli'):\n"
        "    importlib.import_module(package)\n"
        "    print(package, *{'torch', 'ray'} & {*sys.modules})\n"
    )
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert told.stdout.split() == ["shards", "render", "filters", "pipelines.cli"]


def test_nothing_that_ray_must_ship_is_ignored():
    """Ray drops what either file matches: an unanchored `shards/` would lose the package."""
    shipped = [str(file.relative_to(ROOT)) for file in FILES] + ["shards/embedded.toml"]
    shipped += [
        str(file.relative_to(ROOT))
        for folder in (
            "pipelines/recipes",
            "pipelines/templates",
            "render/text/prose",
            "shards/inspect/templates",
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


def test_every_room_is_installed():
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = table["tool"]["setuptools"]["packages"]["find"]["include"]
    assert patterns == [f"{package}*" for package in PACKAGES]
    rooms = {file.parent for file in FILES}
    assert all((room / "__init__.py").exists() for room in rooms)


def test_no_drawer_for_odds_and_ends():
    drawers = {"utils", "util", "helpers", "common", "misc", "manager"}
    assert not drawers & {file.stem for file in ROOT.rglob("*.py") if ".venv" not in file.parts}


SAY_NOTHING = {"every", "found", "most", "one", "some"}
"""Words that fit any value, and so tell a reader nothing about this one."""


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_names_say_what_they_hold(file):
    names = set[str]()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.id if isinstance(node, ast.Name) else node.attr)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
    assert not names & SAY_NOTHING


WRITES_ASIDE = {
    "pipelines.engine.trial",
    "pipelines.export",
    "render.type.atlas",
    "shards.embedded",
    "vae.training.output",
}
"""Files that write under a temporary name, or into a temporary folder, and rename what is whole."""


def test_files_are_written_whole_or_not_at_all():
    """`Store.replace` and `write_atomically` do it: a full disk leaves no cut picture elsewhere."""
    calls = {
        module_of(file)
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("write_bytes", "write_text")
    }
    assert calls == WRITES_ASIDE
