"""Killed training runs: a few of the kills of the benchmark."""

import pytest

from benchmarks.resume import Trial, inject


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    return Trial(tmp_path_factory.mktemp("trial"))


def nothing_is_lost(rows):
    values = {row.name.rpartition(": ")[2]: row.value for row in rows}
    assert values["runs ended"] > 0
    assert values["differing"] == 0
    assert values["other digests"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "loaders"), [("1, 2, 4 ranks in turn", 0), ("1 rank", 2)])
def test_killed_at_random_moments_a_run_ends_with_the_same_bytes(trial, ranks, loaders):
    nothing_is_lost(trial.killed(ranks, loaders, 3))


@pytest.mark.slow
def test_so_it_does_where_steps_were_skipped_and_samples_replaced(tmp_path):
    faulty = Trial(tmp_path / "trial", before=inject, damaged=True)
    assert all(row.value >= row.target for row in faulty.named())
    nothing_is_lost(faulty.killed("1 rank", 0, 2, "faults injected"))
