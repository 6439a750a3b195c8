"""Killed training runs: a few of the kills of the benchmark."""

import pytest

from benchmarks.resume import Trial


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    return Trial(tmp_path_factory.mktemp("trial"))


@pytest.mark.slow
@pytest.mark.parametrize("loaders", [0, 2])
def test_killed_at_random_moments_a_run_ends_with_the_same_bytes(trial, loaders):
    rows = {row.name.partition(": ")[2]: row.value for row in trial.killed(loaders, 3)}
    assert rows["runs ended"] > 0
    assert rows["differing bytes of weights, average, moments"] == 0
    assert rows["other digests of the samples drawn"] == 0
