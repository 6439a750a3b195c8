from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shards import Order, UserError
from vae import Stage, Weights
from vae.curriculum.curriculum import Curriculum
from vae.curriculum.schedule import Ramp, Rate
from vae.curriculum.stage import check_streams


def ramp(start, end, by="linear"):
    return {"from": start, "to": end, "by": by}


def stage(name="a", steps=10, batch=4, shares=None, micro=1, **more):
    return Stage(
        name=name,
        samples=steps * batch,
        batch=batch,
        micro=micro,
        resolution=64,
        shares=shares or {"x": 1.0},
        **more,
    )


def sizes(count=10, side=64):
    return np.full((count, 2), side, np.uint16)


def lined_up(stages, **more):
    names = {name for one in stages for name in one.streams}
    return Curriculum(stages, {name: sizes() for name in names}, **more)


THREE = lined_up(
    [
        stage("a", 10),
        stage("b", 5, batch=2, shares={"x": ramp(0.75, 0.0), "y": ramp(0.25, 1.0)}),
        stage("c", 1, shares={"y": 3.0}),
    ]
)


@pytest.mark.parametrize(
    ("n", "step", "name", "shares"),
    [
        (0, 0, "a", {"x": 1.0}),
        (36, 9, "a", {"x": 1.0}),
        (40, 10, "b", {"x": 0.75, "y": 0.25}),
        (44, 12, "b", {"x": 0.375, "y": 0.625}),
        (48, 14, "b", {"x": 0.0, "y": 1.0}),
        (50, 15, "c", {"y": 1.0}),
    ],
)
def test_step_stage_and_shares_by_samples_seen(n, step, name, shares):
    knobs = THREE.at(n)
    assert (knobs.n, knobs.step, knobs.stage.name) == (n, step, name)
    assert knobs.shares == pytest.approx(shares)
    assert THREE.start(step) == n


def test_the_starts_are_those_of_all_steps_from_one_on():
    assert [*THREE.starts(0)] == [*range(0, 40, 4), *range(40, 50, 2), 50]
    assert [*THREE.starts(46)] == [46, 48, 50]
    assert [*THREE.starts(54)] == []
    assert (THREE.samples, THREE.steps) == (54, 16)
    assert all(THREE.at(n).n + THREE.at(n).samples in {*THREE.starts(), 54} for n in THREE.starts())


@pytest.mark.parametrize("n", [-1, 54])
def test_a_place_outside_is_an_index_error(n):
    for ask in (THREE.at, THREE.draws):
        with pytest.raises(IndexError, match="54 samples"):
            ask(n)


def test_a_place_inside_a_step_is_named():
    for ask in (THREE.at, THREE.draws, THREE.starts):
        with pytest.raises(ValueError, match="no step begins at n=41; one does at 40"):
            ask(41)


def test_every_knob_of_a_stage_may_move():
    moving = stage(
        steps=5, weights={"alignment": ramp(0.5, 0.1), "cosine_margin": ramp(0.0, 0.5, "cosine")}
    )
    curriculum = lined_up([moving, stage("b")], weights=Weights(l1=2.0), rate=Rate(warmup=20))
    margins = [curriculum.at(n).weights.cosine_margin for n in (0, 8, 16)]
    assert margins == pytest.approx([0.0, 0.25, 0.5])
    weights = [curriculum.at(n).weights.alignment for n in (0, 8, 16)]
    assert weights == pytest.approx([0.5, 0.3, 0.1])
    assert [curriculum.at(n).weights.l1 for n in (16, 20)] == [1.0, 2.0]
    assert curriculum.at(20).rate == Rate(warmup=20).at(20, 60)


def test_batches_are_lists_of_micro_batches():
    curriculum = lined_up([stage(batch=12, micro=3)])
    knobs = curriculum.at(12)
    assert (knobs.micro_batches, knobs.micro, knobs.samples) == (4, 3, 12)
    assert knobs.shape == (64, 64)
    assert len(curriculum.draws(12)) == 12


def test_worlds_that_share_every_stage_are_taken_and_others_named():
    curriculum = lined_up([stage(batch=48), stage("large", batch=16)])
    for world in (1, 2, 4, 8, 16):
        curriculum.check_world(world)
    with pytest.raises(UserError, match=r"stage large: 16 .* by 24 ranks; use 1, 2, 4, 8 or 16"):
        curriculum.check_world(24)
    with pytest.raises(UserError, match=r"stage a: 1 micro-batches .* by 2 ranks; use 1$"):
        lined_up([stage(micro=4)]).check_world(2)


def test_streams_of_a_ramp_end_where_the_shares_end():
    assert {draw.stream for draw in THREE.draws(48)} == {"y"}


def test_a_draw_is_the_sample_that_the_order_of_its_stream_has():
    streams = {"x": sizes(7), "y": sizes(5)}
    shares = {"x": ramp(0.75, 0.25), "y": ramp(0.25, 0.75)}
    curriculum = Curriculum([stage(steps=30, shares=shares)], streams, seed=3)
    draws = [draw for n in curriculum.starts() for draw in curriculum.draws(n)]
    for name, of in streams.items():
        order = Order(len(of), 3)
        drawn = [draw for draw in draws if draw.stream == name]
        assert [draw.number for draw in drawn] == [*range(len(drawn))]
        assert [draw.sample for draw in drawn] == [order[number] for number in range(len(drawn))]


