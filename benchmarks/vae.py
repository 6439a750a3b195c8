"""The VAE: bytes kept for backward, speed beside diffusers, and tiling."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._rows import Row, main
from vae import PRESETS, VAE, VAESettings
from vae.inference.invariant import ShapeInvariant
from vae.inference.memory import SavedTensors, checkpoint_blocks, saved_bytes
from vae.inference.tiling import Tiled, halo

GIB = 2**30
WIDTH = 24
"""Of the models that are timed: the report's layout at a quarter of its encoder's width."""

FORMATS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def measure(quick: bool) -> list[Row]:
    """Memory of training, CPU time of a step beside diffusers, exactness and cost of tiles."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return [
        *_memory(),
        *_sizes(64 if quick else 256),
        *_speed(64, 1 if quick else 6),
        *([] if quick else _speed(256, 4)),
        *_checkpointed(64 if quick else 256, 2 if quick else 4),
        *_linear(512 if quick else 2048),
        *_tiling(quick),
    ]


def _memory() -> list[Row]:
    rows: list[Row] = []
    for preset in ("f16c64", "f32c128"):
        for blocks in (False, True):
            how = "blocks recomputed" if blocks else "inputs of convs recomputed"
            for side in (256, 512, 1024, 2048):
                kept = saved_bytes(PRESETS[preset], side, blocks=blocks) / GIB
                wanted = 0.5 if (preset, side) == ("f16c64", 256) else None
                name = f"memory: {preset} {side} px, {how}"
                rows.append(Row(name, kept, "GiB/image", wanted, "lower"))
    with torch.device("meta"):
        x = torch.empty(1, 3, 256, 256, dtype=torch.bfloat16)
        for name, make in peers(96).items():
            model = make().to(torch.bfloat16)
            with SavedTensors(model) as saved:
                _ = autoencode(model, x)
            rows.append(Row(f"memory: {name} 256 px", saved.bytes / GIB, "GiB/image"))
    return rows


def peers(width: int) -> dict[str, Callable[[], nn.Module]]:
    """Return makers of diffusers' autoencoders, `width` channels wide at the finest level.

    The first has our layout.
    """
    from diffusers.models.autoencoders.autoencoder_dc import AutoencoderDC
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.autoencoders.autoencoder_kl_qwenimage import AutoencoderKLQwenImage

    widths = tuple(width * m for m in (1, 2, 4, 8, 8))
    kl: dict[str, Any] = {
        "block_out_channels": widths,
        "down_block_types": ("DownEncoderBlock2D",) * 5,
        "up_block_types": ("UpDecoderBlock2D",) * 5,
        "layers_per_block": 2,
        "latent_channels": 64,
        "norm_num_groups": 8,
        "mid_block_add_attention": False,
    }
    dc: dict[str, Any] = {
        "latent_channels": 64,
        "encoder_block_out_channels": widths,
        "decoder_block_out_channels": widths,
        "encoder_layers_per_block": (2,) * 5,
        "decoder_layers_per_block": (3,) * 5,
        "encoder_qkv_multiscales": ((),) * 5,
        "decoder_qkv_multiscales": ((),) * 5,
    }
    return {
        "AutoencoderKL": lambda: AutoencoderKL(**kl),
        "AutoencoderDC": lambda: AutoencoderDC(**dc),
        "AutoencoderKLQwenImage": lambda: AutoencoderKLQwenImage(base_dim=width),
    }


def autoencode(model: Any, x: Tensor) -> Tensor:
    """Reconstruct images (b, 3, h, w) by ours or by one of diffusers', without sampling."""
    if isinstance(model, VAE):
        return model(x)
    return _decode(model, _encode(model, x))


def _encode(model: Any, x: Tensor) -> Tensor:
    if isinstance(model, VAE):
        return model.encode(x)
    x = x[:, :, None] if "Qwen" in type(model).__name__ else x
    encoded = model.encode(x)
    return encoded.latent if hasattr(encoded, "latent") else encoded.latent_dist.mode()


def _decode(model: Any, z: Tensor) -> Tensor:
    if isinstance(model, VAE):
        return model.decode(z)
    image = model.decode(z).sample
    return image[:, :, 0] if image.ndim == 5 else image


