"""`nonpareil render`, also `python -m pipelines.render`: text pages into shards."""

import typer

from pipelines.options import (
    EngineOption,
    JsonOption,
    OutOption,
    RecipeArgument,
    SetOption,
    WorkersOption,
)
from shards.console import print_json, run_command


def render(
    recipe: RecipeArgument,
    *,
    out: OutOption,
    engine: EngineOption = "processes",
    workers: WorkersOption = 0,
    settings: SetOption = [],  # noqa: B006 - typer copies defaults
    as_json: JsonOption = False,
) -> None:
    """Render English and Chinese text onto photographs, into WebDataset shards.

    Finished shards are skipped, so the same command continues an interrupted run.

    Example: nonpareil render render_pages --out runs/pages --set shards=4
    """
    from pipelines.jobs import RenderJob
    from pipelines.progress import describe, follow
    from pipelines.recipe import load
    from pipelines.workers import run_job

    job = load(RenderJob, recipe, settings)
    summary = follow("render", job.count(), run_job(job, out, engine=engine, workers=workers), out)
    print_json(summary) if as_json else typer.echo(f"{out}: {describe(summary)}")


if __name__ == "__main__":
    run_command(render)
