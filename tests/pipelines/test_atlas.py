"""The atlas of a machine: filled ahead, shared, and without a say in what pages look like."""

import json
from pathlib import Path

from pipelines.engine.jobs import RenderJob
from pipelines.recipe import atlas_folder
from shards.embedded import NOTE
from tests.command import mistake, nonpareil

NARROW = (
    "--set", "render.size_px=[8,8]", "--set", "render.languages={en=1}",
    "--set", "render.hinting={light=1}",
)  # fmt: skip


def strikes(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name != NOTE]


def test_the_atlas_is_filled_once_and_found_full_again(tmp_path):
    command = ("atlas", "render_pages", *NARROW, "--folder", tmp_path, "--workers", 2, "--json")
    first, again = (json.loads(nonpareil(*command).stdout) for _ in range(2))
    assert first["strikes"] == again["strikes"] == len(strikes(tmp_path)) > 20
    assert first["glyphs"] == again["glyphs"] > 1000 * first["MB"] > 0


def test_a_shard_shares_its_glyphs_and_is_the_same_without_them(job, tmp_path, monkeypatch):
    made = {}
    for name in ("cold", "warm", "elsewhere"):
        folder = tmp_path / name
        folder.mkdir()
        if name == "elsewhere":
            monkeypatch.setenv("NONPAREIL_CACHE", str(tmp_path / "file" / "below"))
            (tmp_path / "file").write_text("no folder can be made here")
        made[name] = RenderJob.model_validate(job.model_dump()).make_shard(0, folder).sha256
        if name == "cold":
            assert len(strikes(atlas_folder())) > 0
    assert made["cold"] == made["warm"] == made["elsewhere"]


def test_the_cache_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("NONPAREIL_CACHE", "/a")
    assert atlas_folder() == Path("/a/atlas")
    monkeypatch.delenv("NONPAREIL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert atlas_folder() == Path("/b/nonpareil/atlas")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert atlas_folder() == Path.home() / ".cache/nonpareil/atlas"


def test_an_unknown_recipe_is_refused():
    assert "does not ship" in mistake("atlas", "no_such_recipe")
