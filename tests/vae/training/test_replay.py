"""A step of a run, taken again: the same numbers, a sample at a time."""

import json
import math

import pytest
import torch

from shards import UserError
from vae import fit
from vae.data.batches import Batches, open_streams, sizes_of
from vae.training.replay import replay
from vae.training.step import Step


def rows(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_step_has_the_numbers_it_had_in_the_run(settings, streams, tmp_path):
    logged = settings.model_copy(update={"log_every": 1})
    fit(logged, streams, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    # Of the checkpoints of steps 3, 6 and 8 the last two are kept.
    again = replay(logged, streams, tmp_path / "out", 22)
    assert (again.knobs.step, again.checkpoint) == (7, str(tmp_path / "out/step-000006"))
    total = sum(row["total"] for row in again.rows) / len(again.rows)
    assert total == pytest.approx(rows(tmp_path / "out/metrics.jsonl")[7]["total"], rel=1e-5)
    assert len(again.rows) == again.knobs.samples
    assert {"micro_batch", "sample", "l1", "total", "gradient_norm"} <= again.rows[0].keys()
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}


def test_the_sample_that_ruined_a_step_is_shown(settings, streams, tmp_path, monkeypatch):
    whole, readers = Step.forward, open_streams(streams, settings.stages)
    batch = Batches(readers, settings.curriculum(sizes_of(readers)))[20, 1]
    (ruinous,) = batch.images

    def forward(step, images, *arguments):
        total, terms = whole(step, images, *arguments)
        met = any(torch.equal(image, ruinous) for image in images)
        return total * (torch.nan if met else 1), terms

    monkeypatch.setattr(Step, "forward", forward)
    fit(settings, streams, tmp_path / "out")
    (line,) = rows(tmp_path / "out/skipped.jsonl")
    again = replay(settings, streams, tmp_path / "out", line["n"])
    ruined = [row for row in again.rows if math.isnan(row["total"])]
    assert [(row["micro_batch"], row["sample"]) for row in ruined] == [(1, batch.keys[0])]
    assert line["micro_batches"] == [{"micro_batch": 1, "rank": 0, "keys": [*batch.keys]}]
    assert len(again.rows) == 2


@pytest.mark.parametrize(
    ("n", "message"), [(21, "no step begins at n=21"), (0, "from before step 1"), (24, "n=24")]
)
def test_what_cannot_be_replayed_is_said(settings, streams, tmp_path, n, message):
    fit(settings, streams, tmp_path / "out")
    with pytest.raises(UserError, match=message):
        replay(settings, streams, tmp_path / "out", n)
