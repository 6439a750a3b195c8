"""Processes that share a batch through DistributedDataParallel, as one process that has it all."""

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from tests.vae.conftest import TINY
from vae import VAE, AlignmentSettings, VAESettings, Weights
from vae.objective.losses import build_objective
from vae.training.step import Step

WORLD = 2
CASES = [("ddp", 0.0), ("ddp", 0.5), ("fsdp", 0.0), ("fsdp", 0.5)]
STEPS = 3
"""The second step is where a wrapper notices a parameter without a gradient."""


def rng():
    return np.random.default_rng(0)


def built(settings, teacher, weights):
    """Model and objective; nothing in them is left at the zero where a head starts."""
    torch.manual_seed(0)
    model = VAE(settings)
    with torch.no_grad():
        for head in (model.encoder.head, model.decoder.head):
            head.conv.weight.normal_(std=0.1)
    aligned = AlignmentSettings(teacher=teacher, match="input", adaptive=False)
    return Step(model, build_objective(weights, aligned, settings))


def batch():
    return torch.rand(4, 3, 16, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1


def gradients(step, forward, images, weights):
    """Those of every step's backward; weights stay where they are."""
    found = []
    for _ in range(STEPS):
        step.zero_grad()
        total, _ = forward(images, weights, rng())
        total.backward()
        learned = {name: p.grad for name, p in step.named_parameters() if p.requires_grad}
        assert None not in learned.values()
        whole = {n: g.full_tensor() if isinstance(g, DTensor) else g for n, g in learned.items()}
        found.append({name: grad.clone() for name, grad in whole.items()})
    return found


def work(rank, folder, settings, teacher):
    """What one of the processes does: all cases, in one group, since starting takes longest."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD
    )
    mine = batch().chunk(WORLD)[rank]
    for wrap, alignment in CASES:
        step = built(settings, teacher, Weights(alignment=alignment))
        forward = DistributedDataParallel(step) if wrap == "ddp" else fully_shard(step)
        found = gradients(step, forward, mine, Weights(alignment=alignment))
        torch.save(found, f"{folder}/{wrap}-{alignment}-{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, teacher):
    """Where both processes left their gradients."""
    folder = tmp_path_factory.mktemp("ranks")
    arguments = (str(folder), VAESettings(**TINY), teacher)
    ranks = multiprocessing.start_processes(
        work, arguments, WORLD, join=False, start_method="spawn"
    )
    try:
        # It returns False whenever one of them is done, and raises what one of them raised.
        assert any(ranks.join(timeout=120) for _ in range(WORLD))
    finally:
        for process in ranks.processes:
            process.kill()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("wrap", "alignment"), CASES)
def test_two_processes_have_the_gradients_of_one(folder, teacher, tiny, wrap, alignment):
    paths = [folder / f"{wrap}-{alignment}-{rank}.pt" for rank in range(WORLD)]
    both = [torch.load(path, weights_only=True) for path in paths]
    step = built(tiny, teacher, Weights(alignment=alignment))
    alone = gradients(step, step, batch(), Weights(alignment=alignment))
    for first, second, expected in zip(*both, alone, strict=True):
        assert first.keys() == second.keys() == expected.keys()
        assert all(torch.equal(first[name], second[name]) for name in expected)
        apart = _norm(first[name] - value for name, value in expected.items())
        assert apart <= 1e-6 * _norm(expected.values())


def _norm(gradients):
    return torch.cat([gradient.double().flatten() for gradient in gradients]).norm()
