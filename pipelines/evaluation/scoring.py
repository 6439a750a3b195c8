"""Reconstruct images a model never saw and score what became of them.

Every codec sees the same crops; its output is rounded to 8 bits before it is scored, as a file
would be. NED compares the OCR of the original with the OCR of the reconstruction, both raw
(OmniDoc-TokenBench, report section "evaluation"); images in which OCR finds nothing are left out
and counted.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from statistics import median
from typing import Any, Protocol
from zlib import crc32

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from filters import Reader, Recognizer
from pipelines.evaluation.pictures import keep
from shards import RGB, Sample, Settings, ShardReader
from shards.boxes import Window
from shards.store import Places, Where, open_store
from vae import METRICS, DCTCodec, Mean, load_model, ned, size_class, to_image, to_pixels


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


def codecs(checkpoint: Where) -> dict[str, nn.Module]:
    """Load the model, and the weight-free DCT codec of the same factor and channels."""
    model = load_model(checkpoint)
    factor, channels = model.settings.factor, model.settings.channels
    name = f"f{factor}c{channels}"
    return {f"model {name}": model, f"DCT {name}": DCTCodec(factor, channels).eval()}


def score(
    named: Mapping[str, Codec],
    data: Mapping[str, Places],
    out: Where,
    settings: ScoringSettings,
    *,
    reader: Reader | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Score every codec on every data set; pictures go to `out/DATA/KEY/NAME.png`.

    Args:
        named: codecs by name.
        data: folders or buckets of shards by the name of the data set, one or several of each.
        out: folder or bucket of the pictures.
        settings: how much.
        reader: the OCR engine; None leaves NED out.
        progress: called with a name before each image.

    Returns:
        One row for each (data set, codec): means, and how many images each mean holds.
    """
    store = open_store(out)
    store.make()
    rows: list[dict[str, Any]] = []
    for data_name, shards in data.items():
        means = {codec: _means() for codec in named}
        folders = set[str]()
        for i, (sample, pixels) in enumerate(crops(shards, settings)):
            progress(f"{data_name} {i + 1}")
            reading = reader.read(pixels) if reader and holds_text(sample) else ""
            outputs: dict[str, RGB] = {}
            for codec_name, codec in named.items():
                output = reconstruct(codec, pixels)
                _update(means[codec_name], pixels, output, reading, reader)
                outputs[codec_name] = output
            if i < settings.pictures:
                # Folders that are read as one may have a key in common.
                folder = f"{sample.key}-{i}" if sample.key in folders else sample.key
                folders.add(folder)
                keep(store.inside(data_name).inside(folder), pixels, outputs)
        rows += [{"data": data_name, "codec": codec, **_row(mean)} for codec, mean in means.items()]
    return rows


class ReadingScore:
    """NED of the reconstructions of a training run, by size of text; `vae.fit` takes it as `score`.

    Each original is read once. Another process to which it is sent begins with nothing read.
    """

    def __init__(self, make: Callable[[], Reader] = Recognizer) -> None:
        """Keep what makes the OCR engine."""
        self._make, self._read = make, dict[int, str]()

    @cached_property
    def reader(self) -> Reader:
        """Make the engine at the first use.

        Raises:
            UserError: when it is not installed.
        """
        return self._make()

    def __reduce__(self) -> tuple[type["ReadingScore"], tuple[Callable[[], Reader]]]:
        """Leave the engine behind."""
        return type(self), (self._make,)

    def __call__(self, sample: Sample, original: RGB, output: RGB) -> dict[str, float | None]:
        """Return `ned`, and the same as `ned/8-11` and so on; both images are (h, w, 3) uint8."""
        if not holds_text(sample):
            return {}
        known = crc32(original.tobytes())
        if known not in self._read:
            self._read[known] = self.reader.read(original)
        score = ned(self._read[known], self.reader.read(output))
        size = size_of(sample, original)
        return {"ned": score} | ({f"ned/{size}": score} if size else {})


def size_of(sample: Sample, crop: RGB) -> str | None:
    """Name the class of the text in the central crop of a sample: vae/data/em.py has them.

    It is that of the median em of the lines that the crop shows; None where the label has no lines.
    """
    height, width = crop.shape[:2]
    left, top = (sample.meta.get(k, n) - n for k, n in (("width", width), ("height", height)))
    left, top = left // 2, top // 2
    sizes = [
        line["size_px"]
        for line in sample.meta.get("lines", [])
        if overlap(line["box"], (left, top, left + width, top + height))
    ]
    return size_class(median(sizes)) if sizes else None


def overlap(box: Sequence[float], window: Window) -> bool:
    """Say whether a box and a window share a pixel."""
    return max(box[0], window[0]) < min(box[2], window[2]) and max(box[1], window[1]) < min(
        box[3], window[3]
    )


def holds_text(sample: Sample) -> bool:
    """Whether reading is worth while: rendered text, or characters found by the density filter.

    In other photographs OCR reads noise out of texture, and its changes would be scored.
    """
    return bool(sample.text or sample.meta.get("scores", {}).get("characters"))


def crops(places: Places, settings: ScoringSettings) -> Iterator[tuple[Sample, RGB]]:
    """Yield the first images of a data set with their central square of `side` px.

    Images smaller than that are left out: enlarging them would flatter every codec.
    """
    count = 0
    with ShardReader(places) as reader:
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
    return to_pixels(codec(to_image(pixels)[None])[0])


def _means() -> dict[str, Mean]:
    return {name: Mean() for name in (*METRICS, "ned")}


def _update(
    means: dict[str, Mean], pixels: RGB, output: RGB, reading: str, reader: Reader | None
) -> None:
    reference, result = ((to_image(image)[None] + 1) / 2 for image in (pixels, output))
    for name, metric in METRICS.items():
        means[name].update(metric(result, reference).tolist())
    if reader and reading:
        means["ned"].update([ned(reading, reader.read(output))])


def _row(means: dict[str, Mean]) -> dict[str, Any]:
    row: dict[str, Any] = {"images": means["psnr"].count + means["psnr"].skipped}
    for name, mean in means.items():
        row[name] = round(mean.compute(), 4) if mean.count else None
    return row | {"read": means["ned"].count}
