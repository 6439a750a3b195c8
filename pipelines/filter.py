"""`nonpareil filter`, also `python -m pipelines.filter`: real images worth keeping, into shards."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.options import (
    EngineOption,
    JsonOption,
    RecipeArgument,
    SetOption,
    StoreOption,
    WorkersOption,
)
from shards.console import print_json, run_command


def filter_images(
    recipe: RecipeArgument,
    *,
    out: StoreOption,
    images: Annotated[
        Path | None, typer.Option(help="Folder of images; default: those that pip brought.")
    ] = None,
    engine: EngineOption = "processes",
    workers: WorkersOption = 0,
    settings: SetOption = [],  # noqa: B006 - typer copies defaults
    as_json: JsonOption = False,
) -> None:
    """Keep the real images that pass the recipe's filters; record why others were dropped.

    Example: nonpareil filter filter_photos --images ~/photos --out runs/photos
    """
    from pipelines.jobs import FilterJob
    from pipelines.progress import describe, follow
    from pipelines.recipe import load
    from pipelines.workers import run_job

    override = [] if images is None else [f"images={str(images.resolve())!r}"]
    job = load(FilterJob, recipe, [*override, *settings])
    summary = follow("filter", job.count(), run_job(job, out, engine=engine, workers=workers), out)
    print_json(summary) if as_json else typer.echo(f"{out}: {describe(summary)}")


if __name__ == "__main__":
    run_command(filter_images)
