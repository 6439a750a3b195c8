from collections import Counter

import pytest
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


def test_stream_counts_follow_the_shares_at_any_time():
    shares = {"x": 0.5, "y": 0.3, "z": 0.2}
    curriculum = Curriculum([stage(steps=500, batch_size=7, shares=shares)], seed=3)
    counts = Counter()
    for step in range(500):
        counts.update(curriculum.stream_of(step, slot) for slot in range(7))
        drawn = 7 * (step + 1)
        assert all(abs(counts[name] - share * drawn) < 6 for name, share in shares.items())


def test_streams_of_a_ramp_end_where_the_shares_end():
    assert {THREE.stream_of(14, slot) for slot in range(4)} == {"y"}


def test_another_seed_gives_another_order():
    def order(seed):
        curriculum = Curriculum([stage(shares={"x": 1.0, "y": 1.0})], seed)
        return [curriculum.stream_of(0, slot) for slot in range(4)] + [
            curriculum.stream_of(5, slot) for slot in range(4)
        ]

    assert order(0) == order(0)
    assert len({tuple(order(seed)) for seed in range(5)}) > 1


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
