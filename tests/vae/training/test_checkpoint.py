"""Checkpoints: which is the newest, which are kept, what a run does about broken ones."""

import shutil

import pytest
import torch

from shards import UserError
from vae import fit, load_model
from vae.training.checkpoint import checkpoints, latest
from vae.training.train import begin


def break_it(checkpoint):
    file = checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def names(folder):
    return sorted(path.name for path in folder.glob("*step-*"))


def test_step_1000000_is_newer_than_step_999000(settings, tmp_path):
    state = begin(settings)
    for step in (999_000, 1_000_000, 1_001_000):
        state.step = step
        assert state.save(tmp_path).is_dir()
    assert [path.name for path in checkpoints(tmp_path)] == ["step-1000000", "step-1001000"]
    assert latest(tmp_path) == tmp_path / "step-1001000"


def test_broken_checkpoints_are_moved_aside_and_never_kept_for_good_ones(
    settings, streams, tmp_path
):
    out = tmp_path / "out"
    fit(settings, streams, out)
    whole = load_model(out).state_dict()
    # A broken one that is far ahead of all that this run will write.
    shutil.copytree(out / "step-000006", out / "step-000100")
    break_it(out / "step-000100")
    break_it(out / "step-000008")
    fit(settings, streams, out)
    assert names(out) == ["broken-step-000008", "broken-step-000100", "step-000006", "step-000008"]
    again = load_model(out).state_dict()
    assert all(torch.equal(again[name], value) for name, value in whole.items())


def test_no_good_checkpoint_ends_with_one_line_and_loses_nothing(settings, streams, tmp_path):
    out = tmp_path / "out"
    fit(settings, streams, out)
    for checkpoint in checkpoints(out):
        break_it(checkpoint)
    lines, left = (out / "metrics.jsonl").read_bytes(), names(out)
    for _ in range(2):
        with pytest.raises(UserError, match=r"2 checkpoints \(step-000008 the newest\) and none"):
            fit(settings, streams, out)
    assert ((out / "metrics.jsonl").read_bytes(), names(out)) == (lines, left)
    fit(settings, streams, out, from_scratch=True)
    assert names(out) == ["broken-step-000006", "broken-step-000008", "step-000006", "step-000008"]
