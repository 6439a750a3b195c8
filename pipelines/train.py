"""`nonpareil train`, also `python -m pipelines.train`: shards into a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.options import RecipeArgument, SetOption, StoreOption, places_by_name
from shards.console import run_command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipelines.evaluation.scoring import ReadingScore
    from shards.store import Where
    from vae import TrainSettings


def train(
    recipe: RecipeArgument,
    *,
    stream: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=DIR|URL",
            help="A stream of the recipe and the folder or bucket of its shards. Give it once for "
            "each.",
        ),
    ],
    out: StoreOption,
    watch: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=DIR|URL",
            help="Images to score while it trains, and never to learn from. May be given again.",
        ),
    ] = [],  # noqa: B006 - typer copies defaults
    loaders: Annotated[
        int, typer.Option(min=0, metavar="N", help="Processes that load batches; 0 = this one.")
    ] = 0,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="Where the model runs: cpu, cuda or mps.")
    ] = "cpu",
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Begin anew where no checkpoint is whole.")
    ] = False,
    settings: SetOption = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Train a VAE on shards through the stages of a recipe.

    The stages draw from streams, which the recipe names: train_nano has general (photographs),
    real (images rich in text) and synthetic (rendered pages). The same command continues a
    stopped run.

    \b
    Example: nonpareil train train_nano --out runs/nano \\
        --stream general=runs/photos --stream real=runs/documents \\
        --stream synthetic=runs/pages
    """  # noqa: D301 - click leaves the lines below this mark as they are
    streams, watched = places_by_name(stream, "--stream"), places_by_name(watch, "--watch")
    from pipelines.recipe import load
    from vae import TrainSettings

    asked = load(TrainSettings, recipe, settings)
    last = train_to(
        out,
        asked,
        streams,
        watched=watched,
        loaders=loaders,
        device=device,
        from_scratch=from_scratch,
    )
    typer.echo(f"{last}")


def train_to(
    out: Where,
    settings: TrainSettings,
    streams: Mapping[str, Where],
    *,
    watched: Mapping[str, Where] | None = None,
    loaders: int = 0,
    device: str = "cpu",
    from_scratch: bool = False,
) -> Path | str:
    """Run `vae.fit` behind a progress bar and return the last checkpoint.

    Raises:
        UserError: as `vae.fit`.
    """
    from pipelines.engine.progress import progress_bar
    from vae import fit
    from vae.training.ranks import Ranks

    score = reading(settings) if watched else None
    with progress_bar() as bar:
        task = bar.add_task("train", total=sum(stage.samples for stage in settings.stages), note="")

        def show(row: Mapping[str, Any]) -> None:
            # Where every step since the last row was skipped there is no loss.
            loss = f"loss {row['total']:.4f}" if "total" in row else "no step taken"
            note = f"{row['stage']}  {loss}  {row['images_per_second']:.0f} img/s"
            bar.update(task, completed=row["n"], note=note)

        return fit(
            settings,
            streams,
            out,
            ranks=Ranks(device),
            loaders=loaders,
            progress=show,
            from_scratch=from_scratch,
            watched=watched,
            score=score,
        )


def reading(settings: TrainSettings) -> ReadingScore | None:
    """Return what reads watched images, where the settings ask for that.

    Raises:
        UserError: when the OCR engine is not installed.
    """
    if not settings.watch_read:
        return None
    from pipelines.evaluation.scoring import ReadingScore

    score = ReadingScore()
    _ = score.reader  # now, not after an hour of training
    return score


if __name__ == "__main__":
    run_command(train)
