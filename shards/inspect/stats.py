"""Stats: what a dataset holds, counted in one pass over its sidecars, in bounded memory."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate, count, pairwise
from math import floor, log10
from typing import Any, NamedTuple

from shards.sidecar import Sidecar
from shards.totals import Totals

BINS = 20
"""Most bins of a histogram (our choice: what fits on a screen)."""

NICE = (1, 2, 5)
"""Edges of bins are these times a power of ten, so that they read well."""

WIDE = 10
"""Ratio of the largest value to the median from which bins grow with the value (our choice)."""

LIMIT = 1e100
"""Values beyond, infinities and NaN are nothing that was measured."""


class Bin(NamedTuple):
    """How many values lie in [low, high), or are exactly `low` where both are equal."""

    low: float
    high: float
    samples: int


@dataclass
class Histogram:
    """How often each value occurs, values rounded to three significant digits.

    That bounds the memory whatever the number of samples, needs no range in advance, and places
    every quantile within 0.5 %, as HdrHistogram does. `low`, `high` and `mean` are exact.
    """

    counts: Counter[float] = field(default_factory=Counter[float])
    count: int = 0
    total: float = 0.0
    low: float = float("inf")
    high: float = float("-inf")

    def add(self, value: float) -> None:
        """Count one value; what is no number below LIMIT is passed over."""
        if not abs(value) < LIMIT:
            return
        self.counts[value if value in _SHORT else float(f"{value:.2e}")] += 1
        self.count += 1
        self.total += value
        self.low = min(self.low, value)
        self.high = max(self.high, value)

    @property
    def mean(self) -> float:
        """Return the mean, 0 where nothing was counted."""
        return self.total / self.count if self.count else 0.0

    def quantile(self, share: float) -> float:
        """Return the smallest value that at least `share` of all do not exceed.

        Raises:
            ValueError: when nothing was counted.
        """
        if not self.count:
            raise ValueError("an empty histogram has no quantiles")
        values = sorted(self.counts)
        reached = accumulate(self.counts[value] for value in values)
        place = sum(below < share * self.count for below in reached)
        return min(max(values[place], self.low), self.high)

    def bins(self, limit: int = BINS) -> list[Bin]:
        """Group the values into at most `limit` bins without gaps, smallest first.

        One bin a value where there are few and whole values. Otherwise all bins are equally wide
        or, where a few values are WIDE times larger than most, lie between 1, 2, 5, 10, 20, …,
        with all that is too small for these in the first.
        """
        values = sorted(self.counts)
        if len(values) <= limit and (len(values) == 1 or not any(value % 1 for value in values)):
            return [Bin(value, value, self.counts[value]) for value in values]
        wide = values[0] >= 0 and values[-1] > WIDE * self.quantile(0.5)
        edges = (_series if wide else _even)(values, limit)
        counts = [0] * (len(edges) - 1)
        for value in values:
            counts[bisect_right(edges, value) - 1] += self.counts[value]
        return [Bin(*edge, count) for edge, count in zip(pairwise(edges), counts, strict=True)]

    def row(self) -> dict[str, Any]:
        """Return the histogram as JSON can hold it; quantiles are left out where it is empty."""
        if not self.count:
            return {"count": 0, "bins": []}
        return {
            "count": self.count,
            "mean": self.mean,
            "min": self.low,
            "p5": self.quantile(0.05),
            "median": self.quantile(0.5),
            "p95": self.quantile(0.95),
            "max": self.high,
            "bins": [list(edges) for edges in self.bins()],
        }


@dataclass
class Stats:
    """The totals of a dataset, and what only whole sidecars tell: counts and histograms.

    `recipes` and `versions`, by (library, version), count shards; `languages` counts samples,
    `characters_by` characters of rendered text, by kind and name.
    `smallest_px` and `largest_px` are the ems of each rendered sample in px, `text_length` its
    characters, `short_side` and `aspect` (width / height) describe the pictures, `scores` holds one
    histogram by score of what was kept and `dropped_scores` of what was not.
    """

    totals: Totals = field(default_factory=Totals)
    recipes: Counter[str] = field(default_factory=Counter[str])
    versions: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    languages: Counter[str] = field(default_factory=Counter[str])
    characters_by: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    smallest_px: Histogram = field(default_factory=Histogram)
    largest_px: Histogram = field(default_factory=Histogram)
    text_length: Histogram = field(default_factory=Histogram)
    short_side: Histogram = field(default_factory=Histogram)
    aspect: Histogram = field(default_factory=Histogram)
    scores: dict[str, Histogram] = field(default_factory=dict[str, Histogram])
    dropped_scores: dict[str, Histogram] = field(default_factory=dict[str, Histogram])

    def add(self, sidecar: Sidecar) -> None:
        """Count one shard."""
        self.totals.add(sidecar)
        self.recipes[sidecar.recipe] += 1
        self.versions.update(sidecar.versions.items())
        for entry in sidecar.entries:
            if entry.language:
                self.languages[entry.language] += 1
            for kind, counts in entry.characters_by.items():
                self.characters_by.setdefault(kind, Counter()).update(counts)
            if entry.size_px:
                self.smallest_px.add(entry.size_px[0])
                self.largest_px.add(entry.size_px[1])
            if entry.characters:
                self.text_length.add(entry.characters)
            if entry.width > 0 and entry.height > 0:
                self.short_side.add(min(entry.width, entry.height))
                self.aspect.add(entry.width / entry.height)
            _add_scores(self.scores, entry.scores)
        for drop in sidecar.dropped:
            _add_scores(self.dropped_scores, drop.scores)

    def on_photographs(self) -> str:
        """Say how much of the text stands on bare photographs; nothing where no ground is known."""
        grounds = self.characters_by.get("ground", Counter())
        if not grounds.total():
            return ""
        return f"{100 * grounds['bare'] / grounds.total():.0f} % on bare photographs"

    def histograms(self) -> Iterator[tuple[str, Histogram]]:
        """Yield (what is counted, with its unit; histogram) of those that are not empty."""
        named = {
            "smallest font size, px": self.smallest_px,
            "largest font size, px": self.largest_px,
            "characters a sample": self.text_length,
            "shorter side, px": self.short_side,
            "width / height": self.aspect,
            **{f"score {name}": scores for name, scores in sorted(self.scores.items())},
            **{f"dropped: {name}": scores for name, scores in sorted(self.dropped_scores.items())},
        }
        return ((name, histogram) for name, histogram in named.items() if histogram.count)

    def row(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        counted = ("recipes", "languages")
        drawn = ("smallest_px", "largest_px", "text_length", "short_side", "aspect")
        return {
            **self.totals.row(),
            **{name: dict(getattr(self, name).most_common()) for name in counted},
            "characters_by": {
                kind: dict(counts.most_common()) for kind, counts in self.characters_by.items()
            },
            **{name: getattr(self, name).row() for name in drawn},
            "scores": {name: scores.row() for name, scores in sorted(self.scores.items())},
            "dropped_scores": {
                name: scores.row() for name, scores in sorted(self.dropped_scores.items())
            },
        }


_SHORT = frozenset(range(1000))
"""Values that have three digits already: most of them, and quicker to look up than to round."""


def _add_scores(histograms: dict[str, Histogram], scores: dict[str, float]) -> None:
    for name, score in scores.items():
        histograms.setdefault(name, Histogram()).add(score)


def _even(values: list[float], limit: int) -> list[float]:
    """Return edges at multiples of the finest nice step that needs no more than `limit` bins."""
    for step in _nice((values[-1] - values[0]) / limit):
        # Rounded: the value 0.3 must lie on the edge 3 x 0.1.
        first, last = (floor(round(value / step, 9)) for value in (values[0], values[-1]))
        if last - first < limit:
            return [float(f"{i * step:.12g}") for i in range(first, last + 2)]
    raise AssertionError("nice numbers have no end")


def _series(values: list[float], limit: int) -> list[float]:
    """Return the nice numbers around the values, at most `limit` + 1; 0 covers what is below."""
    smallest = next(value for value in values if value > 0)
    edges: list[float] = []
    for edge in _nice(smallest):
        edges.append(edge)
        if edge > values[-1]:
            break
    edges = edges[bisect_right(edges, smallest) - 1 :][-limit:]
    return edges if values[0] >= edges[0] else [0.0, *edges]


def _nice(start: float) -> Iterator[float]:
    """Yield the nice numbers without end, from the power of ten below `start`."""
    for power in count(floor(log10(start))):
        for nice in NICE:
            yield float(f"{nice}e{power}")
