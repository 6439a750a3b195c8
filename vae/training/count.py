"""The work and memory of one micro-batch, counted on tensors that have a shape and no memory.

The step itself is run, forward and backward, op by op as PyTorch runs it on a GPU: whatever it
does is counted, and nothing else. What a GPU's library and allocator take on top is not known
here, nor what `torch.compile` saves.
"""

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, UntypedStorage
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, flop_registry, sdpa_flop_count

from vae.inference.memory import SavedTensors, checkpoint_blocks
from vae.model import VAE
from vae.objective.alignment import AlignmentSettings
from vae.objective.losses import Weights, build_objective
from vae.settings import VAESettings
from vae.training.start import Learning, freeze
from vae.training.step import Step

aten = torch.ops.aten


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


# Tensors without memory pass for those of a CPU, whose attention torch's counter does not know.
ATTENTION: dict[Any, Any] = {aten._scaled_dot_product_flash_attention_for_cpu: _attention}
COUNTED = {*flop_registry, *ATTENTION}
"""Operations whose time goes by their arithmetic, not by what they read and write."""


class Work(NamedTuple):
    """What one micro-batch takes, forward and backward.

    `flop` counts the additions and multiplications of convs and matrix products, `forward` those
    of the forward pass alone. `traffic` are the bytes that all other operations read and write.
    `saved` are the bytes that autograd keeps at the end of the forward pass, `peak` the most that
    live at a time; both without parameters and their gradients.
    """

    flop: int
    forward: int
    traffic: int
    saved: int
    peak: int


class Numbers(NamedTuple):
    """How many numbers a run holds whatever its images.

    Of the `model` all are trained but those that are `still`, and `learned` ones by the objective,
    whose networks are `frozen`. Where ranks share weights, `unit` is the largest part that is
    gathered for a while; `root` stays gathered from the start of forward to the end of backward.
    """

    model: int
    still: int
    learned: int
    frozen: int
    unit: int
    root: int

    @property
    def trained(self) -> int:
        """Numbers that have a gradient and moments."""
        return self.model - self.still + self.learned


class Outline:
    """A run's model and objective as shapes alone, to be counted."""

    def __init__(
        self,
        model: VAESettings,
        weights: Weights,
        alignment: AlignmentSettings | None = None,
        learning: Learning = "all",
        lpips_side: int | None = None,
    ) -> None:
        """Build them; no weights are read. `weights` name the terms that any micro-batch has.

        The others are those of `TrainSettings`.

        Raises:
            UserError: when the teacher's shape cannot be had.
        """
        self._shapes = FakeTensorMode(allow_non_fake_inputs=True)
        self._counted: dict[tuple[object, ...], Work] = {}
        with self._shapes:
            objective = build_objective(
                *(weights, alignment or AlignmentSettings(), model),
                lpips_side=lpips_side,
                load=False,
            )
            self._step = Step(VAE(model), objective)
            freeze(self._step.model, learning)

    def numbers(self) -> Numbers:
        """Count what does not depend on images."""
        step = self._step
        learned = sum(p.numel() for p in step.objective.learned().values())
        frozen = sum(p.numel() for p in step.objective.parameters()) - learned
        halves = (step.model.encoder, step.model.decoder)
        units = [
            sum(p.numel() for p in unit.parameters())
            for half in halves
            for unit in (*half.levels, half.middle)
        ]
        model = sum(p.numel() for p in step.model.parameters())
        still = sum(p.numel() for p in step.model.parameters() if not p.requires_grad)
        return Numbers(model, still, learned, frozen, max(units), model + learned - sum(units))

    def work(
        self,
        shape: tuple[int, int],
        micro: int,
        weights: Weights,
        *,
        recompute: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> Work:
        """Count a micro-batch of `micro` images of `shape` (h, w) px.

        `recompute` is that of residual blocks, `dtype` that of autocast.
        """
        terms = tuple(bool(getattr(weights, name)) for name in type(weights).model_fields)
        key = (shape, micro, terms, recompute, dtype)
        if key not in self._counted:
            with self._shapes:
                self._counted[key] = measure(
                    self._step, (micro, 3, *shape), weights, recompute=recompute, dtype=dtype
                )
        return self._counted[key]


def measure(
    step: Step,
    size: tuple[int, int, int, int],
    weights: Weights,
    *,
    recompute: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Work:
    """Run `step` on images of `size` (b, 3, h, w), forward and backward, and count.

    Gradients are left at its parameters, so that a second run adds to them as in training.
    """
    checkpoint_blocks(step, recompute)
    device = next(step.parameters()).device
    for parameter in step.parameters():
        if parameter.requires_grad and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    images = torch.rand(size, device=device).contiguous(memory_format=torch.channels_last)
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as flop, Ledger() as ledger:
        with SavedTensors(step) as saved, torch.autocast("cpu", dtype, dtype != torch.float32):
            total, _ = step(images, weights, np.random.default_rng(0))
        kept, forward = saved.bytes, flop.get_total_flops()
        total.backward()
    return Work(flop.get_total_flops(), forward, ledger.traffic, kept, ledger.peak)


class Ledger(TorchDispatchMode):
    """While active, follows the memory that operations allocate until it is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.peak, self.traffic, self._live = 0, 0, 0
        self._held: weakref.WeakSet[UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run `func`, then note what it made and how many bytes it moved."""
        del types
        out = func(*args, **(kwargs or {}))
        read = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        written = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        there = {_address(x) for x in read}
        made = [x for x in written if _address(x) not in there]
        for x in made:
            storage = x.untyped_storage()
            if storage not in self._held:
                self._held.add(storage)
                self._live += storage.nbytes()
                weakref.finalize(storage, self._free, storage.nbytes())
        self.peak = max(self.peak, self._live)
        is_view = not made and not func._schema.is_mutable
        if not is_view and func.overloadpacket not in COUNTED:
            self.traffic += sum(x.numel() * x.element_size() for x in (*read, *written))
        return out

    def _free(self, size: int) -> None:
        self._live -= size


def _address(x: Tensor) -> int:
    # Not data_ptr: without memory that is 0 for all.
    return x.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]