def _speed(side: int, rounds: int) -> list[Row]:
    """CPU seconds of a training step, each model in its best type and format, turn by turn."""
    models = _models()
    x = torch.rand(1, 3, side, side) * 2 - 1
    steps: dict[tuple[str, str], list[Callable[[], None]]] = {}
    for name, make in models.items():
        for order, layout in FORMATS.items():
            if "Qwen" in name and order == "nhwc":
                continue  # its convs are 3-D
            model = make().to(memory_format=layout)
            image = x.contiguous(memory_format=layout)
            with torch.no_grad():
                z = _encode(model, image)
            parts = {
                "step": (autoencode, image),
                "encoder": (_encode, image),
                "decoder": (_decode, z),
            }
            for part, (apply, given) in parts.items():
                variants = [_step(model, apply, given, dtype) for dtype in TYPES.values()]
                steps.setdefault((name, part), []).extend(variants)
    best = {key: [float("inf")] * len(variants) for key, variants in steps.items()}
    for _ in range(rounds):
        for key, variants in steps.items():
            for k, step in enumerate(variants):
                start = time.process_time()
                step()
                best[key][k] = min(best[key][k], time.process_time() - start)
    rows: list[Row] = []
    for part in ("step", "encoder", "decoder"):
        seconds = {name: min(best[name, part]) for name in models}
        of = f"speed, {side} px: {part}"
        rows += [Row(f"{of}, {name}", seconds[name], "CPU s") for name in models]
        for name in list(models)[1:]:
            target = 1.2 if (part, name, side) == ("step", "AutoencoderKL", 256) else None
            ratio = seconds[name] / seconds["ours"]
            rows.append(Row(f"{of}, time of {name} / ours", ratio, "ratio", target))
    return rows


def _models() -> dict[str, Callable[[], nn.Module]]:
    ours = VAESettings(encoder_width=WIDTH, decoder_width=WIDTH, skip="global")
    return {"ours": lambda: VAE(ours), **peers(WIDTH)}


def _sizes(side: int) -> list[Row]:
    rows: list[Row] = []
    for name, make in _models().items():
        model = make()
        with FlopCounterMode(display=False) as counter:
            _step(model, autoencode, torch.zeros(1, 3, side, side), torch.float32)()
        millions = sum(p.numel() for p in model.parameters()) / 1e6
        work = counter.get_total_flops() / 1e9
        rows.append(Row(f"size: {name}, parameters", millions, "million"))
        rows.append(Row(f"size: {name}, work of a step of {side} px", work, "GFLOP"))
    return rows


def _step(
    model: nn.Module, apply: Callable[[Any, Tensor], Tensor], given: Tensor, dtype: torch.dtype
) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)

    def step() -> None:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            out = apply(model, given)
        out.float().abs().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _checkpointed(side: int, rounds: int) -> list[Row]:
    """CPU time of a step that recomputes every block, over that of one that does not."""
    model = _models()["ours"]().to(memory_format=torch.channels_last)
    x = torch.rand(1, 3, side, side).contiguous(memory_format=torch.channels_last)
    step = _step(model, autoencode, x, torch.bfloat16)
    seconds = {False: float("inf"), True: float("inf")}
    for _ in range(rounds):
        for on in seconds:
            checkpoint_blocks(model, on)
            start = time.process_time()
            step()
            seconds[on] = min(seconds[on], time.process_time() - start)
    ratio = seconds[True] / seconds[False]
    return [Row("memory: time of a step, blocks recomputed / not", ratio, "ratio")]


GLIBC = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "17179869184"}
"""With these glibc keeps what is freed; by default large maps go back to the system every time, and
every page of the next one is a fault."""


def _linear(largest: int) -> list[Row]:
    """CPU time a pixel over that of 256 px; 1 is linear, as the work is."""
    rows: list[Row] = []
    for how, environment in (("", {}), (", memory kept", GLIBC)):
        code = "import sys; from benchmarks.vae import passes; print(*passes(int(sys.argv[1])))"
        told = subprocess.run(
            [sys.executable, "-c", code, f"{largest}"],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=True,
        )
        least, *others = map(float, told.stdout.split())
        for side, seconds in zip((512, 1024, 2048), others, strict=False):
            name = f"linear: time a pixel, {side} px / 256 px{how}"
            rows.append(Row(name, seconds / least, "ratio"))
    return rows


@torch.no_grad()
def passes(largest: int) -> Generator[float]:
    """Yield CPU seconds a pixel of a pass of nano, forward, at 256, 512 ... `largest` px."""
    torch.set_num_threads(1)
    model = VAE(PRESETS["nano"]).to(memory_format=torch.channels_last)
    side = 256
    while side <= largest:
        x = torch.rand(1, 3, side, side)
        seconds = float("inf")
        for _ in range(3):
            start = time.process_time()
            _ = model(x)
            seconds = min(seconds, time.process_time() - start)
        yield seconds / side**2
        side *= 2


