"""Training: images per second of a nano step, and what each part of it costs."""

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks._rows import Row, main, rate
from pipelines.engine.jobs import RenderJob
from pipelines.engine.workers import Run
from vae import PRESETS, VAE, PerceptualEffLite0, Stage
from vae.curriculum.curriculum import Curriculum
from vae.curriculum.schedule import Ramp
from vae.data.batches import Batches, open_streams, sizes_of
from vae.data.loader import load
from vae.pixels import as_image

TINY = (8, 64)
"""The same of the batches of `tiny`: small ones, which are the hardest to keep up with."""

SHAPES = ((16, 64), (4, 128))
"""Images and side in px of batches with equally many pixels."""


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
            for em in (False, True):
                name = f"{count} x {side} px: drawing a batch, nothing cached"
                cold = _batches(Path(folder), count, side, cache_bytes=0, em=em)
                name += ", with the em" if em else ""
                rows.append(Row(name, rate(partial(draw, cold), seconds=seconds / 3), "images/s"))
        waiting = _waiting(Path(folder), seconds)
        name = f"tiny, {TINY[0]} x {TINY[1]} px, one loader, nothing cached: waiting for data"
        rows.append(Row(name, waiting, "% of a step", 5.0, "lower"))
    return rows


def _waiting(folder: Path, seconds: float) -> float:
    """Return which part of the time of a step goes by until its batch is there, %.

    The loader takes a core, and the model the others.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads - 1))
    model = VAE(PRESETS["tiny"]).to(memory_format=torch.channels_last)
    batches = _batches(folder, *TINY, steps=100_000, cache_bytes=0)
    places = ((n, 0) for n in batches.curriculum.starts())
    loaded = load(batches, places, loaders=1)
    next(loaded)  # the process has to start
    waited, start = 0.0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        asked = time.perf_counter()
        image = as_image(next(loaded).images)
        waited += time.perf_counter() - asked
        (model(image) - image).abs().mean().backward()
    torch.set_num_threads(threads)
    return 100 * waited / spent


def _batches(folder: Path, count: int, side: int, *, steps: int = 8, **options: Any) -> Batches:
    stage = Stage(
        name="all",
        samples=steps * count,
        batch=count,
        micro=count,
        resolution=side,
        shares={"synthetic": Ramp.model_validate(1.0)},
    )
    readers = open_streams({"synthetic": folder}, [stage])
    return Batches(readers, Curriculum([stage], sizes_of(readers)), **options)


if __name__ == "__main__":
    main(measure)
