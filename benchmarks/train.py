"""Training: images per second of a nano step, and what each part of it costs."""

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from benchmarks._rows import Row, main, rate
from pipelines.engine.jobs import RenderJob
from pipelines.engine.workers import Run
from vae import PRESETS, VAE, PerceptualEffLite0, Stage
from vae.pixels import as_image
from vae.training.curriculum import Curriculum
from vae.training.loader import Batches, open_streams, sizes_of
from vae.training.schedule import Ramp

SHAPES = ((16, 64), (4, 128))
"""Images and side in px of the quickstart's batches: equally many pixels."""


def measure(quick: bool) -> list[Row]:
    """Images per second on all cores: forward, backward, and drawing batches."""
    seconds = 3.0 if quick else 15.0
    model = VAE(PRESETS["nano"]).to(memory_format=torch.channels_last)
    perceptual = PerceptualEffLite0().to(memory_format=torch.channels_last)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        pages = RenderJob.model_validate({"shards": 2, "samples_per_shard": 32})
        list(Run(pages, Path(folder)))
        for count, side in SHAPES:
            batches = _batches(Path(folder), count, side)
            image = as_image(batches[0, 0].images)

            def plain(image: Tensor = image) -> int:
                (model(image) - image).abs().mean().backward()
                return len(image)

            def both(image: Tensor = image) -> int:
                output = model(image)
                ((output - image).abs().mean() + perceptual(output, image).mean()).backward()
                return len(image)

            def draw(batches: Batches = batches) -> int:
                return sum(len(batches[n, 0].images) for n in batches.curriculum.starts())

            name = f"{count} x {side} px"
            rows += [
                Row(f"{name}: model", rate(plain, seconds=seconds), "images/s"),
                Row(f"{name}: model and perceptual", rate(both, seconds=seconds), "images/s"),
                Row(f"{name}: drawing a batch", rate(draw, seconds=seconds), "images/s"),
            ]
    return rows


def _batches(folder: Path, count: int, side: int) -> Batches:
    stage = Stage(
        name="all",
        samples=8 * count,
        batch=count,
        micro=count,
        resolution=side,
        shares={"synthetic": Ramp.model_validate(1.0)},
    )
    readers = open_streams({"synthetic": folder}, [stage])
    return Batches(readers, Curriculum([stage], sizes_of(readers)))


if __name__ == "__main__":
    main(measure)
