"""A fault on one of two ranks: skipped and named alike on both, whichever way gradients go."""

from types import SimpleNamespace

import pytest
import torch

import vae.training.guard
from tests.vae.conftest import TINY, on_ranks
from vae import VAE, Objective, VAESettings, Weights
from vae.curriculum.curriculum import Knobs
from vae.data.batch import Batch
from vae.training.average import Average
from vae.training.guard import Guard, GuardSettings
from vae.training.reductions import whole, wrap
from vae.training.state import State
from vae.training.step import Step, take

COURSE = [None, None, None, "loss", "gradient", "spike", None]
"""What befalls each step."""

WAYS = ("exact", "fast", "shard")


class Faulty(Step):
    """A step that befalls something in the last micro-batch, which only one rank has."""

    fault = None

    def forward(self, *arguments):
        total, terms = super().forward(*arguments)
        self.calls += 1
        if self.fault is not None and self.calls == 2:
            factor = 1e6 if self.fault == "spike" else torch.nan
            if self.fault == "loss":
                total = total * factor
            else:
                # The loss keeps its value, and all gradients of it come to this.
                total.register_hook(lambda gradient: gradient * factor)
        return total, terms


def batches(number):
    generator = torch.Generator().manual_seed(number)
    images = torch.randint(256, (8, 3, 16, 24), generator=generator, dtype=torch.uint8)
    return [Batch(part, (), None, ()) for part in images.chunk(4)]


def run(ranks, way, *, without=False):
    """Run the course, or what is left of it without the faulty steps."""
    torch.manual_seed(0)
    step = Faulty(VAE(VAESettings(**TINY)), Objective())
    reduction = wrap(way, step, ranks)
    optimizer = torch.optim.AdamW(
        [{"params": reduction.parameters, "scale": 1.0}], 1e-2, fused=True
    )
    average = Average(step.model, 100)
    guard = Guard(GuardSettings(spike=20))
    state = State(step.model, step.objective, reduction, optimizer, None, guard, average)

    def bits():
        moments = [v for held in optimizer.state.values() for v in held.values()]
        learned = dict(enumerate((*reduction.parameters, *average.tensors.values(), *moments)))
        return [value.detach().clone() for value in whole(learned).values()]

    kept = []
    for number, fault in enumerate(COURSE):
        stage = SimpleNamespace(name="one")
        knobs = Knobs(number, state.n, stage, (16, 24), 4, 2, {}, Weights(), 0.01)
        if without and fault:
            state.n += knobs.samples
            continue
        step.fault, step.calls = fault if ranks.rank == 1 else None, 0
        part = [batches(number)[m] for m in ranks.part(4)]
        outcome, before = take(reduction, part, knobs, 0), bits()
        state.update(knobs, outcome, 1.0, guard.judge(knobs, outcome.losses, outcome.gradient))
        after = bits()
        kept.append(len(before) == len(after) and all(map(torch.equal, before, after)))
    lines = [bad.line(lambda n, m: [f"s/{m}"], ranks.world) for bad in guard.read()]
    return kept, lines, bits()


def work(ranks):
    vae.training.guard.RING = 2
    return {way: (run(ranks, way), run(ranks, way, without=True)) for way in WAYS}


@pytest.mark.slow
def test_a_fault_of_one_rank_is_skipped_and_named_on_both():
    first, second = on_ranks(2, work)
    for way in WAYS:
        (kept, lines, bits), (_, _, bits_without) = first[way]
        assert kept == [fault is not None for fault in COURSE]
        loss, gradient, spike = lines
        assert loss["micro_batches"] == [{"micro_batch": 3, "rank": 1, "keys": ["s/3"]}]
        assert loss["losses"][3] == "nan"
        assert gradient["reason"] == "the gradient is nan"
        assert [part["rank"] for part in gradient["micro_batches"]] == [0, 0, 1, 1]
        assert "times the median" in spike["reason"]
        assert all(map(torch.equal, bits, bits_without))
        assert all(value.isfinite().all() for value in bits)
        (kept_too, lines_too, bits_too), _ = second[way]
        assert (kept_too, lines_too) == (kept, lines)
        assert all(map(torch.equal, bits, bits_too))
