"""Curves of a training run over the samples seen, drawn as SVG in data URIs for its report."""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from shards.inspect.pictures import data_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Row = Mapping[str, Any]

COLOURS = (
    *("#1f5fa8", "#c2571a", "#3c7d3f", "#7a4fa3"),
    *("#a8324a", "#6b6b2f", "#2f8d94", "#8a5a3c"),
)

POINTS = 500
"""Most points of a line, as many as it has pixels on a page (our choice); then they are means."""

BAD = "#b3261e"
"""The colour of a skipped step."""


@dataclass(frozen=True)
class Line:
    """Values over n. `colour` counts through COLOURS.

    What is `dashed` is there to compare with: all dashed lines of a picture share a name.
    """

    name: str
    at: tuple[float, ...]
    values: tuple[float, ...]
    colour: int = 0
    dashed: bool = False


@dataclass(frozen=True)
class Course:
    """What all curves of a run share: where n ends, where stages begin, which n were skipped."""

    end: float
    edges: tuple[float, ...] = ()
    skipped: tuple[float, ...] = ()

    @classmethod
    def of(cls, log: Sequence[Row], stages: Sequence[Row], skipped: Iterable[float] = ()) -> Course:
        """Take it from the rows of a log and the stages of its settings."""
        end = log[-1]["n"]
        edges = accumulate(stage["samples"] for stage in stages)
        return cls(end, tuple(edge for edge in edges if edge < end), tuple(skipped))


def line(
    name: str,
    rows: Iterable[Row],
    value: Callable[[Row], Any],
    *,
    colour: int = 0,
    dashed: bool = False,
) -> Line | None:
    """Take a line from rows; those where the value is no finite number are left out, None if all.

    More than POINTS become the means of so many parts.
    """
    points = [(row["n"], number) for row in rows if _is_number(number := value(row))]
    if not points:
        return None
    size = math.ceil(len(points) / POINTS)
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    at, values = zip(*(_mean(part) for part in parts), strict=True)
    return Line(name, at, values, colour, dashed)


def over_n(label: str, lines: Iterable[Line], course: Course, *, logarithmic: bool = False) -> str:
    """Draw lines, dashed ones paler, with the stages and the skipped steps marked."""
    lines = [*lines]
    figure, axes = _axes(label, course)
    for curve in lines:
        axes.plot(
            curve.at,
            curve.values,
            label=None if curve.dashed else plain(curve.name),
            color=COLOURS[curve.colour % len(COLOURS)],
            linewidth=1.1 if curve.dashed else 1.5,
            linestyle="--" if curve.dashed else "-",
            alpha=0.65 if curve.dashed else 1,
            marker="." if len(curve.at) == 1 else None,
        )
    if logarithmic and all(value > 0 for curve in lines for value in curve.values):
        axes.set_yscale("log")
    dashed = [curve.name for curve in lines if curve.dashed]
    if dashed:
        axes.plot([], [], "--", color="#555555", linewidth=1.1, label=plain(dashed[0]))
    _skips(axes, course)
    if len(lines) > 1 or course.skipped:
        figure.legend(loc="outside upper left", frameon=False, fontsize=8, ncols=4)
    return _svg(figure)


def loss_curve(log: Sequence[Row], course: Course) -> str:
    """Draw each loss term over the samples seen."""
    names = [name for name in ("total", "l1", "perceptual", "lpips", "alignment") if name in log[0]]
    lines = (line(name, log, _at(name), colour=k) for k, name in enumerate(names))
    return over_n("loss", filter(None, lines), course, logarithmic=True)


def shares_curve(log: Sequence[Row], stages: Sequence[Row], course: Course) -> str:
    """Draw the share of every stream, stacked, with each stage's name and resolution."""
    figure, axes = _axes("share of a batch", course)
    names = sorted({name for row in log for name in row["shares"]})
    size = math.ceil(len(log) / POINTS)
    shown = log[::size]
    shares = [[row["shares"].get(name, 0.0) for row in shown] for name in names]
    labels = [plain(name) for name in names]
    axes.stackplot([row["n"] for row in shown], shares, labels=labels, colors=COLOURS, alpha=0.75)
    starts = (0, *accumulate(stage["samples"] for stage in stages))
    for stage, (first, last) in zip(stages, pairwise(starts), strict=True):
        if first < course.end:
            label = f"{plain(stage['name'])}\n{stage['resolution']} px x {stage['batch']}"
            axes.text((first + min(last, course.end)) / 2, 1.03, label, ha="center", fontsize=8)
    axes.set_ylim(0, 1)
    axes.legend(frameon=True, loc="lower left", fontsize=8)
    return _svg(figure)


def _at(name: str) -> Callable[[Row], Any]:
    return lambda row: row.get(name)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _mean(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the mean of values at the last n: a row tells of the steps before it."""
    return points[-1][0], sum(value for _, value in points) / len(points)


def _axes(label: str, course: Course) -> tuple[Any, Any]:
    # Figures of their own, not pyplot's: nothing global, no display.
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(6.2, 3.0), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel("samples seen")
    axes.set_ylabel(label)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.spines[["top", "right"]].set_visible(False)
    for edge in course.edges:
        axes.axvline(edge, color="#999999", linewidth=0.8, linestyle=":")
    axes.set_xlim(0, course.end)
    return figure, axes


def _skips(axes: Any, course: Course) -> None:
    """Mark skipped steps by triangles on the horizontal axis."""
    if course.skipped:
        axes.plot(
            course.skipped,
            [0] * len(course.skipped),
            "^",
            color=BAD,
            markersize=6,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            label="skipped step",
        )


def plain(name: str) -> str:
    """Write a name so that matplotlib reads no formula into it and leaves it in the legend."""
    shown = name.replace("$", r"\$")
    return f"\u200b{shown}" if shown.startswith("_") else shown


def _svg(figure: Any) -> str:
    import matplotlib

    stream = io.BytesIO()
    # A fixed salt and no date, so that the same run gives the same page. Text stays text, which a
    # browser can draw in every script; matplotlib warns that its own font could not.
    same = matplotlib.rc_context({"svg.hashsalt": "nonpareil", "svg.fonttype": "none"})
    with same, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return data_uri("image/svg+xml", stream.getvalue())
