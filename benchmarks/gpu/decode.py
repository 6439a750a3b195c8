"""One large image decoded tile by tile and whole."""

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks._rows import Row
from benchmarks.gpu.bench import GIB, Bench, why
from vae import PRESETS, VAE
from vae.inference.tiling import Tiled

INDEXED = 2**31
"""Values of a map that 32 bits count; kernels for larger ones may be missing or wrong."""


@torch.no_grad()
def decode(bench: Bench) -> Iterator[Row]:
    """Measure seconds, memory and difference of both ways, in bfloat16."""
    side, tile = bench.size.decoded, bench.size.tile
    for preset in bench.size.presets:
        settings = PRESETS[preset]
        model = VAE(settings).to(bench.ranks.device, torch.bfloat16)
        z = _latent(settings.channels, side // settings.factor).to(model.latent_mean)
        corner = z[:, :, : tile // settings.factor, : tile // settings.factor]
        images: list[Tensor] = []
        for way, decoded in (
            (f"tiles of {tile} px", Tiled(model, tile).decode),
            ("whole", model.decode),
        ):
            of = f"{preset}, {side} px, {way}"
            if way == "whole" and settings.decoder_width * (side // settings.patch) ** 2 >= INDEXED:
                yield Row(f"decode: {of}", None, "above 2^31 values")
                continue
            try:
                decoded(corner)  # kernels are chosen and loaded
                bench.wait()
                bench.watch_memory()
                start = time.perf_counter()
                images.append(decoded(z))
                bench.wait()
            except torch.OutOfMemoryError as error:
                yield Row(f"decode: {of}", None, why(error))
                continue
            yield Row(f"decode: {of}", time.perf_counter() - start, "s")
            if bench.on_gpu:
                yield Row(f"decode, memory: {of}", bench.peak() / GIB, "GiB")
        if len(images) == 2:
            apart = (images[0] - images[1]).abs().max() / images[1].std()
            yield Row(
                f"decode, tiles from the whole: {preset}, {side} px",
                1e6 * float(apart),
                "1e-6 of its std",
            )
        bench.forget()


def _latent(channels: int, side: int) -> Tensor:
    """Draw a latent (1, C, side, side), in channels-last order."""
    z = torch.randn(1, channels, side, side, generator=torch.Generator().manual_seed(0))
    return z.contiguous(memory_format=torch.channels_last)
