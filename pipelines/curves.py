"""Curves of a training run, drawn as SVG in data URIs for its report."""

import io
from itertools import pairwise
from typing import Any

from shards.inspect.pictures import data_uri

COLOURS = ("#1f5fa8", "#c2571a", "#3c7d3f", "#7a4fa3")


def loss_curve(log: list[dict[str, Any]]) -> str:
    """Draw each loss term over the samples seen, with the stages marked."""
    figure, axes = _axes("loss", log)
    for name, colour in zip(("total", "l1", "perceptual"), COLOURS, strict=False):
        if name in log[0]:
            seen = [row["n"] for row in log]
            axes.plot(seen, [row[name] for row in log], label=name, color=colour, linewidth=1.4)
    axes.set_yscale("log")
    axes.legend(frameon=False)
    return _svg(figure)


def curriculum_curve(log: list[dict[str, Any]], stages: list[dict[str, Any]]) -> str:
    """Draw the share of every stream over the samples, stacked, with each stage's resolution."""
    figure, axes = _axes("share of a batch", log)
    names = sorted({name for row in log for name in row["shares"]})
    shares = [[row["shares"].get(name, 0.0) for row in log] for name in names]
    axes.stackplot([row["n"] for row in log], shares, labels=names, colors=COLOURS, alpha=0.75)
    first = 0
    for stage in stages:
        label = f"{stage['name']}\n{stage['resolution']} px x {stage['batch']}"
        axes.text(first + stage["samples"] / 2, 1.03, label, ha="center", fontsize=8)
        first += stage["samples"]
    axes.set_ylim(0, 1)
    axes.legend(frameon=True, loc="lower left")
    return _svg(figure)


def _axes(label: str, log: list[dict[str, Any]]) -> tuple[Any, Any]:
    # Figures of their own, not pyplot's: nothing global, no display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.2, 3.0), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel("samples seen")
    axes.set_ylabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    edges = [b["n"] for a, b in pairwise(log) if a["stage"] != b["stage"]]
    for edge in edges:
        axes.axvline(edge, color="#999999", linewidth=0.8, linestyle=":")
    axes.set_xlim(0, log[-1]["n"])
    return figure, axes


def _svg(figure: Any) -> str:
    stream = io.BytesIO()
    # A fixed salt and no date, so that the same run gives the same page.
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "nonpareil"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return data_uri("image/svg+xml", stream.getvalue())
