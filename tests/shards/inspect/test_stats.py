"""Histograms hold every value, in bounded memory, and are drawn over bins that read well."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards import ShardWriter
from shards.dataset import Dataset
from shards.inspect.stats import Histogram, Stats
from tests.conftest import make_sample

plain = st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6, allow_subnormal=False)
samples = st.lists(plain | st.floats(0, 1, allow_subnormal=False), min_size=1, max_size=80)


def histogram(values):
    found = Histogram()
    for value in values:
        found.add(value)
    return found


@given(samples, st.integers(1, 20))
def test_bins_hold_every_value_without_gaps(values, most):
    bins = histogram(values).bins(most)
    assert sum(one.samples for one in bins) == len(values)
    assert len(bins) <= max(most, 1)
    edges = [edge for one in bins for edge in (one.low, one.high)]
    assert edges == sorted(edges)
    if any(one.low != one.high for one in bins):
        assert edges[1:-1:2] == edges[2::2]


@given(samples, st.sampled_from([0.0, 0.05, 0.5, 0.95, 1.0]))
def test_quantiles_are_within_half_a_percent(values, share):
    exact = sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
    assert histogram(values).quantile(share) == pytest.approx(exact, rel=0.005)


def test_memory_is_bounded_by_three_digits():
    found = histogram(i / 1e5 for i in range(10_000, 100_000))
    assert len(found.counts) == 901
    assert found.count == 90_000
    assert (found.low, found.high) == (0.1, 0.99999)


def test_few_values_get_a_bin_each_and_many_get_nice_edges():
    assert histogram([3, 1, 3]).bins() == [(1, 1, 1), (3, 3, 2)]
    assert [one.low for one in histogram(range(100)).bins()] == list(range(0, 100, 5))


def test_a_long_tail_gets_bins_that_grow():
    bins = histogram([*range(1, 100), 9_000]).bins()
    assert [one.low for one in bins] == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]


def test_what_is_not_a_number_is_passed_over():
    found = histogram([math.nan, math.inf, -math.inf, 1e300])
    assert found.row() == {"count": 0, "bins": []}
    assert found.mean == 0
    with pytest.raises(ValueError, match="empty"):
        found.quantile(0.5)


def test_what_was_not_counted_is_not_in_a_sidecar(shard_folder):
    assert Stats().on_photographs() == ""
    assert "characters_by" not in (shard_folder / "part-000000.json").read_text()


def test_stats_count_what_the_sidecars_say(shard_folder):
    with ShardWriter(shard_folder, 2, recipe="s") as writer:
        for i, size_px in enumerate([(7.0, 9.0), (8.0, 12.0)]):
            sample = make_sample(10 + i)
            sample.meta.update(
                {"size_px": size_px, "language": "zh", "scores": {"contrast": 3.5 + i}}
            )
            sample.meta["characters_by"] = {"ground": {"bare": 3, "sheet": 1 + i}}
            writer.write(sample)
    stats = Stats()
    for sidecar in Dataset(shard_folder).sidecars():
        stats.add(sidecar)
    totals = stats.totals
    assert (totals.shards, totals.samples, totals.dropped) == (3, 8, {"blurry": 2})
    assert totals.bytes == sum(path.stat().st_size for path in shard_folder.glob("*.tar"))
    assert stats.languages == {"en": 6, "zh": 2}
    assert stats.characters_by == {"ground": {"bare": 6, "sheet": 3}}
    assert stats.on_photographs() == "67 % on bare photographs"
    assert stats.row()["characters_by"] == {"ground": {"bare": 6, "sheet": 3}}
    assert stats.recipes == {"r" * 64: 2, "s": 1}
    assert stats.smallest_px.counts == {7: 1, 8: 1}
    assert stats.largest_px.counts == {9: 1, 12: 1}
    assert stats.text_length.count == 8
    assert stats.short_side.counts == {40: 8}
    assert stats.aspect.counts == {1.5: 8}
    assert stats.scores["contrast"].counts == {3.5: 1, 4.5: 1}
    assert stats.dropped_scores["sharpness"].counts == {0.1: 2}
    assert json.loads(json.dumps(stats.row()))["languages"] == {"en": 6, "zh": 2}
    assert [title for title, _ in stats.histograms()][-1] == "dropped: sharpness"
