"""`nonpareil render`, also `python -m pipelines.render`: text pages into shards."""

from typing import Annotated

import typer

from pipelines.options import (
    DryRunOption,
    EngineOption,
    JsonOption,
    MaybeOutOption,
    PriceOption,
    RecipeArgument,
    SetOption,
    ShardsOption,
    WorkersOption,
)
from shards.console import print_json, run_command
from shards.errors import UserError
from shards.places import anywhere
from shards.store import Store


def render(
    recipe: RecipeArgument,
    *,
    out: MaybeOutOption = None,
    preview: Annotated[
        Store | None,
        typer.Option(
            parser=anywhere("--preview"),
            help="Make no shards, only show their pages: FILE.html is a gallery, FILE.png a "
            "contact sheet.",
            metavar="FILE|URL",
            show_default=False,
        ),
    ] = None,
    engine: EngineOption = "processes",
    workers: WorkersOption = 0,
    shards: ShardsOption = "",
    dry_run: DryRunOption = False,
    price: PriceOption = None,
    settings: SetOption = [],  # noqa: B006 - typer copies defaults
    as_json: JsonOption = False,
) -> None:
    """Render pages of English and Chinese text into shards.

    Text is set in many fonts, layouts and sizes onto photographs and paper; every line and
    character comes with its exact box. Shards are WebDataset tars. Finished ones are skipped, so
    the same command continues an interrupted run.

    Example: nonpareil render render_pages --out runs/pages --set shards=4

    Example: nonpareil render render_pages --preview runs/pages.html

    Example: nonpareil render render_pages --out runs/pages --dry-run
    """
    from pipelines.engine.jobs import RenderJob
    from pipelines.engine.run_options import RunOptions
    from pipelines.engine.shard_job import make_or_plan
    from pipelines.recipe import load
    from shards.numbers import parse_numbers

    if preview is not None:
        from pipelines.gallery import preview_recipe

        if out:
            raise UserError("--preview makes no shards; give it without --out")
        made = preview_recipe(load(RenderJob, recipe, settings), recipe, preview)
        if as_json:
            print_json(made)
            return
        typer.echo(f"{preview}: {made['pages']} pages, {made['bytes'] / 1e6:,.1f} MB")
        if made["caution"]:
            typer.echo(f"note: {made['caution']}")
        return
    if not out:
        raise UserError("give --out DIR to make shards, or --preview FILE.html to see their pages")
    job = load(RenderJob, recipe, settings)
    options = RunOptions(engine, workers, parse_numbers(shards, job.count()) if shards else None)
    make_or_plan("render", job, out, options, dry_run=dry_run, price=price, as_json=as_json)


if __name__ == "__main__":
    run_command(render)
