"""`nonpareil atlas`, also `python -m pipelines.atlas`: every glyph of a recipe, drawn ahead.

Renderers fill the atlas as they go and share what they drew after each shard; a machine with many
workers starts at full speed when it is filled once beforehand. It changes no byte of a page.
"""

import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.options import JsonOption, RecipeArgument, SetOption
from shards.console import print_json, run_command
from shards.places import here

if TYPE_CHECKING:
    from render import Renderer

PARTS_PER_WORKER = 8
"""Pieces of work for each process: enough for an even end and a moving bar."""


def atlas(
    recipe: RecipeArgument,
    *,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            parser=here("--folder"),
            metavar="DIR",
            help="Where the glyphs are kept. Default: nonpareil/atlas in your cache folder.",
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, metavar="N", help="Processes at work; 0 = all cores.")
    ] = 0,
    settings: SetOption = [],  # noqa: B006 - typer copies defaults
    as_json: JsonOption = False,
) -> None:
    """Draw every glyph of a render recipe ahead, once for a machine.

    Rendering draws glyphs as it needs them and keeps them; with many workers it is faster to draw
    all of them first. No byte of any page depends on it.

    Example: nonpareil atlas render_pages
    """
    from pipelines.engine.jobs import RenderJob
    from pipelines.engine.progress import progress_bar
    from pipelines.recipe import atlas_folder, load

    job = load(RenderJob, recipe, settings)
    place = folder or atlas_folder()
    slots = workers or os.cpu_count() or 1
    start, strikes, glyphs = time.perf_counter(), 0, 0
    with progress_bar() as bar:
        task = bar.add_task("atlas", total=slots * PARTS_PER_WORKER, note="")
        for part_strikes, part_glyphs in _fill(job.model_dump_json(), place, slots):
            strikes, glyphs = strikes + part_strikes, glyphs + part_glyphs
            bar.update(task, advance=1, note=f"{glyphs:,} glyphs")
    size = sum(file.stat().st_size for file in place.iterdir()) / 1e6
    seconds = round(time.perf_counter() - start, 1)
    row = {"strikes": strikes, "glyphs": glyphs, "MB": round(size), "seconds": seconds}
    if as_json:
        print_json({"folder": str(place), **row})
    else:
        typer.echo(
            f"{place}: {strikes:,} strikes, {glyphs:,} glyphs, {size:,.0f} MB in {seconds} s"
        )


def _fill(job: str, folder: Path, slots: int) -> Iterator[tuple[int, int]]:
    parts = slots * PARTS_PER_WORKER
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(slots, mp_context=context) as pool:
        futures = [pool.submit(_fill_part, job, folder, part, parts) for part in range(parts)]
        for future in as_completed(futures):
            yield future.result()


@cache
def _renderer(job: str, folder: Path) -> "Renderer":
    """Build the renderer of a job, once per process."""
    from pipelines.engine.jobs import RenderJob
    from render import Renderer

    settings = RenderJob.model_validate_json(job)
    return Renderer(settings.render, settings.seed, atlas=folder)


def _fill_part(job: str, folder: Path, part: int, parts: int) -> tuple[int, int]:
    """Fill every `parts`-th strike from `part` on; return how many, and their glyphs."""
    renderer = _renderer(job, folder)
    strikes = glyphs = 0
    for number, (strike, codes) in enumerate(renderer.strikes()):
        if number % parts == part:
            glyphs += strike.fill(codes)
            strikes += 1
    renderer.material.atlas.save()
    return strikes, glyphs


if __name__ == "__main__":
    run_command(atlas)
