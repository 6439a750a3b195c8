"""Whole runs of two ranks, through `fit`: weights in parts, and a guard that goes back."""

import json
import shutil
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from shards.signals import Asked
from tests.vae.conftest import TINY, on_ranks, write_shard
from tests.vae.training.test_guarded_run import changed, content, lines, ruined
from vae import VAE, Objective, VAESettings, Weights, fit
from vae.training import train
from vae.training.average import Average
from vae.training.checkpoint import HEADER
from vae.training.ranks import ALONE
from vae.training.reductions import whole, wrap
from vae.training.step import Step

pytestmark = pytest.mark.slow

LOST = (16, 18)
"""The n of two steps in a row whose gradient is NaN."""


def until(step):
    """What ends a run after a step, as a signal to one rank does."""
    asked = Asked()

    def progress(row):
        if row["step"] == step:
            asked.by = signal.SIGTERM

    return {"asked": asked, "progress": progress}


def built():
    torch.manual_seed(0)
    return Step(VAE(VAESettings(**TINY)), Objective())


def pixels():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 16, 24), np.uint8))


def loss(reduction):
    reduction.begin(reduction.ranks.world)
    total, _ = reduction.run(pixels(), Weights(), np.random.default_rng(0), last=True)
    reduction.end()
    return total.item()


def shown(ranks):
    """Losses and weights of a model in parts: its own, those of its average in place, its own."""
    step = built()
    reduction = wrap("shard", step, ranks)
    average = Average(step.model, 10)
    with torch.no_grad():
        for p in step.model.parameters():
            p.mul_(1.5)

    def seen():
        weights = whole({n: p.detach() for n, p in step.model.named_parameters()})
        return loss(reduction), {name: value.clone() for name, value in weights.items()}

    before = seen()
    with average.in_place_of(step.model):
        within = seen()
    return before, within, seen()


def work(ranks, settings, streams, folder):
    def run(out, settings=settings, reduce="shard", **options):
        fit(settings, streams, folder / out, ranks=ranks, reduce=reduce, **options)
        ranks.barrier()

    run("whole")
    with pytest.raises(SystemExit):
        run("cut", **until(4))
    ranks.barrier()
    if ranks.rank == 0:
        shutil.copytree(folder / "cut", folder / "then alone")
    run("cut")
    train.take = ruined(train.take, "gradient", *LOST)
    for reduce in ("exact", "shard"):
        run(f"lost {reduce}", changed(settings, patience=2), reduce)
    return shown(ranks)


@pytest.fixture(scope="module")
def done(settings, tmp_path_factory):
    """The folder of all runs, and what each rank showed of its model."""
    folder = tmp_path_factory.mktemp("runs")
    streams = {
        "general": write_shard(folder / "general", "photo", 3, (40, 50)),
        "synthetic": write_shard(folder / "synthetic", "text", 3, (30, 20), seed=1),
    }
    shows = on_ranks(2, work, settings, streams, folder, timeout=300)
    fit(settings, streams, folder / "then alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "take", ruined(train.take, "gradient", *LOST))
        fit(changed(settings, patience=2), streams, folder / "lost alone")
    return folder, shows


def last(out):
    return max(out.glob("step-*"))


def drawn(out):
    return json.loads((last(out) / HEADER).read_text())["drawn"]


def apart(a, b, file, ending=""):
    """How far the tensors of two runs are from each other, against their size."""
    ours, theirs = (load_file(last(out) / f"{file}.safetensors") for out in (a, b))
    assert ours.keys() == theirs.keys()
    names = [name for name in ours if name.endswith(ending)]
    one, other = (
        torch.cat([held[name].double().flatten() for name in names]) for held in (ours, theirs)
    )
    return ((one - other).norm() / other.norm()).item()


def test_a_run_in_parts_goes_on_in_parts_with_the_same_bits(done):
    """Ranks that listed their moments in another order saved some in the place of others."""
    folder, _ = done
    assert content(last(folder / "cut")) == content(last(folder / "whole"))
    assert drawn(folder / "cut") == drawn(folder / "whole")


def test_a_run_in_parts_goes_on_alone(done):
    folder, _ = done
    runs = folder / "then alone", folder / "whole"
    assert drawn(runs[0]) == drawn(runs[1])
    # AdamW's first moment is a mean of the gradients.
    for file, ending in (("model", ""), ("average", ""), ("optimizer", "exp_avg")):
        assert apart(*runs, file, ending) < 1e-5


def test_two_ranks_go_back_as_one_does(done):
    folder, _ = done
    ends = {reduce: folder / f"lost {reduce}" for reduce in ("exact", "shard", "alone")}
    assert content(last(ends["exact"])) == content(last(ends["alone"]))
    assert apart(ends["shard"], ends["alone"], "model") < 1e-5
    for reduce, out in ends.items():
        *skipped, back = lines(out)
        assert [line["n"] for line in skipped] == list(LOST)
        assert (back["reason"], back["left_out"]) == ("back to step-000003", [12, 20])
        ranks = [part["rank"] for line in skipped for part in line["micro_batches"]]
        assert ranks == [0, int(reduce != "alone")] * 2
        assert drawn(out) == drawn(ends["alone"])


def test_a_model_in_parts_has_its_average_for_a_while_and_then_its_own_bits_again(done):
    _, shows = done
    plain = built()
    for before, within, after in shows:
        assert within[1].keys() == dict(plain.model.named_parameters()).keys()
        assert all(torch.equal(within[1][n], p) for n, p in plain.model.named_parameters())
        assert all(torch.equal(after[1][n], before[1][n]) for n in before[1])
        assert before[0] == after[0]
        assert within[0] == pytest.approx(loss(wrap("exact", plain, ALONE)), rel=1e-6)
        assert abs(within[0] - before[0]) > 1e-3
