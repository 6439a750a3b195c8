"""Between logged steps the host never waits for the device: it stays steps ahead of a GPU.

Steps are taken on tensors that say they are on a GPU and hold nothing: to read one back is an error
there, and what is copied can be seen. Backward needs a driver and is left out.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.vae.conftest import TINY
from tests.vae.training.test_step import Edges, knobs, micro_batches, squares
from vae import VAE, AlignmentSettings, Objective, Stage, VAESettings
from vae.objective.alignment import Alignment
from vae.objective.balance import Balance
from vae.training.average import Average
from vae.training.guard import Guard, GuardSettings
from vae.training.means import Means
from vae.training.ranks import Ranks
from vae.training.reductions import Reduction
from vae.training.state import State
from vae.training.step import Step, take

ALIGNED = 1
"""A step of the course with everything on."""


class Copies(TorchDispatchMode):
    """While active, counts the copies between devices, and those that wait for them."""

    def __init__(self):
        super().__init__()
        self.all = self.waiting = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, torch.Tensor)]
        # Numbers without dimensions travel with a kernel's arguments.
        if len({x.device.type for x in tensors if x.ndim}) > 1:
            self.all += 1
            self.waiting += not kwargs.get("non_blocking")
        return out


class Forward(Reduction):
    """Gradients are zero."""

    def _run(self, forward, *arguments):
        total, beside = forward(*arguments)
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(parameter)
        return total.detach(), beside


def on_a_gpu():
    """A run with everything on."""
    with torch.device("cuda"):
        model = VAE(VAESettings(**TINY | {"skip": "none", "mirror": False, "feed_mirror": False}))
        # Of larger images only a sample of positions is aligned: NumPy draws which.
        aligned = Alignment(AlignmentSettings(match="input", exact=16, sampled=8), 6, 4, Edges())
        objective = Objective(perceptual=squares, alignment=aligned)
    step = Step(model, objective)
    learned = [p for p in step.parameters() if p.requires_grad]
    state = State(
        *(model, objective, Forward(step, Ranks(torch.device("cuda")))),
        torch.optim.AdamW([{"params": learned, "scale": 1.0}], fused=True),
        Balance(1e4, "cuda"),
        Guard(GuardSettings(), "cuda"),
        Average(model, 1000),
    )
    state.balance.measured = True  # the first step is looked at before it is taken
    return state


@pytest.mark.filterwarnings("ignore:CUDA is not available:UserWarning")
def test_a_step_waits_for_no_copy_and_reads_nothing_back():
    sizes = {"samples": 8, "batch": 8, "micro": 2, "resolution": 16}
    stage = Stage.model_validate({"name": "s", "shares": {"x": 1.0}} | sizes)
    at = knobs(ALIGNED)._replace(stage=stage)
    with FakeTensorMode(allow_non_fake_inputs=True):
        state, means = on_a_gpu(), Means()
        batches = [
            batch._replace(em=torch.zeros(2, 16, 24, dtype=torch.uint8))
            for batch in micro_batches(ALIGNED)
        ]
        with Copies() as copies:
            for _ in range(2):
                outcome = take(state.reduction, batches, at, 0, state.balance)
                bad = state.guard.judge(at, outcome.losses, outcome.gradient)
                state.update(at, outcome, 1.0, bad)
                means.add(outcome.values(), bad)
            assert copies.waiting == 0
            assert copies.all >= 2 * 2 * len(batches)  # images and em: they are seen
            with pytest.raises(DataDependentOutputException):
                means.read()
