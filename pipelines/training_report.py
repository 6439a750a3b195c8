"""The report of a training run: knobs, losses and watched scores over n, on one HTML page."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.curves import Course, line, loss_curve, over_n, shares_curve
from shards.errors import UserError
from shards.text import read_rows, read_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pipelines.curves import Line, Row
    from shards.store import Store

SETTINGS, REPORT = "settings.json", "report.html"

WEIGHTS = ("l1", "perceptual", "lpips", "alignment")
MARGINS = ("cosine_margin", "distance_margin")

METRICS = {
    "psnr": ("PSNR, dB", 2),
    "ssim": ("SSIM", 4),
    "perceptual": ("perceptual distance", 3),
    "lpips": ("LPIPS", 4),
    "ned": ("NED", 4),
}
"""What is watched, its title, and the digits of a table; other metrics come behind."""

LOWER_IS_BETTER = ("perceptual", "lpips")

ROWS = 30
"""Skipped steps in the table: the newest of them (our choice)."""


def is_training(run: Store) -> bool:
    """Say whether a training run lies here; False where there is nothing at all."""
    try:
        return {SETTINGS, "metrics.jsonl"} <= {*run.names()}
    except UserError:
        return False


def report_on_training(run: Store) -> str:
    """Write report.html into a run and return where it is.

    The run may be at work: rows that are cut short are left for the next time.

    Raises:
        UserError: when it has not logged a row yet.
    """
    from shards.inspect.page import write_page

    log = rows(run, "metrics.jsonl")
    if not log:
        raise UserError(f"{run} has logged nothing yet; wait for the first log_every steps")
    settings = read_table(run, SETTINGS, "put back what the run wrote")
    stages = settings["stages"]
    watched, skipped = rows(run, "watch.jsonl"), rows(run, "skipped.jsonl")
    dropped = Counter(row.get("stream", "?") for row in rows(run, "dropped.jsonl"))
    course = Course.of(log, stages, [row["n"] for row in skipped if "left_out" not in row])
    page = write_page(
        Path(__file__).parent / "templates" / "training.html",
        run=str(run).rstrip("/").rpartition("/")[2],
        settings=settings,
        stages=stages,
        total=sum(stage["samples"] for stage in stages),
        last=log[-1],
        scores=list(_table(watched[-1])) if watched else [],
        metrics=METRICS,
        lower=LOWER_IS_BETTER,
        watched=watched[-1] if watched else None,
        charts={
            "scores": list(score_charts(watched, course)),
            "training": list(training_charts(log, course)),
            "knobs": [
                ("shares of streams", shares_curve(log, stages, course)),
                *knob_charts(log, course),
            ],
        },
        grids=_grids(run, watched),
        skipped=skipped[::-1][:ROWS],
        skips=len(skipped),
        dropped=dropped,
    )
    run.replace(REPORT, page.encode())
    return f"{run}/{REPORT}"


def rows(run: Store, name: str) -> list[dict[str, Any]]:
    """Read the rows of a file of a run; none where it is not there.

    A last row that is still being written is left out.
    """
    if not run.exists(name):
        return []
    return read_rows(run, name, "take the line out")


Chart = tuple[str, str]
"""A title, and the picture as a data URI."""


def knob_charts(log: Sequence[Row], course: Course) -> Iterator[Chart]:
    """Draw what the curriculum decides: resolution, images a step, rate, weights and margins."""
    side = line("side", log, lambda row: (row["height"] * row["width"]) ** 0.5)
    images = line("images", log, lambda row: row["images"], colour=1)
    rate = line("rate", log, lambda row: row["rate"])
    for title, label, drawn in (
        ("resolution: root of the area of a crop", "px", [side]),
        ("images of a step", "images", [images]),
        ("learning rate", "rate", [rate]),
        ("weights of the loss", "weight", list(_weights(log, WEIGHTS))),
        ("margins of the alignment", "margin", list(_weights(log, MARGINS))),
    ):
        if kept := [curve for curve in drawn if curve is not None]:
            yield title, over_n(label, kept, course, logarithmic=label == "weight")


def training_charts(log: Sequence[Row], course: Course) -> Iterator[Chart]:
    """Draw what came of it: losses, gradient, the alignment's hinges and weight, speed."""
    yield "loss terms before weighing, and the total", loss_curve(log, course)
    inside = {name for row in log for name in row if name.startswith("text_psnr/")}
    inside = sorted(inside, key=_by_size)
    for title, label, names, logarithmic in (
        ("PSNR inside text, by its em in px", "PSNR, dB", inside, False),
        ("norm of the gradient, before clipping", "norm", ("gradient_norm",), True),
        ("shares of hinges above zero", "share", ("mcos_active", "mdms_active"), False),
        ("weight of the alignment in force", "weight", ("alignment_weight",), True),
        ("speed", "images a second", ("images_per_second",), False),
    ):
        lines = [
            line(name.rpartition("/")[2], log, _at(name), colour=k) for k, name in enumerate(names)
        ]
        if kept := [curve for curve in lines if curve is not None]:
            yield title, over_n(label, kept, course, logarithmic=logarithmic)


