"""The tensors that autograd saves for backward: their bytes, and how to save fewer.

They grow with the pixels of an image and limit training long before parameters do. Two things
lower them:

- always: the input of a conv is computed again from the input of the norm before it
  (`norm_silu_conv` in vae/ops.py). A residual block then saves two maps in place of four, at the
  same speed;
- on demand: `checkpoint_blocks` saves one map a block and computes the block a second time.

Gradients have the same bits either way. `torch.compile` fuses and recomputes by itself as well.
"""

from typing import Self

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from vae.layers import ResBlock
from vae.model import VAE
from vae.settings import VAESettings


def checkpoint_blocks(model: torch.nn.Module, on: bool = True) -> None:
    """Save only the input of each residual block of `model` for backward; `on=False` undoes it.

    It holds until it is changed and makes no difference to passes without gradients.
    """
    for module in model.modules():
        # To set what is set already would make compiled parts check all that they rely on again.
        if isinstance(module, ResBlock) and module.gradient_checkpointing != on:
            module.gradient_checkpointing = on


def saved_bytes(
    settings: VAESettings,
    side: int,
    *,
    blocks: bool = False,
    dtype: torch.dtype = torch.bfloat16,
) -> int:
    """Count the bytes that one image of `side` px makes autograd save, through both halves.

    Counted on the meta device, which has shapes and no memory: exact for any size, and quick.
    Parameters do not count. `blocks` as after `checkpoint_blocks`.
    """
    with torch.device("meta"):
        model = VAE(settings).to(dtype)
        x = torch.empty(1, settings.colours, side, side, dtype=dtype)
    checkpoint_blocks(model, blocks)
    with SavedTensors(model) as saved:
        _ = model(x)
    return saved.bytes


class SavedTensors(saved_tensors_hooks):
    """While active, add up the bytes that autograd saves for backward, each tensor once.

    Parameters of `model` do not count: they are there anyway.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._parameters = {_address(parameter) for parameter in model.parameters()}
        # Held, so that no later tensor takes the place of one counted.
        self._seen: dict[int, torch.UntypedStorage] = {}
        self._bytes = 0
        super().__init__(self._pack, lambda tensor: tensor)

    def __enter__(self) -> Self:  # pyright: ignore[reportIncompatibleMethodOverride] (returns None)
        """Begin to count."""
        super().__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        """Let go of what was counted, so that backward frees it as it goes."""
        super().__exit__(*raised)
        self._seen.clear()

    @property
    def bytes(self) -> int:
        """Bytes saved so far."""
        return self._bytes

    def _pack(self, tensor: Tensor) -> Tensor:
        address = _address(tensor)
        if address not in self._parameters and address not in self._seen:
            self._seen[address] = tensor.untyped_storage()
            self._bytes += self._seen[address].nbytes()
        return tensor


def _address(tensor: Tensor) -> int:
    # Not data_ptr: on the meta device that is 0 for all.
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]
