"""What counts as a bad step, what it changes, and when the run goes back."""

import json
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shards import UserError
from vae.training.guard import LIMIT, RING, WINDOW, Guard, GuardSettings

GOOD = torch.ones(2)


def keys(n, m):
    return [f"s/{n}-{m}"]


def knobs(step, stage="one"):
    return SimpleNamespace(step=step, n=10 * step, stage=SimpleNamespace(name=stage))


def judge(guard, step, norm=1.0, losses=GOOD, stage="one"):
    return guard.judge(knobs(step, stage), losses, torch.tensor(norm)).item()


def warmed(**settings):
    """A guard that has seen norms of 1 to 2 in as many good steps as it wants."""
    guard = Guard(GuardSettings(**settings))
    for step in range(RING):
        assert not judge(guard, step, 1 + step / RING)
    assert not guard.read()
    return guard


def told(guard):
    return json.loads(json.dumps(guard.state()))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_loss_or_gradient_that_is_not_finite_is_bad_from_the_first_step(value):
    guard = Guard(GuardSettings())
    assert judge(guard, 0, losses=torch.tensor([1.0, value])) == 1
    assert judge(guard, 1) == 0
    assert judge(guard, 2, norm=value) == 1
    loss, gradient = (bad.line(keys) for bad in guard.read())
    assert (loss["step"], loss["n"], loss["reason"]) == (1, 0, f"the loss is {value}")
    assert loss["losses"] == [1.0, str(value)]
    assert loss["micro_batches"] == [{"micro_batch": 1, "rank": 0, "keys": ["s/0-1"]}]
    assert (gradient["step"], gradient["reason"]) == (3, f"the gradient is {value}")
    assert [part["keys"] for part in gradient["micro_batches"]] == [["s/20-0"], ["s/20-1"]]
    assert json.loads(json.dumps([loss, gradient], allow_nan=False)) == [loss, gradient]


def test_a_spike_is_bad_once_there_is_a_median_to_measure_it_by():
    assert judge(Guard(GuardSettings(spike=20)), 0, norm=1e9) == 0
    guard = warmed(spike=20)
    # The median of 1 to 2 is 1.5.
    assert [judge(guard, RING + k, norm=x) for k, x in enumerate((29.0, 31.0, 29.0))] == [0, 1, 0]
    (bad,) = guard.read()
    assert bad.reason == "the gradient's norm is 21 times the median"
    assert bad.median == pytest.approx(1.5, abs=0.01)


def test_each_stage_has_a_median_of_its_own():
    guard = warmed(spike=20)
    for step in range(RING, 2 * RING):
        assert not judge(guard, step, norm=1000.0, stage="two")
    assert judge(guard, 2 * RING, norm=30_000.0, stage="two")


def test_a_bad_norm_does_not_move_the_median():
    guard = warmed(spike=20)
    before = told(guard)["norms"]
    for step in range(RING, RING + 5):
        assert judge(guard, step, norm=1e6)
    guard.read()
    assert told(guard)["norms"] == before


def test_the_rank_that_had_a_micro_batch_is_named():
    guard = Guard(GuardSettings())
    judge(guard, 0, losses=torch.tensor([1.0, 1.0, torch.nan, 1.0]))
    (bad,) = guard.read()
    (part,) = bad.line(keys, world=2)["micro_batches"]
    assert part == {"micro_batch": 2, "rank": 1, "keys": ["s/0-2"]}


@given(
    norms=st.lists(st.floats(0.5, 40, width=32), min_size=1, max_size=20),
    cut=st.integers(0, 20),
    start=st.sampled_from([0, 100, RING, RING + 77]),
)
def test_a_guard_that_is_restored_judges_as_the_one_that_was_not(norms, cut, start):
    whole, part = (Guard(GuardSettings(spike=3, patience=4)) for _ in range(2))
    for guard in (whole, part):
        for step in range(start):
            judge(guard, step, 1 + step % 7)
        guard.read()
    for k, norm in enumerate(norms):
        if k == cut:
            part.read()
            saved, part = told(part), Guard(part.settings)
            part.restore(saved)
        assert judge(whole, start + k, norm) == judge(part, start + k, norm)
    whole.read()
    part.read()
    assert told(whole) == told(part)


def test_bad_steps_in_a_row_call_for_a_roll_back():
    guard = Guard(GuardSettings(patience=3))
    for step, norm in enumerate((1, torch.nan, torch.nan, 1, torch.nan, torch.nan)):
        judge(guard, step, float(norm))
    guard.read()
    assert guard.lost is None
    judge(guard, 6, torch.nan)
    guard.read()
    assert guard.lost == 4


def test_one_in_a_hundred_bad_steps_call_for_a_roll_back():
    seldom = WINDOW // (LIMIT - 1) + 1
    for apart, lost in ((WINDOW // LIMIT, 0), (seldom, None)):
        guard = Guard(GuardSettings(patience=3))
        for k in range(2 * LIMIT):
            assert guard.lost == (lost if k >= LIMIT else None)
            judge(guard, k * apart, torch.nan)
            guard.read()


def test_a_roll_back_remembers_what_it_left_out_and_they_are_counted():
    guard = Guard(GuardSettings(patience=2, rollbacks=1))
    judge(guard, 0)
    guard.read()
    before = told(guard)
    for step in (1, 2):
        judge(guard, step, torch.nan)
    guard.read()
    guard.check([])
    ours = told(guard)
    guard.restore(before)
    guard.roll_back(ours, 10, 30)
    assert guard.lost is None
    assert told(guard) == before | {"rollbacks": 1, "left_out": [[10, 30]]}
    for step in (3, 4):
        judge(guard, step, torch.nan)
    guard.read()
    with pytest.raises(UserError, match="after step 3 steps are bad again, after 1 roll-back"):
        guard.check([])


def test_stop_names_the_step_for_those_who_would_rather_look():
    guard = Guard(GuardSettings(action="stop"))
    judge(guard, 7, torch.nan)
    with pytest.raises(UserError, match=r"gradient is nan at step 8, n 70 \(stage one\)"):
        guard.check(guard.read())


def test_a_flagged_step_changes_no_bit_of_weights_moments_and_count():
    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(shape)) for shape in ((8, 3, 3, 3), (7,), ())]
    weights[0].data = weights[0].data.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(weights, lr=0.1, weight_decay=0.1, fused=True)

    def bits():
        moments = [value for w in weights for value in optimizer.state[w].values()]
        return [value.detach().clone() for value in (*weights, *moments)]

    def step(norm):
        for w in weights:
            w.grad = torch.randn_like(w) * norm
        optimizer.found_inf = Guard(GuardSettings()).judge(
            knobs(0), GOOD, torch.tensor(float(norm))
        )
        optimizer.step()

    step(1)
    before = bits()
    step(torch.nan)
    assert all(torch.equal(a, b) for a, b in zip(before, bits(), strict=True))
    step(1)
    assert not any(torch.equal(a, b) for a, b in zip(before, bits(), strict=True))
