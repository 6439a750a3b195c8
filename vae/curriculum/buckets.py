"""Buckets: shapes of equal area, which samples are large enough for each, which step has which.

A step has one shape. It is drawn in the proportions of the streams' own images, so that a page is
cut as a page and a panorama as one. Nothing is enlarged, padded or mirrored: a sample is drawn for
shapes that it holds at native scale.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from shards import Order, UserError
from vae.curriculum.stage import Stage

Sizes = NDArray[np.uint16]
"""Height and width in px of every sample of a stream, (samples, 2)."""

RARE = 10
"""A shape is used where at least one in so many of each stream's samples that hold any shape of
that area hold it (our choice: the few that do would be seen ten times as often as the others)."""


class Eligible:
    """The samples of a stream that hold a shape, in the order in which they are drawn."""

    def __init__(self, held: NDArray[np.bool_], seed: int) -> None:
        """Take which samples hold the shape, (samples,); at least one does."""
        self._numbers = None if held.all() else np.flatnonzero(held)
        self.order = Order(int(np.count_nonzero(held)), seed)

    def __len__(self) -> int:
        """Count the samples: an epoch of draws holds each once."""
        return self.order.samples

    def __getitem__(self, draw: int) -> int:
        """Return the number, in the stream, of the sample that a draw takes."""
        place = self.order[draw]
        return place if self._numbers is None else int(self._numbers[place])

    def many(self, draws: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the sample of each draw, shape (n,) as given."""
        places = self.order.many(draws)
        return places if self._numbers is None else self._numbers[places]


class Bucket(NamedTuple):
    """A shape (h, w) px that a stage draws, with the images of a step against its own resolution.

    `own` maps each stream to the share of its images that have no nearer shape, `held` to which
    of its samples are large enough, and to the digest of that.
    """

    shape: tuple[int, int]
    more: int
    own: dict[str, float]
    held: dict[str, tuple[str, NDArray[np.bool_]]]


class Fitting(NamedTuple):
    """How many images of a stream hold a shape of a stage's resolution, and the shapes it uses."""

    stage: str
    resolution: int
    stream: str
    images: int
    held: int
    shapes: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        """Say how many images are too small."""
        return (
            f"stage {self.stage}: stream {self.stream}: {self.images - self.held:,} of "
            f"{self.images:,} images are too small for {self.resolution} x {self.resolution} px "
            "and left out"
        )


