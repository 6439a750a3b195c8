"""What training keeps for backward: counted, and traded for time.

Memory that grows with pixels is what limits training, not parameters. Two things lower it:

- always: a conv's input is made again from what the norm before it saw (`norm_silu_conv` in
  vae/ops.py), so a residual block keeps two maps in place of four, at the same speed;
- on demand: `checkpoint_blocks` keeps one map a block, and computes the block a second time.

Gradients have the same bits either way. `torch.compile` fuses and recomputes on its own as well.
"""

from typing import Self

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from vae.layers import ResBlock
from vae.model import VAE
from vae.settings import VAESettings


def checkpoint_blocks(model: torch.nn.Module, on: bool = True) -> None:
    """Keep only the input of each residual block of `model` for backward, or all again.

    Lasts until changed; passes without gradients do not notice.
    """
    for module in model.modules():
        if isinstance(module, ResBlock):
            module.gradient_checkpointing = on


def kept_bytes(
    settings: VAESettings,
    side: int,
    *,
    blocks: bool = False,
    dtype: torch.dtype = torch.bfloat16,
) -> int:
    """Count the bytes that one image of `side` px keeps for backward, through both halves.

    Counted on the meta device, which has shapes and no memory: exact for any size, and quick.
    Parameters do not count. `blocks` as after `checkpoint_blocks`.
    """
    with torch.device("meta"):
        model = VAE(settings).to(dtype)
        x = torch.empty(1, settings.colours, side, side, dtype=dtype)
    checkpoint_blocks(model, blocks)
    with Kept(model) as kept:
        _ = model(x)
    return kept.bytes


class Kept(saved_tensors_hooks):
    """While active, add up the bytes autograd keeps for backward, each tensor once.

    Parameters of `model` do not count: they are there anyway.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._parameters = {_address(parameter) for parameter in model.parameters()}
        # Held, so that no later tensor takes the place of one counted.
        self._seen: dict[int, torch.UntypedStorage] = {}
        super().__init__(self._pack, lambda tensor: tensor)

    def __enter__(self) -> Self:  # pyright: ignore[reportIncompatibleMethodOverride] (returns None)
        """Begin to count."""
        super().__enter__()
        return self

    @property
    def bytes(self) -> int:
        """Bytes kept so far."""
        return sum(storage.nbytes() for storage in self._seen.values())

    def _pack(self, tensor: Tensor) -> Tensor:
        address = _address(tensor)
        if address not in self._parameters:
            self._seen[address] = tensor.untyped_storage()
        return tensor


def _address(tensor: Tensor) -> int:
    # Not data_ptr: on the meta device that is 0 for all.
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]
