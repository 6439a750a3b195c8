from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shards import UserError
from vae import Stage
from vae.training.curriculum import Curriculum
from vae.training.schedule import Rate


def stage(name="a", steps=10, batch_size=4, shares=None, **more):
    return Stage(
        name=name,
        steps=steps,
        resolution=64,
        batch_size=batch_size,
        shares=shares or {"x": 1.0},
        **more,
    )


THREE = Curriculum(
    [
        stage("a", 10),
        stage("b", 5, shares={"x": 3.0, "y": 1.0}, shares_end={"y": 2.0}),
        stage("c", 1, shares={"y": 1.0}),
    ]
)


@pytest.mark.parametrize(
    ("step", "name", "shares"),
    [
        (0, "a", {"x": 1.0}),
        (9, "a", {"x": 1.0}),
        (10, "b", {"x": 0.75, "y": 0.25}),
        (12, "b", {"x": 0.375, "y": 0.625}),
        (14, "b", {"x": 0.0, "y": 1.0}),
        (15, "c", {"y": 1.0}),
    ],
)
def test_stage_and_shares_by_step(step, name, shares):
    found, at = THREE.at(step)
    assert (found.name, at) == (name, pytest.approx(shares))


@pytest.mark.parametrize("step", [-1, 16])
def test_a_step_outside_is_an_index_error(step):
    with pytest.raises(IndexError, match="16 steps"):
        THREE.at(step)


def test_streams_of_a_ramp_end_where_the_shares_end():
    assert {draw.stream for draw in THREE.draws(14)} == {"y"}


def farthest(curriculum):
    """How far any stream ever is from its integral share, in samples; checks the numbers too."""
    owed, counts, far = Counter(), Counter(), 0.0
    for step in range(curriculum.steps):
        _, shares = curriculum.at(step)
        for draw in curriculum.draws(step):
            assert shares[draw.stream] > 0
            assert draw.number == counts[draw.stream]
            counts[draw.stream] += 1
            owed.update(shares)
            far = max(far, *(abs(counts[name] - owed[name]) for name in owed))
    return far


def curricula(names, smallest):
    """Stages of shares for all of `names`, each constant or a ramp, none below `smallest`."""
    share = st.one_of(st.floats(smallest, 1), st.sampled_from([smallest, 0.5, 1.0]))
    shares = st.fixed_dictionaries(dict.fromkeys(names, share)).filter(lambda s: sum(s.values()))
    kinds = st.tuples(st.integers(1, 12), st.integers(1, 7), shares, st.none() | shares)
    return st.lists(kinds, min_size=1, max_size=4).map(
        lambda stages: Curriculum(
            [stage(f"{k}", *values, shares_end=end) for k, (*values, end) in enumerate(stages)]
        )
    )


@given(curricula("xyz", 0.0))
def test_every_stream_has_its_integral_share_to_within_one_at_any_time(curriculum):
    assert farthest(curriculum) <= 1 + 1e-5


@given(st.integers(1, 8).flatmap(lambda count: curricula("abcdefgh"[:count], 0.01)))
def test_so_it_has_among_many_streams_of_which_none_leaves(curriculum):
    assert farthest(curriculum) <= 1 + 1e-5


@given(curricula("abcdefg", 0.0))
def test_draws_have_no_gaps_where_streams_leave(curriculum):
    farthest(curriculum)


def test_constant_shares_and_ramps_are_exact_over_thousands_of_draws():
    shares = {"x": 0.5, "y": 0.3, "z": 0.2}
    for end in (None, {"x": 0.1, "y": 0.2, "z": 0.7}):
        curriculum = Curriculum([stage("a", 1500, 7, shares, shares_end=end)])
        assert farthest(curriculum) <= 1 + 1e-5


def test_a_stream_that_comes_back_counts_on():
    curriculum = Curriculum([stage("a", 2), stage("b", 1, shares={"y": 1.0}), stage("c", 1)])
    assert [draw.number for draw in curriculum.draws(3)] == [8, 9, 10, 11]


def test_draws_outside_are_an_index_error():
    with pytest.raises(IndexError, match="16 steps"):
        THREE.draws(16)


def test_missing_streams_are_named():
    with pytest.raises(UserError, match=r"draw from y, but the streams are x"):
        THREE.check_streams({"x": 1})


@pytest.mark.parametrize(
    ("shares", "message"),
    [({"x": -1.0, "y": 1.0}, "shares of x must"), ({"x": 0.0}, "shares of x add up")],
)
def test_bad_shares_are_named(shares, message):
    with pytest.raises(ValidationError, match=message):
        stage(shares=shares)


def test_stages_must_exist_and_differ():
    with pytest.raises(UserError, match="none"):
        Curriculum([])
    with pytest.raises(UserError, match="repeat"):
        Curriculum([stage("a"), stage("a")])


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 0.25), (2, 0.75), (3, 1.0), (8, 0.55), (13, 0.1), (20, 0.1)],
)
def test_rate_by_step(step, rate):
    assert Rate(peak=1.0, warmup=3, floor=0.1).at(step, 14) == pytest.approx(rate)