def shapes(resolution: int, aspects: Sequence[float], block: int) -> list[tuple[int, int]]:
    """Return a shape (h, w) of each aspect (w / h), as large as `resolution` squared or less.

    Sides are multiples of `block`, and so is `resolution`. Aspects that come out alike are given
    once.
    """
    side = resolution // block
    made: list[tuple[int, int]] = []
    for aspect in aspects:
        ideal = side * max(aspect, 1 / aspect) ** 0.5
        # Of the two whole lengths around it, the one that wastes less of the area.
        long = max(
            (min(max(1, int(ideal) + extra), side * side) for extra in (0, 1)),
            key=lambda long: (side * side // long * long, -abs(long - ideal)),
        )
        short = side * side // long
        h, w = (short, long) if aspect > 1 else (long, short)
        made.append((h * block, w * block))
    return list(dict.fromkeys(made))


def fitted(
    stage: Stage, resolution: int, sizes: Mapping[str, Sizes], block: int
) -> tuple[list[Bucket], list[Fitting]]:
    """Choose the shapes of one resolution of a stage by what its streams hold.

    Raises:
        UserError: naming a stream whose images are all too small, or streams without a common
            shape.
    """
    asked = shapes(resolution, stage.aspects, block)
    holds = {
        name: [(sizes[name][:, 0] >= h) & (sizes[name][:, 1] >= w) for h, w in asked]
        for name in stage.streams
    }
    counts = {name: [int(np.count_nonzero(held)) for held in holds[name]] for name in holds}
    fitting = {name: int(np.count_nonzero(np.any(held, 0))) for name, held in holds.items()}
    for name, count in fitting.items():
        if not count:
            raise UserError(_too_small(stage.name, name, sizes[name], asked))
    used = [
        k
        for k in range(len(asked))
        if all(counts[name][k] * RARE >= fitting[name] > 0 for name in holds)
    ]
    if not used:
        raise UserError(
            f"stage {stage.name}: no shape of {resolution} x {resolution} px in area fits images "
            f"of all of {', '.join(holds)}; lower the resolution or draw them in stages of their "
            "own"
        )
    chosen = tuple(asked[k] for k in used)
    held = {name: [holds[name][k] for k in used] for name in holds}
    own = {name: _nearest(sizes[name], chosen, held[name]) for name in holds}
    more = (stage.resolution // resolution) ** 2
    buckets = [
        Bucket(
            shape,
            more,
            {name: float(own[name][k]) for name in holds},
            {name: (_digest(held[name][k]), held[name][k]) for name in holds},
        )
        for k, shape in enumerate(chosen)
    ]
    fits = [
        Fitting(stage.name, resolution, name, len(sizes[name]), int(np.any(masks, 0).sum()), chosen)
        for name, masks in held.items()
    ]
    return buckets, fits


def _nearest(
    sizes: Sizes, asked: Sequence[tuple[int, int]], holds: list[NDArray[np.bool_]]
) -> NDArray[np.float64]:
    """Return the share of images whose nearest shape, of those they hold, is each: (shapes,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        aspects = np.log(sizes[:, 1]) - np.log(sizes[:, 0])
    least, which = np.full(len(sizes), np.inf), np.full(len(sizes), -1)
    for k, (h, w) in enumerate(asked):
        far = np.where(holds[k], np.abs(aspects - np.log(w / h)), np.inf)
        nearer = far < least
        least[nearer], which[nearer] = far[nearer], k
    counts = np.bincount(which[which >= 0], minlength=len(asked))
    return counts / counts.sum()


def _too_small(stage: str, stream: str, sizes: Sizes, asked: list[tuple[int, int]]) -> str:
    h, w = min(asked, key=lambda shape: abs(np.log(shape[1] / shape[0])))
    largest = sizes[np.argmax(sizes.min(1))]
    also = " or another shape of that area" if len(asked) > 1 else ""
    return (
        f"stage {stage}: stream {stream}: 0 of {len(sizes):,} images hold {w} x {h} px{also}; the "
        f"largest is {largest[1]} x {largest[0]} px; lower the resolution or give larger images"
    )


def _digest(held: NDArray[np.bool_]) -> str:
    return "all" if held.all() else sha256(np.packbits(held).tobytes()).hexdigest()


class Steps(NamedTuple):
    """The steps of a stage: of each its images, its bucket (a place in a list), its shares.

    Shapes (steps,), (steps,) and (steps, streams).
    """

    images: NDArray[np.int64]
    bucket: NDArray[np.int64]
    shares: NDArray[np.float64]


def lay_out(
    stage: Stage, buckets: Sequence[Sequence[Bucket]], streams: Sequence[str], seed: int
) -> Steps:
    """Lay out the steps of a stage, given the buckets of its own resolution and of the others.

    Of all steps each resolution has its share and, of those, each shape its own, rounded; which
    step has which is shuffled.
    """
    kind = _shuffled(_counts(stage), f"{seed} {stage.name} resolution")
    images = stage.batch * np.array([of[0].more for of in buckets])[kind]
    before = images.cumsum() - images
    progress = before / max(1, int(before[-1]))
    shares = np.zeros((len(kind), len(streams)))
    for name in stage.streams:
        shares[:, streams.index(name)] = stage.shares[name].over(progress)
    shares /= shares.sum(1, keepdims=True)

    bucket, first = np.zeros(len(kind), np.int64), 0
    for which, of in enumerate(buckets):
        steps = np.flatnonzero(kind == which)
        own = np.array([[shape.own.get(name, 0.0) for shape in of] for name in streams])
        if len(steps):
            places = _shuffled([1] * len(steps), f"{seed} {stage.name} shapes {which}")
            even = (places + 0.5) / len(steps)
            ends = (shares[steps] @ own).cumsum(1)
            drawn = (even[:, None] * ends[:, -1:] >= ends[:, :-1]).sum(1)
            bucket[steps] = first + drawn
        first += len(of)
    return Steps(images, bucket, shares)


def _counts(stage: Stage) -> list[int]:
    """Return how many steps the stage has in its own resolution and in each of the others."""
    more = {side: (stage.resolution // side) ** 2 for side in stage.also}
    left = stage.samples // stage.batch
    own = 1 - sum(stage.also.values())
    steps = left / (own + sum(share * more[side] for side, share in stage.also.items()))
    counts: list[int] = []
    for side, share in stage.also.items():
        counts.append(min(round(steps * share), left // more[side]))
        left -= counts[-1] * more[side]
    return [left, *counts]


def _shuffled(counts: Sequence[int], name: str) -> NDArray[np.int64]:
    """Return each place of `counts` as often as it says, shuffled."""
    places = np.repeat(np.arange(len(counts)), counts)
    return places[Order(len(places), _seed(name)).many(np.arange(len(places)))]


def _seed(name: str) -> int:
    return crc32(name.encode())