def farthest(curriculum):
    """How far any stream ever is from its integral share, in samples; checks the numbers too."""
    owed, counts, far = Counter(), Counter(), 0.0
    for n in curriculum.starts():
        shares = curriculum.at(n).shares
        for draw in curriculum.draws(n):
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

    def made(kinds):
        return lined_up(
            [
                stage(f"{k}", *of, {name: ramp(s[name], e[name]) for name in s})
                for k, (*of, s, e) in enumerate(kinds)
            ]
        )

    moving = st.tuples(shares, shares) | shares.map(lambda same: (same, same))
    kinds = st.tuples(st.integers(1, 12), st.integers(1, 7), moving).map(lambda k: (*k[:2], *k[2]))
    return st.lists(kinds, min_size=1, max_size=4).map(made)


@given(curricula("xyz", 0.0))
def test_every_stream_has_its_integral_share_to_within_one_at_any_time(curriculum):
    assert farthest(curriculum) <= 1 + 1e-5


@given(st.integers(1, 8).flatmap(lambda count: curricula("abcdefgh"[:count], 0.01)))
def test_so_it_has_among_many_streams_of_which_none_leaves(curriculum):
    assert farthest(curriculum) <= 1 + 1e-5


@given(st.integers(4, 8).flatmap(lambda count: curricula("abcdefgh"[:count], 0.0)))
def test_so_it_has_where_several_of_many_leave_at_once_and_come_back(curriculum):
    assert farthest(curriculum) <= 1 + 1e-5


def test_streams_that_leave_together_leave_nobody_behind():
    """Three are owed 0.6 of a sample each when they leave; with none of it dealt, all who stay
    are ahead, and soon nobody may come next."""
    first = dict.fromkeys("abc", 0.15) | dict.fromkeys("defg", 0.1375)
    second = {"d": 0.97} | dict.fromkeys("efg", 0.01)
    curriculum = lined_up([stage("a", 4, 1, first), stage("b", 60, 1, second)])
    assert farthest(curriculum) <= 1 + 1e-5


def test_constant_shares_and_ramps_are_exact_over_thousands_of_draws():
    shares = {"x": 0.5, "y": 0.3, "z": 0.2}
    moving = {"x": ramp(0.5, 0.1), "y": ramp(0.3, 0.2), "z": ramp(0.2, 0.7, "cosine")}
    for kind in (shares, moving):
        assert farthest(lined_up([stage("a", 1500, 7, kind)])) <= 1 + 1e-5


def test_a_stream_that_comes_back_counts_on():
    curriculum = lined_up([stage("a", 2), stage("b", 1, shares={"y": 1.0}), stage("c", 1)])
    assert [draw.number for draw in curriculum.draws(12)] == [8, 9, 10, 11]


def test_missing_streams_are_named():
    with pytest.raises(UserError, match=r"draw from y, but the streams are x"):
        check_streams(THREE.stages, {"x": 1})
    with pytest.raises(UserError, match=r"draw from y, but the streams are x"):
        Curriculum(THREE.stages, {"x": sizes()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shares": {"x": -1.0, "y": 1.0}}, "shares of x must"),
        ({"shares": {"x": 0.0}}, "shares of x add up to 0"),
        ({"shares": {"x": ramp(1.0, 0.0)}}, "shares of x add up to 0"),
        ({"batch": 6}, "samples 40 are no multiple of batch 6; give 42"),
        ({"micro": 3}, "batch 4 is no multiple of micro 3"),
        ({"weights": {"l2": 1.0}}, "l2: Extra inputs .* .weights: l1, perceptual, lpips"),
        ({"weights": {"cosine_margin": ramp(0.0, 3.0)}}, "cosine_margin: .* less than or equal"),
        ({"steps": 10, "batch_size": 4}, "steps is now samples = .*; batch_size is now batch"),
        ({"shares_end": {"x": 1.0}}, "shares_end is now shares = .* from"),
    ],
)
def test_bad_stages_are_named(change, message):
    with pytest.raises(ValidationError, match=message):
        Stage.model_validate(stage().model_dump() | change)


def test_a_ramp_is_written_as_in_a_recipe():
    for value in (0.5, {"from": 0.0, "to": 0.5, "by": "cosine"}):
        assert Ramp.model_validate(value).model_dump(mode="json") == value
    moving = stage(shares={"x": ramp(1.0, 0.5)}, weights={"l1": 2})
    assert Stage.model_validate_json(moving.model_dump_json()) == moving


@given(st.sampled_from(["linear", "cosine"]), st.floats(-9, 9), st.floats(-9, 9))
def test_a_ramp_goes_from_end_to_end_and_alike_in_an_array(by, start, end):
    moving = Ramp.model_validate(ramp(start, end, by))
    assert (moving.at(0.0), moving.at(1.0)) == pytest.approx((start, end))
    progress = np.linspace(0, 1, 9)
    np.testing.assert_allclose(moving.over(progress), [moving.at(p) for p in progress], atol=1e-12)


def test_stages_must_exist_and_differ():
    with pytest.raises(UserError, match="there is no stage"):
        lined_up([])
    with pytest.raises(UserError, match="a name repeats"):
        lined_up([stage("a"), stage("a")])


@pytest.mark.parametrize(
    ("n", "rate"),
    [(0, 0.25), (2, 0.75), (3, 1.0), (8, 0.55), (13, 0.1), (20, 0.1)],
)
def test_rate_by_samples_seen(n, rate):
    assert Rate(peak=1.0, warmup=3, floor=0.1).at(n, 14) == pytest.approx(rate)
