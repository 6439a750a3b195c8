"""`nonpareil filter`, also `python -m pipelines.filter`: real images worth keeping, into shards."""

from typing import Annotated

import typer

from pipelines.options import (
    DryRunOption,
    EngineOption,
    JsonOption,
    OutOption,
    PriceOption,
    RecipeArgument,
    SetOption,
    ShardsOption,
    WorkersOption,
)
from shards.console import run_command
from shards.places import anywhere
from shards.store import Store


def filter_images(
    recipe: RecipeArgument,
    *,
    out: OutOption,
    images: Annotated[
        Store | None,
        typer.Option(
            parser=anywhere("--images"),
            metavar="DIR|URL",
            help="Folder or bucket of images. Default: the photographs that pip brought.",
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
    """Keep the real images that pass a recipe's filters, in shards.

    Of every image that is dropped the reason and its scores are recorded. Finished shards are
    skipped, so the same command continues an interrupted run.

    Example: nonpareil filter filter_photos --images ~/photos --out runs/photos
    """
    from pipelines.engine.jobs import FilterJob
    from pipelines.engine.run_options import RunOptions
    from pipelines.engine.shard_job import make_or_plan
    from pipelines.recipe import load
    from shards.numbers import parse_numbers

    given = {} if images is None else {"images": images}
    job = load(FilterJob, recipe, settings, given)
    options = RunOptions(engine, workers, parse_numbers(shards, job.count()) if shards else None)
    make_or_plan("filter", job, out, options, dry_run=dry_run, price=price, as_json=as_json)


if __name__ == "__main__":
    run_command(filter_images)
