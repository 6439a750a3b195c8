"""`nonpareil report`, also `python -m pipelines.report`: a run as one self-contained HTML page.

What a quickstart made is shown here, a training run by pipelines/training_report.py.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shards.console import run_command
from shards.errors import UserError
from shards.places import anywhere
from shards.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.evaluation.pictures import Example
    from shards import Sample

PAGES = 12
"""Rendered pages shown."""

THUMBNAILS = 8
"""Kept images shown of a set, and rejected ones of a reason."""


def report(
    run: Annotated[
        Store,
        typer.Argument(
            parser=anywhere(),
            metavar="RUN",
            help="The --out of a training run, also of one at work, or of a quickstart.",
            show_default=False,
        ),
    ],
) -> None:
    """Show a training run, or a quickstart, on one HTML page.

    Writes report.html into the run. Of a training run it shows, over the samples seen, all that
    the curriculum moves, the losses, the scores of watched images beside the DCT codec's, skipped
    steps and grids. Of a quickstart it shows what was rendered, kept, rejected, learned and
    scored, and beside it preview.png: original, model and DCT codec of one image of each data
    set. For a page about one dataset use nonpareil shards report.

    Example: nonpareil report runs/nano
    """
    from pipelines.training_report import is_training, report_on_training
    from shards.store import Folder

    if is_training(run):
        typer.echo(report_on_training(run))
    elif isinstance(run, Folder):
        typer.echo(f"{report_on(run.path)}")
    else:
        raise UserError(
            f"{run} holds no training run that has logged a step; give the --out of one, or the "
            "folder of a quickstart"
        )


def report_on(run: Path) -> Path:
    """Assemble the report of a run folder from its files and return its path.

    Raises:
        UserError: when the folder is not a finished quickstart run.
    """
    from pipelines.curves import Course, loss_curve, shares_curve
    from pipelines.evaluation.pictures import kept, preview
    from shards import encode_png
    from shards.inspect.page import write_page
    from shards.store import open_store, write_atomically
    from shards.text import read_json, read_rows, read_table

    for needed in ("recipe.json", "pages", "train/metrics.jsonl", "scores/scores.json"):
        if not (run / needed).exists():
            raise UserError(
                f"{run} has no {needed}; give the --out folder of a training or quickstart run"
            )
    store, remedy = open_store(run), "make the run again in a new folder"
    log = read_rows(store.inside("train"), "metrics.jsonl", remedy)
    recipe = read_table(store, "recipe.json", remedy)
    stages = recipe["recipe"]["train"]["stages"]
    course = Course.of(log, stages)
    examples = list(kept(run / "scores"))
    text = write_page(
        Path(__file__).parent / "templates" / "report.html",
        run=run.name,
        recipe=recipe,
        stages=stages,
        times=read_table(store, "times.json", remedy),
        sets=[_set(run / name) for name in SETS if (run / name / "recipe.json").exists()],
        pages=list(_pages(run / "pages")),
        kept={name: list(_kept(run / name)) for name in ("photos", "documents")},
        rejected={name: _rejected(run / name) for name in ("photos", "documents")},
        loss=loss_curve(log, course),
        curriculum=shares_curve(log, stages, course),
        last=log[-1],
        scores=read_json(store.inside("scores"), "scores.json", remedy),
        examples=[_figures(example) for example in examples],
    )
    write_atomically(run / "preview.png", encode_png(preview(examples)))
    target = run / "report.html"
    write_atomically(target, text)
    return target


SETS = ("pages", "plain", "photos", "documents", "unseen_plain", "unseen_pages", "unseen_photos")


def _set(folder: Path) -> dict[str, Any]:
    from shards.dataset import Dataset

    return {"name": folder.name, **Dataset(folder).totals().row()}


def _pages(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield pages spread over the whole folder, with a crop of each at 4x."""
    from pipelines.evaluation.pictures import detail
    from shards import ShardReader
    from shards.inspect.pictures import png_uri

    with ShardReader(folder) as reader:
        for i in range(0, len(reader), max(1, len(reader) // PAGES)):
            sample = reader[i]
            yield {
                "key": sample.key,
                "image": png_uri(sample.pixels()),
                "detail": png_uri(detail(sample.pixels(), sample.meta["lines"][0]["box"])),
                "text": sample.text,
                "meta": sample.meta,
            }


def _kept(folder: Path) -> Iterator[dict[str, Any]]:
    from shards import ShardReader
    from shards.dataset import Dataset

    if not Dataset(folder).totals().samples:
        return
    with ShardReader(folder) as reader:
        for sample in islice(reader, THUMBNAILS):
            yield _thumbnail(sample, sample.meta.get("scores", {}))


def _rejected(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return by reason the rejected images of a filter run, as far as their files still exist."""
    from pipelines.engine.jobs import FilterJob
    from shards import UnreadableImage
    from shards.dataset import Dataset
    from shards.store import open_store
    from shards.text import read_table

    note = read_table(open_store(folder), "recipe.json", "filter again into a new folder")
    source = FilterJob.model_validate(note["recipe"] | note.get("places", {})).source
    position = {source.name(i): i for i in range(len(source))}
    by_reason: dict[str, list[dict[str, Any]]] = {}
    for sidecar in Dataset(folder).sidecars():
        for drop in sidecar.dropped:
            rows = by_reason.setdefault(drop.reason, [])
            if len(rows) == THUMBNAILS:
                continue
            try:
                row = _thumbnail(source.read(position[drop.source]), drop.scores)
            except (UnreadableImage, KeyError):
                row = {"name": drop.source, "image": "", "scores": {}, "detail": drop.detail}
            rows.append(row)
    return by_reason


def _thumbnail(sample: Sample, scores: dict[str, float]) -> dict[str, Any]:
    from shards.inspect.pictures import jpeg_uri, shrunk

    return {
        "name": sample.meta.get("source", sample.key),
        "image": jpeg_uri(shrunk(sample.pixels())),
        "scores": scores,
        "detail": f"{sample.meta['width']} x {sample.meta['height']}",
    }


def _figures(example: Example) -> dict[str, Any]:
    """Show an original, every codec's output and difference; and below, details of each."""
    from pipelines.evaluation.pictures import ORIGINAL, detail, difference
    from shards.inspect.pictures import jpeg_uri, png_uri

    original = example.original
    figures = [{"name": ORIGINAL, "image": png_uri(original)}]
    details = [{"name": "", "image": png_uri(detail(original))}]
    for name, pixels in example.outputs.items():
        unlike = difference(original, pixels)
        figures += [
            {"name": name, "image": png_uri(pixels)},
            {"name": f"{name}: difference", "image": jpeg_uri(unlike)},
        ]
        details += [
            {"name": "", "image": png_uri(detail(pixels))},
            {"name": "", "image": jpeg_uri(detail(unlike))},
        ]
    return {"data": example.data, "rows": [figures, details]}


if __name__ == "__main__":
    run_command(report)
