"""`nonpareil replay`: a table for people, lines for machines, and what it refuses."""

import json

import pytest

from pipelines.replay import replay, replay_to
from pipelines.training import Training, train_to
from shards import UserError
from tests.vae.conftest import settings, streams, write_shard  # noqa: F401 - fixtures


def test_a_step_of_a_run_is_shown_sample_by_sample(settings, streams, tmp_path, capsys):  # noqa: F811
    train_to(Training(settings, streams, tmp_path / "run"))
    given = [f"{name}={folder}" for name, folder in streams.items()]
    capsys.readouterr()
    replay(tmp_path / "run", 22, stream=given)
    table = capsys.readouterr().out
    assert "step 8 at n 22, stage two" in table
    assert "step-000006" in table
    replay(tmp_path / "run", 22, stream=given, as_json=True)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 2
    assert all(row["sample"] in table and row["gradient_norm"] > 0 for row in rows)

    other = write_shard(tmp_path / "other", "text", 3, (30, 20), seed=2)
    with pytest.raises(UserError, match=r"does not hold the samples that .* was trained on"):
        replay_to(tmp_path / "run", 22, streams | {"synthetic": other})
    with pytest.raises(UserError, match="is no training run"):
        replay_to(tmp_path, 22, streams)
