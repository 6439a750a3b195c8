"""The curriculum: stages in order, and what every slot of every step draws.

The report goes from general photographs over real text-rich images to synthetic text while the
resolution rises; it gives no numbers. Here a curriculum is data. Its clock is n, the samples that
all ranks together have seen before a step, and every question ("what holds at n", "what does slot
k of the step at n draw") is a pure function of it, so that a run resumes at any step without
hidden state, with any number of ranks.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shards import Order
from vae.objective.losses import Weights
from vae.training.mixture import Mixture
from vae.training.schedule import Rate
from vae.training.stage import Stage, check_stages, check_streams, check_world, streams_of

Sizes = NDArray[np.uint16]
"""Height and width in px of every sample of a stream, (samples, 2); 0 where they are not known."""


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
        weights: Weights | None = None,
        rate: Rate | None = None,
    ) -> None:
        """Line up the stages; `weights` hold in those without their own (None: the defaults).

        Raises:
            UserError: when there is no stage, two have the same name, or a stream is missing.
        """
        check_stages(stages)
        check_streams(stages, sizes)
        self.stages, self.seed = tuple(stages), seed
        self.weights, self.rate = weights or Weights(), rate or Rate()
        self.streams = streams_of(stages)
        """Names of all streams that any stage draws from."""
        self.orders = {name: Order(len(sizes[name]), seed) for name in self.streams}
        """In which order the samples of each stream are drawn."""
        steps = [stage.samples // stage.batch for stage in stages]
        self._last = np.cumsum(steps) - 1
        batches = np.repeat([stage.batch for stage in stages], steps)
        self._ends = batches.cumsum()
        self._mixture = self._mixed(batches)

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
        position = int(np.searchsorted(self._last, step))
        stage = self.stages[position]
        first = self.start(int(self._last[position - 1]) + 1) if position else 0
        progress = (n - first) / max(1, self.start(int(self._last[position])) - first)
        return Knobs(
            step=step,
            n=n,
            stage=stage,
            shape=(stage.resolution, stage.resolution),
            micro_batches=stage.batch // stage.micro,
            micro=stage.micro,
            shares=stage.shares_at(progress),
            weights=stage.weights_at(progress, self.weights),
            rate=self.rate.at(n, self.samples),
        )

    def draws(self, n: int) -> list[Draw]:
        """Return what each slot of the step at `n` draws; slot k is in micro-batch k // micro.

        Of all slots before any given one, each stream has had its share to within one (see
        vae/training/mixture.py), and its draws are numbered without a gap.

        Raises:
            IndexError: when `n` lies outside the curriculum.
            ValueError: when no step begins at `n`.
        """
        step = self._step(n)
        columns = self._mixture.streams(step)
        numbers, samples = np.empty_like(columns), np.empty_like(columns)
        for column, order in enumerate(self.orders.values()):
            slots = np.flatnonzero(columns == column)
            if len(slots):
                numbers[slots] = self._mixture.counts[step, column] + np.arange(len(slots))
                samples[slots] = order.many(numbers[slots])
        names = [self.streams[column] for column in columns.tolist()]
        return list(map(Draw, names, numbers.tolist(), samples.tolist()))

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
        del n
        order = self.orders[draw.stream]
        return order[draw.number + epochs * order.samples]

    def check_world(self, world: int) -> None:
        """Raise UserError when `world` ranks cannot share every stage's micro-batches equally."""
        check_world(self.stages, world)

    def start(self, step: int) -> int:
        """Return the n at which step number `step` (from 0) begins."""
        return int(self._ends[step - 1]) if step else 0

    def _step(self, n: int) -> int:
        """Return the number of the step that begins at `n`."""
        if not 0 <= n < self.samples:
            raise IndexError(f"n={n} of a curriculum of {self.samples} samples")
        step = bisect_right(self._ends, n)
        if self.start(step) != n:
            raise ValueError(f"no step begins at n={n}; step {step} does at {self.start(step)}")
        return step

    def _mixed(self, batches: NDArray[np.int64]) -> Mixture:
        shares = np.zeros((self.steps, len(self.streams)))
        starts = self._ends - batches
        first = 0
        for stage, last in zip(self.stages, self._last.tolist(), strict=True):
            moved = starts[first : last + 1] - starts[first]
            progress = moved / max(1, int(moved[-1]))
            for name in stage.streams:
                part = shares[first : last + 1, self.streams.index(name)]
                part[:] = stage.shares[name].over(progress)
            first = last + 1
        return Mixture(shares / shares.sum(1, keepdims=True), batches)
