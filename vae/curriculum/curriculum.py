"""The curriculum: stages in order, and what every slot of every step draws.

The report goes from general photographs over real text-rich images to synthetic text while the
resolution rises; it gives no numbers. Here a curriculum is data. Its clock is n, the samples that
all ranks together have seen before a step, and every question ("what holds at n", "what does slot
k of the step at n draw") is a pure function of it, so that a run resumes at any step without
hidden state, with any number of ranks.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vae.curriculum.buckets import Bucket, Eligible, Fitting, Sizes, Steps, fitted, lay_out
from vae.curriculum.mixture import Mixture
from vae.curriculum.schedule import Rate
from vae.curriculum.stage import Stage, check_stages, check_streams, check_world, streams_of
from vae.objective.losses import Weights


class Draw(NamedTuple):
    """What one slot of a step draws.

    `number` counts, from 0, the draws from `stream`; `sample` is the sample's number in the
    stream's reader.
    """

    stream: str
    number: int
    sample: int


class Knobs(NamedTuple):
    """All that holds in the step at `n`: the `step`-th, both from 0.

    Its images are `shape` (h, w) px, in `micro_batches` of `micro` images each.
    """

    step: int
    n: int
    stage: Stage
    shape: tuple[int, int]
    micro_batches: int
    micro: int
    shares: dict[str, float]
    weights: Weights
    rate: float

    @property
    def samples(self) -> int:
        """Images of the step, over all ranks."""
        return self.micro_batches * self.micro


class Curriculum:
    """Stages one after the other, over streams of known sizes."""

    def __init__(
        self,
        stages: Sequence[Stage],
        sizes: Mapping[str, Sizes],
        seed: int = 0,
        *,
        block: int = 1,
        weights: Weights | None = None,
        rate: Rate | None = None,
    ) -> None:
        """Line up the stages; `weights` hold in those without their own (None: the defaults).

        Sides of all shapes are multiples of `block` px, as the resolutions are.

        Raises:
            UserError: when there is no stage, two have the same name, or a stream is missing or
                has no image that is large enough.
        """
        check_stages(stages)
        check_streams(stages, sizes)
        self.stages, self.seed = tuple(stages), seed
        self.weights, self.rate = weights or Weights(), rate or Rate()
        self.streams = streams_of(stages)
        """Names of all streams that any stage draws from."""
        self.fits: list[Fitting] = []
        """How many images of each stream are large enough for each stage."""
        self.stretches: list[range] = []
        """The numbers of each stage's steps."""
        self._buckets: list[Bucket] = []
        self._eligible: dict[tuple[str, str], Eligible] = {}
        laid: list[Steps] = []
        for stage in stages:
            chosen = [
                fitted(stage, resolution, sizes, block)
                for resolution in (stage.resolution, *stage.also)
            ]
            steps = lay_out(stage, [buckets for buckets, _ in chosen], self.streams, seed)
            laid.append(steps._replace(bucket=steps.bucket + len(self._buckets)))
            first = self.stretches[-1].stop if self.stretches else 0
            self.stretches.append(range(first, first + len(steps.images)))
            for buckets, fits in chosen:
                self._buckets += buckets
                self.fits += fits
        for bucket in self._buckets:
            for name, (digest, held) in bucket.held.items():
                if (name, digest) not in self._eligible:
                    self._eligible[name, digest] = Eligible(held, seed)
        images, bucket, shares = (np.concatenate(column) for column in zip(*laid, strict=True))
        self._ends, self._bucket = images.cumsum(), bucket
        self._mixture = Mixture(shares, images)
        self._recent: tuple[int, list[Draw]] = -1, []

    @property
    def samples(self) -> int:
        """Images of the whole curriculum: n after its last step."""
        return int(self._ends[-1])

    @property
    def steps(self) -> int:
        """Steps of the whole curriculum."""
        return len(self._ends)

    def starts(self, n: int = 0) -> Iterator[int]:
        """Yield the n of every step from the one at `n` on; none where `n` is the end.

        Raises:
            ValueError: when no step begins at `n`.
        """
        first = self.steps if n == self.samples else self._step(n)
        return (self.start(step) for step in range(first, self.steps))

    def at(self, n: int) -> Knobs:
        """Return all that holds in the step at `n`.

        Raises:
            IndexError: when `n` lies outside the curriculum.
            ValueError: when no step begins at `n`.
        """
        step = self._step(n)
        position = next(k for k, steps in enumerate(self.stretches) if step in steps)
        stage, steps = self.stages[position], self.stretches[position]
        first = self.start(steps.start)
        progress = (n - first) / max(1, self.start(steps.stop - 1) - first)
        bucket = self._buckets[self._bucket[step]]
        return Knobs(
            step=step,
            n=n,
            stage=stage,
            shape=bucket.shape,
            micro_batches=stage.batch // stage.micro,
            micro=stage.micro * bucket.more,
            shares=stage.shares_at(progress),
            weights=stage.weights_at(progress, self.weights),
            rate=self.rate.at(n, self.samples),
        )

    def draws(self, n: int) -> list[Draw]:
        """Return what each slot of the step at `n` draws; slot k is in micro-batch k // micro.

        Of all slots before any given one, each stream has had its share to within one
        (vae/curriculum/mixture.py). Its draws are numbered without a gap; where not all of its
        images are large enough for a shape, those for each set of images that are have numbers of
        their own.

        Raises:
            IndexError: when `n` lies outside the curriculum.
            ValueError: when no step begins at `n`.
        """
        step = self._step(n)
        if self._recent[0] != n:  # a loader asks once for each micro-batch of a step
            self._recent = n, self._drawn(step)
        return self._recent[1].copy()

    def drawn(self, n: int) -> dict[str, int]:
        """Return how many samples of each stream were drawn before the step at `n`.

        Raises:
            IndexError: when `n` lies outside the curriculum.
            ValueError: when no step begins at `n`.
        """
        counts = self._mixture.counts[self.steps if n == self.samples else self._step(n)]
        return dict(zip(self.streams, counts.tolist(), strict=True))

    def again(self, n: int, draw: Draw, epochs: int) -> int:
        """Return the sample that a draw of the step at `n` has so many epochs later.

        It stands in for a broken one, as in `shards.Stream`.
        """
        eligible = self._eligible_at(self._step(n), draw.stream)
        return eligible[draw.number + epochs * len(eligible)]

    def check_world(self, world: int) -> None:
        """Raise UserError when `world` ranks cannot share every stage's micro-batches equally."""
        check_world(self.stages, world)

    def left_out(self) -> Iterator[str]:
        """Say of which streams images are too small for a stage, and how many."""
        return (str(fitting) for fitting in self.fits if fitting.held < fitting.images)

    def start(self, step: int) -> int:
        """Return the n at which step number `step` (from 0) begins."""
        return int(self._ends[step - 1]) if step else 0

    def shapes(self, steps: range) -> dict[tuple[int, int], tuple[int, int]]:
        """Return the shapes (h, w) px of a stage's steps: how many have each, images at once."""
        micro = self.at(self.start(steps.start)).stage.micro
        which, counts = np.unique(self._bucket[steps.start : steps.stop], return_counts=True)
        pairs = zip([self._buckets[k] for k in which], counts.tolist(), strict=True)
        return {bucket.shape: (count, micro * bucket.more) for bucket, count in pairs}

    def _step(self, n: int) -> int:
        """Return the number of the step that begins at `n`."""
        if not 0 <= n < self.samples:
            raise IndexError(f"n={n} of a curriculum of {self.samples} samples")
        step = bisect_right(self._ends, n)
        if self.start(step) != n:
            raise ValueError(f"no step begins at n={n}; one does at {self.start(step)}")
        return step

    def _drawn(self, step: int) -> list[Draw]:
        columns = self._mixture.streams(step)
        numbers, samples = np.empty_like(columns), np.empty_like(columns)
        for column, name in enumerate(self.streams):
            slots = np.flatnonzero(columns == column)
            if len(slots):
                numbers[slots] = self._numbers[step, column] + np.arange(len(slots))
                samples[slots] = self._eligible_at(step, name).many(numbers[slots])
        names = [self.streams[column] for column in columns.tolist()]
        return list(map(Draw, names, numbers.tolist(), samples.tolist()))

    def _eligible_at(self, step: int, stream: str) -> Eligible:
        digest, _ = self._buckets[self._bucket[step]].held[stream]
        return self._eligible[stream, digest]

    @cached_property
    def _numbers(self) -> NDArray[np.int64]:
        """The number of the first draw from each stream in each step: (steps, streams)."""
        before = self._mixture.counts[:-1]
        dealt = np.diff(self._mixture.counts, axis=0)
        numbers = before.copy()
        for column, name in enumerate(self.streams):
            digests = [bucket.held.get(name, ("", None))[0] for bucket in self._buckets]
            which = np.array([digests.index(digest) for digest in digests])[self._bucket]
            for digest in {*digests} - {""}:
                steps = np.flatnonzero(which == digests.index(digest))
                part = dealt[steps, column]
                numbers[steps, column] = part.cumsum() - part
        return numbers
