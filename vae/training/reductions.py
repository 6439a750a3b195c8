"""How the gradients of a step's micro-batches become one, on one rank and over many.

    exact   summed as a binary tree over the step's list: the same bits at any number of ranks
    fast    DistributedDataParallel: added over the ranks while backward still runs
    shard   FSDP2: each rank keeps its part of weights, gradients and moments

Each leaves the mean over the micro-batches of the step at the parameters. `exact` moves as many
bytes as `fast`, but not while something is computed. A rank's part of the list is a subtree, since
its micro-batches are in a row and their number, like that of the ranks, is a power of two.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from vae.training.ranks import Ranks

Reduce = Literal["exact", "fast", "shard"]


class Reduction:
    """`fast` and `shard` on one rank: gradients add up one after the other.

    A step is `begin`, `run` for each micro-batch of this rank, `end`. `step` is a module with the
    `model` in it, whose forward returns (loss, anything).
    """

    def __init__(self, step: nn.Module, ranks: Ranks) -> None:
        self.step, self.ranks = step, ranks
        self.parameters = [p for p in step.parameters() if p.requires_grad]
        self.micro_batches = 1

    def begin(self, micro_batches: int) -> None:
        """Forget the gradients of the step before."""
        self.micro_batches = micro_batches
        for parameter in self.parameters:
            parameter.grad = None

    def run(self, *arguments: Any, last: bool) -> tuple[Tensor, Any]:
        """Run a micro-batch forward and backward, the `last` of this rank or not.

        Returns what the step did, the loss detached.
        """
        del last
        return self._run(self.step, *arguments)

    def end(self) -> tuple[Tensor, Tensor]:
        """Leave the mean gradient at the parameters of all ranks.

        Returns the norm of the model's, and of what else learns: the gradient of the alignment's
        projection has a scale of its own (vae/objective/balance.py).
        """
        self._mean()
        model, beside = (self._norm(gradients) for gradients in self._parts())
        return model, beside

    def clip(self, norm: Tensor, limit: float) -> None:
        """Scale the model's gradient, whose norm is `norm`, so that it is `limit` at most."""
        factor = (limit / (norm + 1e-6)).clamp_max(1.0)
        gradients = self._parts()[0]
        if gradients:
            torch._foreach_mul_(gradients, factor)  # pyright: ignore

    def _run(self, forward: Callable[..., Any], *arguments: Any) -> tuple[Tensor, Any]:
        total, beside = forward(*arguments)
        total.backward()
        return total.detach(), beside

    def _mean(self) -> None:
        # The wrappers have averaged over the ranks, and each rank has added up its micro-batches.
        # Not done to the loss: the norms that the alignment is balanced by are those of the loss.
        own = self.micro_batches // self.ranks.world
        if own > 1:
            for gradient in _gradients(self.parameters):
                gradient.div_(own)

    def _norm(self, gradients: list[Tensor]) -> Tensor:
        if not gradients:
            return torch.zeros((), device=self.ranks.device)
        # All in a few kernels: a GPU would be done with each before the host had started the next.
        norms = torch._foreach_norm(gradients)  # pyright: ignore
        return torch.linalg.vector_norm(torch.stack(norms))

    def _parts(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return the gradients of the model and those of what else learns."""
        of_model = {*self.step.get_submodule("model").parameters()}
        beside = [p for p in self.parameters if p not in of_model]
        return _gradients(p for p in self.parameters if p in of_model), _gradients(beside)


class Exact(Reduction):
    """The tree. Sums of 1, 2, 4, ... micro-batches wait until their neighbour is there."""

    def __init__(self, step: nn.Module, ranks: Ranks) -> None:
        super().__init__(step, ranks)
        self._waiting: list[tuple[int, list[Tensor]]] = []

    def begin(self, micro_batches: int) -> None:
        """Forget the gradients of the step before."""
        super().begin(micro_batches)
        self._waiting = []

    def run(self, *arguments: Any, last: bool) -> tuple[Tensor, Any]:
        """Run a micro-batch and put its gradient where it belongs in the tree."""
        del last
        total, beside = self.step(*arguments)
        total.backward()
        count, gradients = 1, self._taken()
        while self._waiting and self._waiting[-1][0] == count:
            _, before = self._waiting.pop()
            for left, right in zip(before, gradients, strict=True):
                left.add_(right)
            count, gradients = 2 * count, before
        self._waiting.append((count, gradients))
        return total.detach(), beside

    def end(self) -> tuple[Tensor, Tensor]:
        """Sum the subtrees of the ranks; leave the mean and return its norms."""
        ((_, gradients),) = self._waiting
        self._waiting = []
        if self.ranks.world > 1:
            self._over_ranks(gradients)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        return super().end()

    def _mean(self) -> None:
        if self.micro_batches > 1:
            for gradient in _gradients(self.parameters):
                gradient.div_(self.micro_batches)  # no rounding: it is a power of two

    def _taken(self) -> list[Tensor]:
        gradients: list[Tensor] = []
        for parameter in self.parameters:
            assert parameter.grad is not None, "a loss holds all that learns"
            gradients.append(parameter.grad)
            parameter.grad = None
        return gradients

    def _over_ranks(self, gradients: list[Tensor]) -> None:
        """Each rank sums a stretch of the values over all ranks; then all share their sums."""
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        world = self.ranks.world
        stretches = functional.pad(flat, (0, -len(flat) % world)).view(world, -1)
        sums = self.ranks.exchange(stretches)
        while len(sums) > 1:
            sums = sums[0::2] + sums[1::2]
        whole = self.ranks.rows(sums).flatten()[: len(flat)]
        parts = whole.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


class Fast(Reduction):
    """DDP of what learns, told to wait for the last micro-batch of a step."""

    def __init__(self, step: nn.Module, ranks: Ranks) -> None:
        super().__init__(step, ranks)
        learn = {name for name, p in step.named_parameters() if p.requires_grad}
        still = {*dict(step.named_parameters()), *dict(step.named_buffers())} - learn
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(step, still)  # pyright: ignore
        # Without device_ids DDP leaves the arguments as they are.
        with ranks.waiting("wrap the model in DDP"):
            self._wrapped = DistributedDataParallel(step, gradient_as_bucket_view=True)

    def run(self, *arguments: Any, last: bool) -> tuple[Tensor, Any]:
        """Run a micro-batch; in the last one's backward gradients are averaged over the ranks."""
        quiet = nullcontext() if last else self._wrapped.no_sync()
        with quiet, self.ranks.waiting("average gradients", computing=True):
            return self._run(self._wrapped, *arguments)


class Shard(Reduction):
    """FSDP2, a level of the model at a time. What is frozen stays whole, as the teacher."""

    def __init__(self, step: nn.Module, ranks: Ranks) -> None:
        frozen = {p for p in step.parameters() if not p.requires_grad}
        model: Any = step.get_submodule("model")
        with ranks.waiting("share out the weights"):
            mesh = init_device_mesh(ranks.device.type, (ranks.world,))
            for part in (model.encoder, model.decoder):
                for unit in (*part.levels, part.middle):
                    fully_shard(unit, mesh=mesh, ignored_params=frozen)
            fully_shard(model.decoder.finest, mesh=mesh, ignored_params=frozen)
            self._wrapped: Any = fully_shard(step, mesh=mesh, ignored_params=frozen)
        # Only now: the parameters of before are not those that learn.
        super().__init__(step, ranks)

    def run(self, *arguments: Any, last: bool) -> tuple[Tensor, Any]:
        """Run a micro-batch; in the last one's backward gradients are averaged and shared out."""
        self._wrapped.set_requires_gradient_sync(last)
        with self.ranks.waiting("share out gradients", computing=True):
            return self._run(self._wrapped, *arguments)

    def _norm(self, gradients: list[Tensor]) -> Tensor:
        return torch.linalg.vector_norm(self.ranks.rows(super()._norm(gradients)[None]))


def wrap(reduce: Reduce, step: nn.Module, ranks: Ranks) -> Reduction:
    """Make ready for the first step; with `shard` the parameters of `step` become others.

    So an optimizer is made after it. `fast` and `shard` need no wrapper on one rank.
    """
    if reduce == "exact":
        return Exact(step, ranks)
    if ranks.world == 1:
        return Reduction(step, ranks)
    return Fast(step, ranks) if reduce == "fast" else Shard(step, ranks)


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return full tensors, put together where ranks hold parts: to be called on all of them.

    In the order of their names, since ranks may list them in another one: safetensors does.
    """
    ordered = sorted(tensors.items(), key=lambda named: named[0])
    return {n: t.full_tensor() if isinstance(t, DTensor) else t for n, t in ordered}


def part_of(tensor: Tensor, ours: Tensor) -> Tensor:
    """Return what this rank keeps of a full tensor, where `ours` says which part that is."""
    if not isinstance(ours, DTensor):
        return tensor
    full = tensor.to(ours.device)
    return distribute_tensor(full, ours.device_mesh, ours.placements, src_data_rank=None)


def _gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """Return the gradients that there are, of a shared parameter this rank's part."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    return [g.to_local() if isinstance(g, DTensor) else g for g in gradients]
