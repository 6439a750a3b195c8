"""Reconstruct images a model never saw and score what became of them.

Every codec sees the same crops; its output is rounded to 8 bits before it is scored, as a file
would be. NED compares the OCR of the original with the OCR of the reconstruction, both raw
(OmniDoc-TokenBench, report section "evaluation"); images in which OCR finds nothing are left out
and counted.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from filters import Reader
from shards import RGB, Sample, Settings, ShardReader, encode_png
from vae import METRICS, DCTCodec, Mean, load_model, ned


class ScoringSettings(Settings):
    """How much is scored: images of each data set, and their side in px."""

    images: PositiveInt = 24
    side: PositiveInt = 256
    pictures: PositiveInt = 4


class Codec(Protocol):
    """Anything that maps (b, 3, h, w) in [-1, 1] to itself through a latent."""

    def __call__(self, x: Tensor) -> Tensor:
        """Reconstruct."""
        ...


def codecs(checkpoint: Path) -> dict[str, nn.Module]:
    """Load the model, and the weight-free DCT codec of the same factor and channels."""
    model = load_model(checkpoint)
    factor, channels = model.settings.factor, model.settings.channels
    name = f"f{factor}c{channels}"
    return {f"model {name}": model, f"DCT {name}": DCTCodec(factor, channels).eval()}


def score(
    named: Mapping[str, Codec],
    data: Mapping[str, Path],
    out: Path,
    settings: ScoringSettings,
    *,
    reader: Reader | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Score every codec on every data set; pictures go to `out/DATA/KEY/NAME.png`.

    Args:
        named: codecs by name.
        data: folders of shards by the name of the data set.
        out: folder of the pictures.
        settings: how much.
        reader: the OCR engine; None leaves NED out.
        progress: called with a name before each image.

    Returns:
        One row for each (data set, codec): means, and how many images each mean holds.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for data_name, shards in data.items():
        means = {codec: _means() for codec in named}
        for i, (sample, pixels) in enumerate(crops(shards, settings)):
            progress(f"{data_name} {i + 1}")
            reading = reader.read(pixels) if reader and holds_text(sample) else ""
            shown = {"original": pixels}
            for codec_name, codec in named.items():
                output = reconstruct(codec, pixels)
                _update(means[codec_name], pixels, output, reading, reader)
                shown[codec_name] = output
            if i < settings.pictures:
                folder = out / data_name / sample.key
                folder.mkdir(parents=True, exist_ok=True)
                for name, picture in shown.items():
                    (folder / f"{name}.png").write_bytes(encode_png(picture))
        rows += [{"data": data_name, "codec": codec, **_row(mean)} for codec, mean in means.items()]
    return rows


def holds_text(sample: Sample) -> bool:
    """Whether reading is worth while: rendered text, or characters found by the density filter.

    In other photographs OCR reads noise out of texture, and its changes would be scored.
    """
    return bool(sample.text or sample.meta.get("scores", {}).get("characters"))


def crops(folder: Path, settings: ScoringSettings) -> Iterator[tuple[Sample, RGB]]:
    """Yield the first images of a folder with their central square of `side` px.

    Images smaller than that are left out: enlarging them would flatter every codec.
    """
    count = 0
    with ShardReader(folder) as reader:
        for sample in reader:
            pixels = sample.pixels()
            top, left = ((size - settings.side) // 2 for size in pixels.shape[:2])
            if min(top, left) < 0:
                continue
            yield sample, pixels[top : top + settings.side, left : left + settings.side]
            count += 1
            if count == settings.images:
                return


@torch.inference_mode()
def reconstruct(codec: Codec, pixels: RGB) -> RGB:
    """Pass (h, w, 3) uint8 through a codec and round the result to 8 bits."""
    return to_pixels(codec(to_tensor(pixels)))


def to_tensor(pixels: RGB) -> Tensor:
    """(h, w, 3) uint8 -> (1, 3, h, w) float32 in [-1, 1]."""
    # A copy: decoded images are read-only, which torch warns about.
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


def to_pixels(image: Tensor) -> RGB:
    """(1, 3, h, w) float in about [-1, 1] -> (h, w, 3) uint8, clamped."""
    return ((image[0].clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()


def _means() -> dict[str, Mean]:
    return {name: Mean() for name in (*METRICS, "ned")}


def _update(
    means: dict[str, Mean], pixels: RGB, output: RGB, reading: str, reader: Reader | None
) -> None:
    reference, result = ((to_tensor(image) + 1) / 2 for image in (pixels, output))
    for name, metric in METRICS.items():
        means[name].update(metric(result, reference).tolist())
    if reader and reading:
        means["ned"].update([ned(reading, reader.read(output))])


def _row(means: dict[str, Mean]) -> dict[str, Any]:
    row: dict[str, Any] = {"images": means["psnr"].count + means["psnr"].skipped}
    for name, mean in means.items():
        row[name] = round(mean.compute(), 4) if mean.count else None
    return row | {"read": means["ned"].count}
