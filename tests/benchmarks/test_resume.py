"""Killed training runs: a few of the kills of the benchmark."""

import pytest

from benchmarks.resume import Trial


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    return Trial(tmp_path_factory.mktemp("trial"))


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "loaders"), [("1, 2, 4 ranks in turn", 0), ("1 rank", 2)])
def test_killed_at_random_moments_a_run_ends_with_the_same_bytes(trial, ranks, loaders):
    rows = trial.killed(ranks, loaders, 3)
    values = {row.name.partition(": ")[2]: row.value for row in rows}
    assert values["runs ended"] > 0
    assert values["differing bytes"] == 0
    assert values["other digests of the samples drawn"] == 0
