"""Charts of a report: histograms as the numbers that an inline SVG is drawn from.

No drawing library: a page of ten charts takes 10 kB, follows the reader's colours, and its bars can
be hovered over.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shards.inspect.stats import Bin, Histogram, Stats

WIDTH, HEIGHT = 340, 120
"""Size of a plot in units of its viewBox, without the labels below (our choice)."""

LABELS = 6
"""Most labels on the horizontal axis (our choice: what does not collide)."""

SHARE_OF_COLUMN = 0.86
"""How much of its column a bar fills."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bin: where its bar stands, how high the kept and (on top) the dropped are, and a note."""

    x: float
    width: float
    kept: float
    dropped: float
    note: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A histogram to draw in WIDTH x HEIGHT, the origin at the upper left.

    `ticks` are (x, label); `tallest` is the number of samples that the full height stands for.
    `captions` say in words how the kept, the dropped, or all lie, whichever there are.
    """

    title: str
    captions: dict[str, str]
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    tallest: int


def named(stats: Stats) -> dict[str, tuple[Histogram, Histogram]]:
    """Return by title (kept, dropped) of everything that was counted."""
    none = Histogram()
    plain = {
        "Smallest font size, px": stats.smallest_px,
        "Largest font size, px": stats.largest_px,
        "Characters a sample": stats.text_length,
        "Shorter side, px": stats.short_side,
        "Width / height": stats.aspect,
    }
    pairs = {title: (histogram, none) for title, histogram in plain.items()}
    for name in sorted({*stats.scores, *stats.dropped_scores}):
        pair = stats.scores.get(name, none), stats.dropped_scores.get(name, none)
        pairs[f"Score: {name}"] = pair
    return {title: pair for title, pair in pairs.items() if pair[0].count + pair[1].count}


def charts(stats: Stats) -> list[Chart]:
    """Draw everything that varies; scores of kept and dropped share a chart."""
    return [chart(title, *pair) for title, pair in named(stats).items() if not _constant(*pair)]


def constants(stats: Stats) -> dict[str, str]:
    """Return by title what is the same in every sample: nothing to draw."""
    pairs = {title: pair for title, pair in named(stats).items() if _constant(*pair)}
    return {title: _label(max(pair[0].high, pair[1].high)) for title, pair in pairs.items()}


def _constant(kept: Histogram, dropped: Histogram) -> bool:
    return min(kept.low, dropped.low) == max(kept.high, dropped.high)


def chart(title: str, kept: Histogram, dropped: Histogram) -> Chart:
    """Lay out two histograms in the same bins, the second stacked on the first."""
    bins = _together(kept, dropped).bins()
    below, above = ([_within(histogram, part) for part in bins] for histogram in (kept, dropped))
    tallest = max(a + b for a, b in zip(below, above, strict=True))
    step = WIDTH / len(bins)
    bars = tuple(
        Bar(
            x=_short(i * step + step * (1 - SHARE_OF_COLUMN) / 2),
            width=_short(step * SHARE_OF_COLUMN),
            kept=_short(HEIGHT * a / tallest),
            dropped=_short(HEIGHT * b / tallest),
            note=_note(part, a, b),
        )
        for i, (part, a, b) in enumerate(zip(bins, below, above, strict=True))
    )
    return Chart(
        title=title,
        captions=_captions(kept, dropped),
        bars=bars,
        ticks=tuple(_ticks(bins, step)),
        tallest=tallest,
    )


def _together(a: Histogram, b: Histogram) -> Histogram:
    return Histogram(
        counts=a.counts + b.counts,
        count=a.count + b.count,
        total=a.total + b.total,
        low=min(a.low, b.low),
        high=max(a.high, b.high),
    )


def _within(histogram: Histogram, part: Bin) -> int:
    """Count the values in a bin, which holds `low` alone where both its ends are equal."""
    return sum(
        count
        for value, count in histogram.counts.items()
        if part.low <= value < part.high or value == part.low
    )


def _ticks(bins: list[Bin], step: float) -> Iterator[tuple[float, str]]:
    """Label bins of one value in their middle, others at their lower edge, and the last edge."""
    single = bins[0].low == bins[0].high
    step_bins = -(-len(bins) // LABELS)
    for i in range(0, len(bins), step_bins):
        yield _short(i * step + (step / 2 if single else 0)), _label(bins[i].low)
    if not single and len(bins) % step_bins == 0:
        yield WIDTH, _label(bins[-1].high)


def _note(part: Bin, kept: int, dropped: int) -> str:
    low, high = _label(part.low), _label(part.high)
    place = low if low == high else f"{low} to {high}"
    return f"{place}: {kept:,}" + (f" kept, {dropped:,} dropped" if dropped else "")


def _captions(kept: Histogram, dropped: Histogram) -> dict[str, str]:
    if not dropped.count:
        return {"all": _spread(kept)}
    pairs = {"kept": kept, "dropped": dropped}
    return {name: _spread(held) for name, held in pairs.items() if held.count}


def _spread(histogram: Histogram) -> str:
    if histogram.low == histogram.high:
        return _label(histogram.low)
    low, median, high = (_label(histogram.quantile(share)) for share in (0.05, 0.5, 0.95))
    ends = f"{_label(histogram.low)} to {_label(histogram.high)}"
    return f"{ends}, median {median}, 90 % between {low} and {high}"


def _label(number: float) -> str:
    text = f"{number:,.0f}" if 1e4 <= abs(number) < 1e15 else f"{number:.4g}"
    return text.replace("-", "−")


def _short(number: float) -> float:
    return round(number, 2)


def bars(counts: Mapping[str, int], limit: int = 12) -> list[dict[str, Any]]:
    """Lay out counts by name as (name, count, width of its bar of 100), the largest first."""
    largest = max(counts.values(), default=1)
    rows = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]
    return [{"name": name, "count": n, "width": _short(100 * n / largest)} for name, n in rows]
