"""Any engine, any order, any interruption: the same shards."""

import io
import json

import numpy as np
import pytest

from pipelines.engine.estimate import estimate
from pipelines.engine.jobs import FilterJob, RenderJob
from pipelines.engine.run_options import RunOptions
from pipelines.engine.workers import Run
from pipelines.finalize import describe_dataset
from shards import ShardReader, ShardWriter, UserError, encode_png
from shards.dataset import Dataset
from shards.inspect.check import faults
from shards.inspect.repair import repair
from shards.store import Folder
from tests.conftest import make_sample, picture
from tests.pipelines.conftest import INLINE, SMALL_PAGES


def sums(folder):
    return {sidecar.shard: sidecar.sha256 for sidecar in Dataset(folder).sidecars()}


def test_processes_write_what_one_process_writes(job, tmp_path):
    list(Run(job, tmp_path / "one", INLINE))
    list(Run(job, tmp_path / "two", RunOptions("processes", workers=2)))
    assert sums(tmp_path / "one") == sums(tmp_path / "two")
    assert len(sums(tmp_path / "one")) == 3


def test_a_stopped_run_continues_and_ends_the_same(job, tmp_path):
    list(Run(job, tmp_path / "whole", INLINE))
    run = iter(Run(job, tmp_path / "stopped", INLINE))
    next(run)
    run.close()
    again = list(Run(job, tmp_path / "stopped", INLINE))
    assert len(again) == 2
    assert sums(tmp_path / "whole") == sums(tmp_path / "stopped")


def test_more_shards_may_be_added_later(job, tmp_path):
    list(Run(job, tmp_path, INLINE))
    more = RenderJob.model_validate(SMALL_PAGES | {"shards": 4})
    assert [made.shard for made in Run(more, tmp_path, INLINE)] == [3]


def test_another_recipe_is_refused_by_name(job, tmp_path):
    list(Run(job, tmp_path, INLINE))
    before = sums(tmp_path)
    with pytest.raises(UserError, match=r"recipe\.seed: 0 → 1"):
        Run(RenderJob.model_validate(SMALL_PAGES | {"seed": 1}), tmp_path)
    assert sums(tmp_path) == before


def test_deleted_sidecar_remakes_the_same_shard(job, tmp_path):
    list(Run(job, tmp_path, INLINE))
    before = sums(tmp_path)
    (tmp_path / "part-000001.json").unlink()
    list(Run(job, tmp_path, INLINE))
    assert sums(tmp_path) == before
    assert list(faults(tmp_path)) == []


def test_unknown_engine_and_relative_ray_output(job, tmp_path):
    with pytest.raises(UserError, match="not one of inline, processes, ray"):
        Run(job, tmp_path, RunOptions(engine="spark"))
    from pathlib import Path

    with pytest.raises(UserError, match="absolute path that every node sees"):
        Run(job, Path("relative"), RunOptions("ray"))


