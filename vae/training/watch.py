"""Watching: what a model in training does to images that it never learns from.

At every watch each rank reconstructs its part of the images, one by one, and what it measured is
put together in the order of the images: the scores are the same at any number of ranks. Nothing
here touches the training: no gradient, no random number, no weight.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import chain, islice
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from shards import RGB, Sample, ShardReader, UserError
from shards.places import checked_name
from shards.store import Places
from vae.codecs import DCTCodec
from vae.data.batches import Readers
from vae.inference.latents import Moments
from vae.metrics import METRICS, Mean
from vae.model import VAE
from vae.objective.losses import Distance, Objective
from vae.objective.perceptual import PerceptualEffLite0
from vae.pixels import to_image, to_pixels
from vae.settings import VAESettings
from vae.training.ranks import Ranks
from vae.training.record import grid
from vae.training.whole import whole_model

SMALLEST = 16
"""Images with a shorter side, px, are not watched: SSIM needs 11, LPIPS 16."""

PICTURES = 4
"""Images of each set in a grid."""

Values = dict[str, float | None]
"""What one reconstruction scored, by name; None where nothing could be scored."""

Scores = dict[str, dict[str, Any]]
"""By the name of a watched set: `images`, how many; `model` and `dct`, means by name; `latents`,
their `effective_rank` and the `mean` and `std` of each channel. As JSON holds them."""


class Score(Protocol):
    """What else scores a reconstruction, such as reading it: it is given to `fit`."""

    def __call__(self, sample: Sample, original: RGB, output: RGB) -> Values:
        """Score the output for a central crop of a sample, both (h, w, 3) uint8."""
        ...


@dataclass(frozen=True)
class Crop:
    """A watched image: number `number` of a set, and its central crop (h, w, 3) uint8."""

    data: str
    number: int
    sample: Sample
    pixels: RGB


@dataclass(frozen=True)
class _Seen:
    """What was made of one image: values by codec, its latents; original and output if shown."""

    data: str
    number: int
    values: dict[str, Values]
    latents: Moments
    pair: tuple[RGB, RGB] | None


class Watch:
    """The watched sets of a run, and what scores them.

    Args:
        watched: what `open_store` takes, by the name of the set.
        trained: the streams that the run learns from.
        model: what the model is: the DCT codec beside it keeps as many numbers.
        objective: its perceptual distance is measured, LPIPS where it has that; where it has none
            PerceptualEffLite0 is loaded.
        ranks: this process among those that share the images.
        images: images of each set, the first ones.
        side: largest side of the central crop, px; nothing is enlarged.
        score: what else scores a reconstruction, of the first `read` images of each set.

    Raises:
        UserError: when a set is missing, empty, too small, or one of the streams.
    """

    def __init__(
        self,
        watched: Mapping[str, Places],
        trained: Readers,
        model: VAESettings,
        objective: Objective,
        ranks: Ranks,
        *,
        images: int,
        side: int,
        score: Score | None = None,
        read: int = 0,
    ) -> None:
        for name in watched:
            if "." in checked_name(name):  # it would part the names of scores
                raise UserError(f"{name!r} cannot be watched; use letters, digits, - and _ only")
        self.sets = sorted(watched)
        sets = (_crops(name, watched[name], trained, images, side) for name in self.sets)
        crops = list(chain.from_iterable(sets))
        share = math.ceil(len(crops) / ranks.world)  # on each rank, the last one again
        own = range(ranks.rank * share, (ranks.rank + 1) * share)
        self._crops = [crops[min(k, len(crops) - 1)] for k in own]
        self._ranks, self._score, self._read = ranks, score, read
        self._distances = _distances(objective, ranks) if crops else {}
        self._dct = _dct_codec(model, ranks)
        self._beside: dict[tuple[str, int], Values] = {}

    def __bool__(self) -> bool:
        """Say whether there is anything to watch."""
        return bool(self.sets)

    @torch.no_grad()
    def take(self, model: VAE) -> tuple[Scores, dict[str, RGB]]:
        """Score `model` on every set, on all ranks together.

        Returns:
            The scores, and of each set the grid of its first images.
        """
        seeing = whole_model(model)
        mine = [self._see(crop, seeing) for crop in self._crops]
        gathered = chain.from_iterable(self._ranks.gather(mine))  # pyright: ignore
        images = {(seen.data, seen.number): seen for seen in gathered}
        scores: Scores = {}
        grids: dict[str, RGB] = {}
        for name in self.sets:
            ordered = [images[at] for at in sorted(images) if at[0] == name]
            scores[name] = _scores(ordered)
            grids[name] = grid([seen.pair for seen in ordered if seen.pair is not None])
        return scores, grids

    def _see(self, crop: Crop, model: VAE) -> _Seen:
        image = to_image(crop.pixels)[None].to(self._ranks.device)
        size = (image.shape[2], image.shape[3])
        z = model.encode(image)
        output = to_pixels(model.decode(z, size)[0])
        values = {"model": self._values(crop, image, output)}
        if self._dct is not None:
            at = (crop.data, crop.number)
            if at not in self._beside:  # it does not learn
                self._beside[at] = self._values(crop, image, to_pixels(self._dct(image)[0]))
            values["dct"] = self._beside[at]
        pair = (crop.pixels, output) if crop.number < PICTURES else None
        return _Seen(crop.data, crop.number, values, Moments.of(z), pair)

    def _values(self, crop: Crop, image: Tensor, output: RGB) -> Values:
        """Score an output, rounded to 8 bits as a file would be."""
        result = to_image(output)[None].to(image)
        values: Values = {}
        for name, metric in METRICS.items():
            values[name] = metric((result + 1) / 2, (image + 1) / 2).item()
        for name, distance in self._distances.items():
            values[name] = distance(result, image).item()
        if self._score is not None and crop.number < self._read:
            values |= self._score(crop.sample, crop.pixels, output)
        return values


def flat(scores: Scores) -> dict[str, float]:
    """Return the numbers that a checkpoint holds: `SET.psnr`, and `SET.dct.psnr` of the codec."""
    numbers: dict[str, float] = {}
    for name, row in scores.items():
        numbers |= {f"{name}.images": row["images"]}
        numbers |= {f"{name}.effective_rank": row["latents"]["effective_rank"]}
        for codec, before in (("model", ""), ("dct", "dct.")):
            for metric, value in row.get(codec, {}).items():
                if value is not None:
                    numbers[f"{name}.{before}{metric}"] = value
    return numbers


def _crops(
    name: str,
    places: Places,
    trained: Readers,
    images: int,
    side: int,
) -> Iterator[Crop]:
    """Yield the central crops of the first images of a set that are large enough."""
    with ShardReader(places) as reader:
        for stream, learned in trained.items():
            if learned.fingerprint == reader.fingerprint:
                raise UserError(
                    f"{name} ({reader.name}) is watched and is the stream {stream} as well; "
                    "watch images that the run does not learn from"
                )
        opened = ((sample, sample.pixels()) for sample in reader)
        large = ((sample, pixels) for sample, pixels in opened if min(pixels.shape[:2]) >= SMALLEST)
        crops = [
            Crop(name, number, sample, central(pixels, side))
            for number, (sample, pixels) in enumerate(islice(large, images))
        ]
    if not crops:
        raise UserError(
            f"{name} ({reader.name}) is watched, but holds no image of {SMALLEST} px or more"
        )
    yield from crops


def central(pixels: RGB, side: int) -> RGB:
    """Cut the central square of `side` px out of (h, w, 3) uint8; what is smaller stays whole."""
    top, left = (max(0, (size - side) // 2) for size in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])


def _distances(objective: Objective, ranks: Ranks) -> dict[str, Distance]:
    if objective.lpips is not None:
        return {"lpips": objective.lpips}
    if objective.perceptual is not None:
        return {"perceptual": objective.perceptual}
    with torch.random.fork_rng(devices=[]):  # torch draws weights before they are loaded
        return {"perceptual": PerceptualEffLite0().to(ranks.device)}


def _dct_codec(model: VAESettings, ranks: Ranks) -> Callable[[Tensor], Tensor] | None:
    """Build the codec of the same f and C; None where a block has fewer values than C."""
    if model.channels > 3 * model.factor**2:
        return None
    return DCTCodec(model.factor, model.channels).to(ranks.device)


def _scores(images: list[_Seen]) -> dict[str, Any]:
    """Put the images of a set together, in their order."""
    latents = reduce(Moments.plus, (seen.latents for seen in images))
    means: dict[str, Any] = {
        codec: _means([seen.values[codec] for seen in images]) for codec in images[0].values
    }
    return {"images": len(images), **means, "latents": latents.summary()}


def _means(values: list[Values]) -> dict[str, float | None]:
    means: dict[str, Mean] = {}
    for image in values:
        for name, value in image.items():
            means.setdefault(name, Mean()).update([value])
    return {name: mean.compute() if mean.count else None for name, mean in sorted(means.items())}
