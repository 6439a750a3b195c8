"""Processes that train together: what they say to each other, and what they do when one is gone."""

import time

import pytest
import torch

from shards import UserError
from tests.vae.conftest import on_ranks
from vae.training.ranks import ALONE, Ranks, device_named


def test_one_process_alone_waits_for_nobody():
    assert (ALONE.rank, ALONE.world, ALONE.device) == (0, 1, torch.device("cpu"))
    assert ALONE.part(6) == range(6)
    assert ALONE.gather("a") == ["a"]
    assert ALONE.any(True)
    assert not ALONE.any(False)
    ALONE.barrier()
    rows = torch.rand(3, 2)
    assert ALONE.rows(rows) is rows


def speak(ranks):
    """All that two ranks may say; the last barrier finds one of them gone."""
    said = {
        "part": ranks.part(6),
        "gather": ranks.gather({"rank": ranks.rank}),
        "any": [ranks.any(ranks.rank == 1), ranks.any(False)],
        "rows": ranks.rows(torch.tensor([[ranks.rank, 7]])),
    }
    ranks.barrier()
    if ranks.rank == 1:
        ranks.leave()
        ranks.barrier()  # alone by now
        return said
    start = time.monotonic()
    for method in (ranks.barrier, lambda: ranks.any(True), lambda: ranks.gather(0)):
        with pytest.raises(UserError) as raised:
            method()
        said.setdefault("lines", []).append(str(raised.value))
    assert time.monotonic() - start < 30
    return said


@pytest.mark.slow
def test_two_ranks_share_what_they_have_and_notice_when_one_is_gone():
    first, second = on_ranks(2, speak)
    assert (first["part"], second["part"]) == (range(3), range(3, 6))
    for said in (first, second):
        assert said["gather"] == [{"rank": 0}, {"rank": 1}]
        assert said["any"] == [True, False]
        assert said["rows"].tolist() == [[0, 7], [1, 7]]
    for line in first["lines"]:
        assert line.startswith("rank 0 of 2 could not ")
        assert "\n" not in line
    assert "Ranks 1 failed" in first["lines"][0]


def test_a_rank_that_nobody_joins_ends_with_one_line(tmp_path):
    with pytest.raises(UserError, match="rank 0 of 2 could not meet the others at file://"):
        Ranks.join(0, 2, f"file://{tmp_path}/meeting", timeout=0.5)
    with pytest.raises(UserError, match="rank 2 of 2: ranks count from 0 to 1"):
        Ranks.join(2, 2, f"file://{tmp_path}/meeting")
    assert Ranks.join(0, 1, None).world == 1


@pytest.mark.parametrize("name", ["tpu", "cuda:x", "cpu:", f"cuda:{torch.cuda.device_count()}"])
def test_a_device_that_is_not_there_is_named(name):
    with pytest.raises(UserError, match=f"^device={name}.* choose"):
        device_named(name)