def test_full_disk_in_a_worker_is_one_line(job, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device", "part")

    monkeypatch.setattr("shards.writer.flush", full)
    with pytest.raises(OSError, match="No space left"):
        list(Run(job, tmp_path, INLINE))
    assert not list(tmp_path.glob("*.tar"))
    assert not list(tmp_path.glob(".*tmp"))


def sharp_edges(seed, side=300):
    """Random black and white blocks: crisp, rich in edges."""
    cells = np.random.default_rng(seed).integers(0, 2, (side // 6, side // 6), dtype=np.uint8)
    return np.repeat(cells.repeat(6, 0).repeat(6, 1)[..., None] * 255, 3, axis=2)


def test_filter_keeps_the_bytes_and_names_every_drop(tmp_path):
    import cv2

    images = tmp_path / "images"
    images.mkdir()
    sharp = sharp_edges(0)
    (images / "a_sharp.png").write_bytes(encode_png(sharp))
    (images / "b_small.png").write_bytes(encode_png(picture(1)))
    (images / "c_broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    blurred = cv2.GaussianBlur(sharp, (0, 0), 4).astype(np.uint8)
    (images / "d_blurred.png").write_bytes(encode_png(blurred))
    job = FilterJob.model_validate(
        {
            "images": str(images),
            "filter": [{"kind": "resolution", "minimum": 256}, {"kind": "clarity"}],
        }
    )
    list(Run(job, tmp_path / "out", INLINE))
    (sidecar,) = Dataset(tmp_path / "out").sidecars()
    with ShardReader(tmp_path / "out") as reader:
        assert [sample.image for sample in reader] == [(images / "a_sharp.png").read_bytes()]
    dropped = {drop.source: drop for drop in sidecar.dropped}
    assert {name: drop.reason for name, drop in dropped.items()} == {
        "b_small.png": "too_small",
        "c_broken.jpg": "unreadable",
        "d_blurred.png": "blurry",
    }
    assert "its head is broken" in dropped["c_broken.jpg"].detail


def test_unreadable_photograph_under_pages_is_counted_and_named(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    (images / "good.png").write_bytes(encode_png(sharp_edges(0)))
    (images / "bad.png").write_bytes(b"\x89PNG broken")
    page = SMALL_PAGES["render"] | {"photographs": str(images), "flat_share": 0.0}
    settings = SMALL_PAGES | {"samples_per_shard": 16, "render": page}
    list(Run(RenderJob.model_validate(settings), tmp_path / "warm", INLINE))
    totals = Dataset(tmp_path / "warm").totals()
    assert totals.dropped == {"unreadable": 1}
    assert totals.unreadable == {"bad.png"}
    assert totals.samples == 48
    # The sidecar must not depend on what a worker met before.
    (tmp_path / "cold").mkdir()
    RenderJob.model_validate(settings).make_shard(2, Folder(tmp_path / "cold"))
    notes = [(tmp_path / name / "part-000002.json").read_bytes() for name in ("warm", "cold")]
    assert notes[0] == notes[1]


def test_recipe_lies_beside_the_output(tmp_path):
    job = RenderJob.model_validate(SMALL_PAGES)
    list(Run(job, tmp_path, INLINE))
    held = json.loads((tmp_path / "recipe.json").read_text())
    assert held["recipe"]["render"]["size_px"] == [7, 12]
    assert held["digest"] == job.digest
    assert io.StringIO(json.dumps(held["inputs"])).read(2) != "{}"


def test_a_sidecar_names_the_code_and_the_libraries_that_made_it(tmp_path):
    job = RenderJob.model_validate(SMALL_PAGES | {"shards": 1})
    list(Run(job, tmp_path, INLINE))
    (sidecar,) = Dataset(tmp_path).sidecars()
    assert len(sidecar.versions["code"]) == 12
    assert {"pillow", "numpy", "freetype"} < sidecar.versions.keys()


def test_shards_of_another_recipe_are_finished_for_nobody(job, tmp_path, caplog):
    """Such a shard comes from a node that has other inputs under the same path."""
    list(Run(job, tmp_path, INLINE))
    before = sums(tmp_path)
    for shard in (0, 2):
        (tmp_path / f"part-{shard:06d}.json").unlink()
        with ShardWriter(tmp_path, shard, recipe="f" * 64) as writer:
            writer.extend(make_sample(2 * shard + i) for i in range(2))
    assert [summary.shard for summary in Dataset(tmp_path).whole()] == [1]
    assert estimate(job, tmp_path, INLINE).to_make == 2
    with pytest.raises(UserError, match=r"part-000000\.tar: made by another recipe"):
        describe_dataset(tmp_path)
    named = [(fault.shard, fault.kind, fault.mendable) for fault in faults(tmp_path)]
    assert named == [(0, "recipe", True), (2, "recipe", True)]
    assert [action.remade for action in repair(tmp_path, dry_run=True)] == [0, 2]
    assert [made.shard for made in Run(job, tmp_path, INLINE)] == [0, 2]
    assert "another recipe made shards 0, 2; they are made again" in caplog.text
    assert sums(tmp_path) == before
    assert list(faults(tmp_path)) == []