def score_charts(watched: Sequence[Row], course: Course) -> Iterator[Chart]:
    """Draw each metric of every watched set, the DCT codec's dashed, and the effective rank."""
    names = sorted({name for row in watched for name in row["sets"]})
    metrics = {
        metric: None
        for row in watched
        for scores in row["sets"].values()
        for metric in scores["model"]
    }
    known = [metric for metric in METRICS if metric in metrics]
    for metric in [*known, *sorted({*metrics} - {*METRICS}, key=_by_size)]:
        title = _title(metric)
        lines: list[Line | None] = []
        for colour, name in enumerate(names):
            for codec, dashed in (("model", False), ("dct", True)):
                value = _at("sets", name, codec, metric)
                label = "DCT codec" if dashed else name
                lines.append(line(label, watched, value, colour=colour, dashed=dashed))
        if kept := [curve for curve in lines if curve is not None]:
            yield title, over_n(title, kept, course)
    ranks = [
        line(name, watched, _at("sets", name, "latents", "effective_rank"), colour=colour)
        for colour, name in enumerate(names)
    ]
    if kept := [curve for curve in ranks if curve is not None]:
        yield "effective rank of the latents", over_n("directions", kept, course)


def _at(*path: str) -> Callable[[Row], Any]:
    """Return what takes the value at a path of names out of a row; None where it leads nowhere."""

    def value(row: Row) -> Any:
        place: Any = row
        for name in path:
            place = place.get(name, {})
        return place

    return value


def _weights(log: Sequence[Row], names: Sequence[str]) -> Iterator[Line | None]:
    """Take the line of each weight that is ever above 0."""
    for colour, name in enumerate(names):
        if any(row["weights"][name] for row in log):
            yield line(_words(name), log, _at("weights", name), colour=colour)


def _title(metric: str) -> str:
    """Name a metric for people: `ned/8-11` is NED, em 8-11 px."""
    if metric in METRICS:
        return METRICS[metric][0]
    name, _, size = metric.partition("/")
    return f"{_title(name)}, em {size} px" if size else _words(metric)


def _by_size(metric: str) -> tuple[str, list[int], str]:
    """Order `ned/8-11` before `ned/12-19`."""
    name, _, size = metric.partition("/")
    return name, [int(number) for number in re.findall(r"\d+", size)], metric


def _words(name: str) -> str:
    return name.replace("_", " ")


def _table(row: Row) -> Iterator[dict[str, Any]]:
    """Yield the newest scores, a row a set and codec."""
    for name, scores in row["sets"].items():
        for codec, title in (("model", "model"), ("dct", "DCT codec")):
            if codec in scores:
                yield {"data": name, "codec": title, "images": scores["images"], **scores[codec]}


def _grids(run: Store, watched: Sequence[Row]) -> dict[str, list[dict[str, Any]]]:
    """Return of each set the newest grid, lossless, and those of the first watch and the middle."""
    from shards import decode
    from shards.inspect.pictures import jpeg_uri, png_uri
    from vae.training.record import SAMPLES, grid_name

    if not watched:
        return {}
    samples = run.inside(SAMPLES)
    places = dict.fromkeys(watched[k]["n"] for k in (-1, len(watched) // 2, 0))
    return {
        name: [
            {
                "n": n,
                "image": (png_uri if n == watched[-1]["n"] else jpeg_uri)(
                    decode(samples.read(file), file)
                ),
            }
            for n in places
            if samples.exists(file := grid_name(name, n))
        ]
        for name in watched[-1]["sets"]
    }
