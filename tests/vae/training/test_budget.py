"""What a rank holds is what a real one holds; its pace follows from the hardware."""

import numpy as np
import pytest
import torch

from vae import PRESETS, VAE
from vae.objective.losses import Objective, Weights
from vae.training.budget import GPUS, pace, rank_memory
from vae.training.count import Ledger, Numbers, Outline, Work
from vae.training.step import Step

WEIGHTS = Weights()
NUMBERS = Numbers(model=1000, still=0, learned=24, frozen=500, unit=100, root=30)
WORK = Work(flop=3 * 10**12, forward=10**12, traffic=10**9, saved=4000, peak=5000)


@pytest.mark.parametrize("preset", ["nano", "tiny"])
def test_memory_is_what_lives_in_a_real_run(monkeypatch, preset):
    monkeypatch.setattr("vae.norm_silu._compiles", lambda x: False)
    step, images = Step(VAE(PRESETS[preset]), Objective()), torch.rand(2, 3, 64, 64)
    weights = sum(p.numel() * p.element_size() for p in step.parameters())
    with Ledger() as ledger:
        average = [p.detach().clone() for p in step.model.parameters()]
        optimizer = torch.optim.AdamW(step.parameters(), fused=True)
        for _ in range(2):
            total, _ = step(images, WEIGHTS, np.random.default_rng(0))
            total.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
    outline = Outline(PRESETS[preset], WEIGHTS)
    memory = rank_memory(outline.numbers(), outline.work((64, 64), 2, WEIGHTS))
    assert memory.total == pytest.approx(weights + ledger.peak, rel=0.02)
    assert memory.average == sum(4 * x.numel() for x in average)


def test_ranks_that_share_hold_their_part():
    whole = rank_memory(NUMBERS, WORK)
    part = rank_memory(NUMBERS, WORK, reduce="shard", world=8)
    assert whole.weights == 4 * (1024 + 500)
    assert part.weights == 4 * (1024 // 8 + 500 + 30 + 2 * 100)
    assert (part.moments, part.average) == (whole.moments // 8, whole.average // 8)
    assert part.activations == whole.activations
    assert part.gradients == 4 * (1024 // 8 + 30 + 100)
    assert (
        rank_memory(NUMBERS, WORK, reduce="shard", world=8, parts=2).gradients == 4 * 1024 * 9 / 8
    )
    assert rank_memory(NUMBERS, WORK, reduce="shard", world=1) == whole
    assert rank_memory(NUMBERS, WORK, average=False).average == 0


def test_the_tree_holds_a_sum_of_each_level():
    held = [
        rank_memory(NUMBERS, WORK, reduce="exact", parts=parts).gradients for parts in (1, 2, 8)
    ]
    assert held == [4 * 1024, 2 * 4 * 1024, 4 * 4 * 1024]


def test_more_ranks_take_as_long_a_step_and_more_exchange():
    steps = [
        pace(NUMBERS, WORK, GPUS["h100"], utilisation=0.5, world=world, parts=2)
        for world in (1, 2, 8, 64)
    ]
    assert len({(step.arithmetic, step.traffic) for step in steps}) == 1
    assert steps[0].arithmetic == pytest.approx(2 * 3e12 / (0.5 * 989e12))
    assert [step.sent for step in steps] == pytest.approx([0, 4096, 7168, 8064])
    assert [step.reduction for step in steps] == sorted(step.reduction for step in steps)


def test_only_the_fast_reduction_hides_behind_backward():
    large = NUMBERS._replace(model=10**9)
    fast, exact = (
        pace(large, WORK, GPUS["a100"], utilisation=0.5, world=8, reduce=reduce)
        for reduce in ("fast", "exact")
    )
    assert exact.exposed == exact.reduction == fast.reduction > fast.exposed > 0
    assert exact.limit == "interconnect"
    slow = pace(large, WORK, GPUS["a100"], utilisation=0.5, dtype=torch.float32)
    assert slow.limit == "arithmetic"
    assert slow.seconds > fast.arithmetic
