"""Every knob of a curriculum over the samples seen, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.curves import COLOURS, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vae.curriculum.curriculum import Curriculum

POINTS = 400
"""At how many steps the knobs are drawn."""


def draw_knobs(curriculum: Curriculum) -> Figure:
    """Draw what a curriculum sets over the samples seen: sides, shares, weights and the rate."""
    from matplotlib.figure import Figure

    steps = sorted({curriculum.steps * k // POINTS for k in range(POINTS)})
    knobs = [curriculum.at(curriculum.start(step)) for step in steps]
    n = [at.n for at in knobs]
    figure = Figure(figsize=(7.0, 8.0), layout="constrained")
    sides, shares, weights, rate = figure.subplots(4, 1, sharex=True)
    for k, label in enumerate(("height", "width")):
        sides.plot(n, [at.shape[k] for at in knobs], ".", markersize=3, label=label)
    sides.set_ylabel("px of a crop")
    names = sorted({name for at in knobs for name in at.shares})
    columns = [[at.shares.get(name, 0.0) for at in knobs] for name in names]
    shares.stackplot(n, columns, labels=[*map(plain, names)], colors=COLOURS, alpha=0.75)
    shares.set_ylabel("share of a step")
    shares.set_ylim(0, 1)
    for name in type(knobs[0].weights).model_fields:
        column = [getattr(at.weights, name) for at in knobs]
        if any(column):
            weights.plot(n, column, label=name, linewidth=1.4)
    weights.set_ylabel("weights, margins")
    rate.plot(n, [at.rate for at in knobs], color=COLOURS[0], linewidth=1.4)
    rate.set_ylabel("learning rate")
    rate.set_xlabel("samples seen")
    for axes in (sides, shares, weights, rate):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(0, curriculum.samples)
        for stretch in curriculum.stretches[1:]:
            edge = curriculum.start(stretch.start)
            axes.axvline(edge, color="#999999", linewidth=0.8, linestyle=":")
    for axes in (sides, shares, weights):
        axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    for stage, stretch in zip(curriculum.stages, curriculum.stretches, strict=True):
        middle = (curriculum.start(stretch.start) + curriculum.start(stretch.stop)) / 2
        above = sides.get_xaxis_transform()
        sides.text(middle, 1.02, plain(stage.name), transform=above, ha="center", fontsize=8)
    return figure
