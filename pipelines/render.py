"""`nonpareil render`, also `python -m pipelines.render`: text pages into shards."""

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
from shards.errors import UserError


def render(
    recipe: RecipeArgument,
    *,
    out: StoreOption = "",
    preview: Annotated[
        Path | None,
        typer.Option(
            help="Make no shards but show what they will hold: FILE.html, a gallery, or FILE.png, "
            "a contact sheet.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    engine: EngineOption = "processes",
    workers: WorkersOption = 0,
    settings: SetOption = [],  # noqa: B006 - typer copies defaults
    as_json: JsonOption = False,
) -> None:
    """Render English and Chinese text onto photographs, into WebDataset shards.

    Finished shards are skipped, so the same command continues an interrupted run.

    Example: nonpareil render render_pages --out runs/pages --set shards=4

    Example: nonpareil render render_pages --preview runs/pages.html
    """
    from pipelines.jobs import RenderJob
    from pipelines.progress import describe, follow
    from pipelines.recipe import load
    from pipelines.workers import run_job

    if preview is not None:
        from pipelines.gallery import preview_recipe

        if out:
            raise UserError("--preview makes no shards; give it without --out")
        made = preview_recipe(load(RenderJob, recipe, settings), recipe, preview)
        print_json(made) if as_json else typer.echo(
            f"{preview}: {made['pages']} pages, {made['bytes'] / 1e6:,.1f} MB"
        )
        return
    if not out:
        raise UserError("give --out DIR to make shards, or --preview FILE.html to see their pages")
    job = load(RenderJob, recipe, settings)
    summary = follow("render", job.count(), run_job(job, out, engine=engine, workers=workers), out)
    print_json(summary) if as_json else typer.echo(f"{out}: {describe(summary)}")


if __name__ == "__main__":
    run_command(render)