@torch.no_grad()
def _tiling(quick: bool) -> list[Row]:
    """How far tiles are from the whole; the model is `tiny` with random weights."""
    model = VAE(PRESETS["tiny"])
    for name, parameter in model.named_parameters():
        if name.endswith("gain"):
            nn.init.uniform_(parameter, 0.5, 1.5)
    reach = halo(model.decoder, 16)
    z = torch.randn(1, 64, 32, 32)
    whole = model.decode(z)
    spread = whole.std()
    rows = [Row("tiling: halo of tiny's decoder", reach, "latents")]
    # The last size falls so that kernels choose another order of sums for tiles.
    cases = [(z, 256), (torch.randn(1, 64, 40, 28), 128)]
    cases = [(torch.randn(1, 64, 20, 14), 128)] if quick else cases
    error = max(_worst(model, latents, side) for latents, side in cases)
    rows.append(Row("tiling: exact, largest error / std", error * 1e6, "1e-6"))
    with ShapeInvariant():
        differ = sum(
            int((Tiled(model, side).decode(latents) != model.decode(latents)).sum())
            for latents, side in cases
        )
    rows.append(
        Row("tiling: exact, shape-invariant, values that differ", differ, "values", 0, "lower")
    )
    for preset in ("nano", "tiny", "small"):
        ratio = _invariant_cost(preset, 128 if quick else 256)
        rows.append(Row(f"tiling: time of a shape-invariant decode, {preset}", ratio, "ratio"))
    for overlap in (1, 2, 4):
        error = (Tiled(model, 256, overlap).decode(z) - whole).square().mean().sqrt() / spread
        rows.append(Row(f"tiling: fast, overlap {overlap}, rms error / std", float(error), "ratio"))
    peaks = (("nano", 1024, 512), ("small", 256, 128))
    for preset, side, tile in peaks if quick else (("nano", 4096, 1024), ("small", 832, 256)):
        code = f"from benchmarks.vae import peak; print(peak({preset!r}, {side}, {tile}))"
        told = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        used, bound = map(float, told.stdout.split())
        name = f"tiling: peak of decoding {side} px, {preset}, tiles of {tile} px"
        rows.append(Row(name, used, "MiB", bound, "lower"))
    with torch.device("meta"):
        for preset in ("f16c64", "f32c128"):
            model = VAE(PRESETS[preset]).to(torch.bfloat16)
            bound = Tiled(model, 512).decode_bytes((4096, 4096)) / GIB
            rows.append(Row(f"tiling: bound at 4096 px, {preset}, tiles of 512 px", bound, "GiB"))
    return rows


def _invariant_cost(preset: str, side: int) -> float:
    """CPU time of a decode in shape-invariant arithmetic over that in ordinary."""
    settings = PRESETS[preset]
    model = VAE(settings).to(memory_format=torch.channels_last)
    z = torch.randn(1, settings.channels, side // settings.factor, side // settings.factor)
    seconds = {False: float("inf"), True: float("inf")}
    for _ in range(6):
        for on in seconds:
            with ShapeInvariant() if on else nullcontext():
                start = time.process_time()
                model.decode(z)
                seconds[on] = min(seconds[on], time.process_time() - start)
    return seconds[True] / seconds[False]


def _worst(model: VAE, z: Tensor, side: int) -> float:
    whole = model.decode(z)
    return float((Tiled(model, side).decode(z) - whole).abs().max() / whole.std())


@torch.no_grad()
def peak(preset: str, side: int, tile: int) -> str:
    """Decode one image of `side` px by tiles; say the MiB it took and the MiB it may take."""
    torch.set_num_threads(1)
    settings = PRESETS[preset]
    tiled = Tiled(VAE(settings).to(memory_format=torch.channels_last), tile)
    tiled.decode(torch.zeros(1, settings.channels, 2, 2))
    z = torch.zeros(1, settings.channels, side // settings.factor, side // settings.factor)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts here
    before = _memory_line("VmRSS")
    tiled.decode(z)
    used = (_memory_line("VmHWM") - before) / 1024
    return f"{used} {tiled.decode_bytes((side, side)) / 2**20}"


def _memory_line(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


if __name__ == "__main__":
    main(measure)
