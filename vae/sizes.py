"""What may be encoded and decoded: shapes checked, images padded to whole blocks and cropped again.

Letters: b batch, c channel, h/w pixels, i/j latent rows and columns, f factor.
"""

import torch
from torch import Tensor
from torch.nn import functional

FARTHEST = 8.0
"""Distance from 0 at which values are surely no image in [-1, 1] (our choice: far above noise)."""


def check_image(x: Tensor, colours: int = 3, dtype: torch.dtype | None = None) -> None:
    """Raise ValueError unless x is a float batch (b, colours, h, w) that is not empty.

    `dtype` is that of the weights, None where any will do.
    """
    shape = tuple(x.shape)
    if x.ndim == 3:
        raise ValueError(f"expected images (b, {colours}, h, w), got {shape}; give image[None]")
    if x.ndim != 4 or shape[1] != colours or not x.numel():
        advice = (
            "channels come before rows and columns: give x.permute(0, 3, 1, 2)"
            if x.ndim == 4 and shape[3] == colours
            else "append alpha (1 is opaque), or use a model of colours=3"
            if colours == 4
            else "give RGB, or use a model of colours=4 for RGBA"
        )
        raise ValueError(
            f"expected images (b, {colours}, h, w) of some size, got {shape}; {advice}"
        )
    if not x.is_floating_point():
        raise ValueError(f"expected float in [-1, 1], got {x.dtype}; give to_image(pixels)")
    _check_dtype(x, dtype)


def check_range(x: Tensor) -> None:
    """Raise ValueError when values are far outside of [-1, 1], as those of [0, 255] are."""
    largest = x.detach().abs().amax().item()
    if largest > FARTHEST:
        raise ValueError(
            f"expected values in [-1, 1], got up to {largest:g}; give to_image(pixels)"
        )


def _check_dtype(x: Tensor, dtype: torch.dtype | None) -> None:
    device = x.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return
    if dtype is not None and x.dtype != dtype:
        name = str(dtype).removeprefix("torch.")
        raise ValueError(
            f"expected {name} as the weights are, got {x.dtype}; give x.to(torch.{name}), or move "
            "the model to that type"
        )


def check_latent(z: Tensor, channels: int, dtype: torch.dtype | None = None) -> None:
    """Raise ValueError unless z is (b, channels, i, j) and not empty; `dtype` as for images."""
    if z.ndim != 4 or z.shape[1] != channels or not z.numel():
        raise ValueError(
            f"expected latents (b, {channels}, i, j), got {tuple(z.shape)}; "
            f"give what a model of {channels} channels encoded"
        )
    _check_dtype(z, dtype)


def pad(x: Tensor, factor: int) -> Tensor:
    """Repeat the last row and column until h and w are multiples of `factor`.

    On the right and below only, so that pixel (0, 0) stays where it is. Repeating also works for
    images smaller than the padding, where reflecting cannot. And it adds no detail that would have
    to be coded: the cut blocks of rendered pages pass the DCT codec 0.4 dB better than with
    reflecting. Images of whole blocks are returned as they are.
    """
    right, below = -x.shape[3] % factor, -x.shape[2] % factor
    return functional.pad(x, (0, right, 0, below), mode="replicate") if right or below else x


def crop(x: Tensor, size: tuple[int, int] | None, factor: int) -> Tensor:
    """Undo `pad`: the first h rows and w columns of (b, c, f i, f j); all where `size` is None.

    Raises:
        ValueError: when images of `size` are not padded to the size of x.
    """
    if size is None:
        return x
    for side, decoded, name in zip(size, x.shape[2:], "hw", strict=True):
        if not decoded - factor < side <= decoded:
            raise ValueError(
                f"{name}={side}: this latent decodes to {decoded} px, so {name} must be "
                f"{decoded - factor + 1} to {decoded}; give the size of the encoded image"
            )
    return x[:, :, : size[0], : size[1]]
