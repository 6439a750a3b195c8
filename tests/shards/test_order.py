"""Every epoch is a permutation, every slice of the ranks covers it, any draw is as cheap as the
first."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards import Order, UserError

SEEDS = st.integers(0, 2**64 - 1)


@given(st.integers(1, 500), SEEDS, st.integers(0, 2**40))
def test_an_epoch_holds_each_sample_once(samples, seed, epoch):
    order = Order(samples, seed)
    first = epoch * samples
    drawn = [order[first + i] for i in range(samples)]
    assert sorted(drawn) == list(range(samples))
    assert order.many(np.arange(first, first + samples)).tolist() == drawn


@given(st.integers(1, 2**62), SEEDS, st.integers(0, 2**62))
def test_a_draw_needs_no_other(samples, seed, draw):
    order = Order(samples, seed)
    assert 0 <= order[draw] < samples
    assert order.many(np.array([draw, 0])).tolist() == [order[draw], order[0]]


@given(
    st.integers(1, 60),
    SEEDS,
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 40)), min_size=1, max_size=4),
)
def test_ranks_take_every_draw_once_however_their_number_changes(samples, seed, runs):
    order = Order(samples, seed)
    start, drawn = 0, []
    for world, steps in runs:
        ranks = [islice(order.slice(start, rank=r, world=world), steps) for r in range(world)]
        drawn += [number for step in zip(*ranks, strict=True) for number in step]
        start += world * steps
    assert drawn == [order[draw] for draw in range(start)]
    for epoch in range(start // samples):
        assert sorted(drawn[epoch * samples : (epoch + 1) * samples]) == list(range(samples))


def test_a_slice_goes_on_beyond_one_block():
    order = Order(7, 1)
    assert list(islice(order.slice(3, rank=1, world=2), 3000)) == [
        order[3 + 1 + 2 * i] for i in range(3000)
    ]


def test_every_order_is_as_likely_as_the_others():
    order = Order(4, 1)
    seen = Counter(tuple(order[4 * epoch + i] for i in range(4)) for epoch in range(12000))
    assert len(seen) == 24
    # Chi-squared with 23 degrees of freedom: the 99.9th percentile.
    assert sum((count - 500) ** 2 / 500 for count in seen.values()) < 49.7


def test_neighbours_are_scattered():
    samples = 100_000
    drawn = Order(samples, 5).many(np.arange(samples))
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.02
    assert abs(np.corrcoef(np.arange(samples), drawn)[0, 1]) < 0.02
    other = Order(samples, 6).many(np.arange(samples))
    assert (drawn == other).sum() < 10


def test_an_order_is_what_it_was():
    """Runs are resumed with later versions of this package."""
    assert [Order(10, 42)[draw] for draw in range(12)] == [2, 4, 8, 7, 6, 1, 9, 3, 5, 0, 7, 4]


@pytest.mark.parametrize(("samples", "seed"), [(0, 0), (2**62 + 1, 0), (1, -1), (1, 2**64)])
def test_what_cannot_be_shuffled_is_named(samples, seed):
    with pytest.raises(UserError, match="give"):
        Order(samples, seed)


@pytest.mark.parametrize(("start", "rank", "world"), [(-1, 0, 1), (0, 1, 1), (0, -1, 2), (0, 0, 0)])
def test_there_is_no_such_rank(start, rank, world):
    with pytest.raises(UserError, match="ranks count from 0"):
        Order(5, 0).slice(start, rank=rank, world=world)


def test_there_is_no_draw_before_the_first():
    with pytest.raises(IndexError, match="draw -1"):
        Order(5, 0)[-1]
