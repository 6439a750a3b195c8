"""--dry-run: one real shard elsewhere, and nothing touched where the shards belong."""

import json
import os

import pytest

from pipelines.engine.estimate import estimate
from pipelines.engine.run_options import RunOptions
from pipelines.engine.workers import Run
from shards import ShardError, UserError
from tests.command import mistake, nonpareil
from tests.pipelines.conftest import INLINE, SMALL_PAGES


def contents(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_a_plan_is_what_the_run_then_makes(job, tmp_path):
    plan = estimate(job, tmp_path / "out", INLINE, price=2.0)
    assert not (tmp_path / "out").exists()
    assert (plan.shards, plan.finished, plan.to_make, plan.samples) == (3, 0, 3, 6)
    assert plan.wall_seconds == pytest.approx(3 * plan.seconds_per_shard, rel=0.01, abs=0.01)
    assert plan.cost == pytest.approx(2.0 * plan.core_hours, abs=1e-3)
    list(Run(job, tmp_path / "out", INLINE))
    size = sum(path.stat().st_size for path in (tmp_path / "out").glob("part-*"))
    assert plan.bytes == pytest.approx(size, rel=0.5)


def test_nothing_is_touched(job, tmp_path):
    list(Run(job, tmp_path, INLINE))
    (tmp_path / "part-000001.json").unlink()
    (tmp_path / "part-000002.tar").unlink()  # a real run would remove its sidecar
    (tmp_path / ".part-000009.tar.gone.1.1.tmp").touch()
    before = contents(tmp_path)
    plan = estimate(job, tmp_path, RunOptions(workers=2))
    assert (plan.finished, plan.to_make, plan.sampled, plan.workers) == (1, 2, 1, 2)
    assert contents(tmp_path) == before


def test_a_damaged_shard_is_planned_as_the_run_then_makes_it(job, tmp_path):
    list(Run(job, tmp_path, INLINE))
    whole = contents(tmp_path)
    tar = tmp_path / "part-000001.tar"
    os.truncate(tar, tar.stat().st_size - 512)
    plan = estimate(job, tmp_path, INLINE)
    assert (plan.finished, plan.to_make, plan.sampled) == (2, 1, 1)
    assert [made.shard for made in Run(job, tmp_path, INLINE)] == [1]
    assert {name: data for name, (data, _) in contents(tmp_path).items()} == {
        name: data for name, (data, _) in whole.items()
    }


def test_a_broken_sidecar_stops_the_plan_as_it_stops_the_run(job, tmp_path):
    list(Run(job, tmp_path, INLINE))
    (tmp_path / "part-000001.json").write_text("{")
    for begin in (estimate, Run):
        with pytest.raises(ShardError, match=r"part-000001\.json is not a sidecar"):
            begin(job, tmp_path, INLINE)


def test_workers_divide_the_time_but_not_below_a_shard(job, tmp_path):
    few, many = (
        estimate(job, tmp_path / "out", RunOptions(workers=workers)) for workers in (1, 100)
    )
    assert (few.workers, many.workers) == (1, 3)
    assert many.wall_seconds == pytest.approx(many.seconds_per_shard, abs=0.01)


def test_chosen_shards_are_planned_alone(job, tmp_path):
    list(Run(job, tmp_path, INLINE))
    plan = estimate(job, tmp_path, RunOptions("inline", only=[2]))
    assert (plan.finished, plan.to_make, plan.sampled) == (3, 1, 2)


def test_what_cannot_be_planned_is_one_line(job, tmp_path):
    with pytest.raises(UserError, match="give --workers"):
        estimate(job, tmp_path, RunOptions("ray"))
    list(Run(job, tmp_path, INLINE))
    other = type(job).model_validate(SMALL_PAGES | {"seed": 1})
    with pytest.raises(UserError, match=r"made by another recipe"):
        estimate(other, tmp_path)


def test_the_command_prints_a_plan(tmp_path):
    small = ("--set", "shards=3", "--set", "samples_per_shard=2", "--set", "render.width=128")
    out = tmp_path / "pages"
    command = ("render", "render_pages", "--out", out, *small, "--dry-run", "--price", "0.04")
    said = nonpareil(*command).stdout
    assert "3 to make of 3, 0 finished" in said
    assert "in the currency of --price 0.04" in said
    row = json.loads(nonpareil(*command, "--json").stdout)
    assert (row["to_make"], row["samples"], row["price_per_core_hour"]) == (3, 6, 0.04)
    assert "photographs and a little text, as pip brought, come again and again" in said
    assert "give render.photographs and render.corpus" in row["caution"]
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("字" * 50 + " and words to set. " * 50)
    text = ("--set", f"render.corpus={tmp_path / 'texts'}", "--set", "render.languages={ en = 1 }")
    row = json.loads(nonpareil(*command, *text, "--json").stdout)
    assert row["caution"].endswith("again; give render.photographs for more than a try")
    assert not out.exists()
    assert "--price is for --dry-run" in mistake(
        "render", "render_pages", "--out", out, "--price", "1"
    )
    assert "write it as 7" in mistake("render", "render_pages", "--out", out, "--shards", "x")


def test_a_filter_is_planned_too(tmp_path):
    only_size = ("--set", 'filter=[{kind="resolution", minimum=64}]')
    row = json.loads(
        nonpareil(
            "filter", "filter_photos", "--out", tmp_path / "o", *only_size, "--dry-run", "--json"
        ).stdout
    )
    assert row["to_make"] == row["shards"] > 0
    assert row["samples"] > 0
    assert not (tmp_path / "o").exists()
