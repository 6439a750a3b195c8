"""`nonpareil train`, also `python -m pipelines.train`: shards into a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.options import OutOption, RecipeArgument, SetOption
from shards.console import run_command
from shards.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vae import TrainSettings


def train(
    recipe: RecipeArgument,
    *,
    stream: Annotated[
        list[str],
        typer.Option(help="NAME=FOLDER of shards, once for each stream the stages draw from."),
    ],
    out: OutOption,
    loaders: Annotated[
        int, typer.Option(min=0, help="Processes that load batches; 0 = this one.")
    ] = 0,
    device: Annotated[str, typer.Option(help="Where the model runs: cpu, cuda, mps.")] = "cpu",
    settings: SetOption = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Train a VAE through the stages of a recipe; the same command continues a stopped run.

    Example: nonpareil train train_nano --stream general=runs/photos --stream text=runs/pages
    --out runs/nano
    """
    streams = streams_of(stream)
    from pipelines.recipe import load
    from vae import TrainSettings

    asked = load(TrainSettings, recipe, settings)
    typer.echo(f"{train_to(out, asked, streams, loaders=loaders, device=device)}")


def streams_of(pairs: list[str]) -> dict[str, Path]:
    """Read NAME=FOLDER pairs.

    Raises:
        UserError: for a pair without '='.
    """
    for pair in pairs:
        if "=" not in pair:
            raise UserError(f"--stream {pair}: write it as NAME=FOLDER")
    return {name: Path(folder) for name, _, folder in (pair.partition("=") for pair in pairs)}


def train_to(
    out: Path,
    settings: TrainSettings,
    streams: Mapping[str, Path],
    *,
    loaders: int = 0,
    device: str = "cpu",
) -> Path:
    """Run `vae.fit` behind a progress bar and return the last checkpoint.

    Raises:
        UserError: when other settings or streams made what lies in `out`.
    """
    from pipelines.engine.progress import progress_bar
    from pipelines.recipe import claim
    from vae import fit

    named = {name: str(folder) for name, folder in streams.items()}
    claim(out, {"kind": "Train", "recipe": settings.model_dump(mode="json"), "streams": named})
    with progress_bar() as bar:
        task = bar.add_task("train", total=sum(stage.steps for stage in settings.stages), note="")

        def show(row: Mapping[str, Any]) -> None:
            note = f"{row['stage']}  loss {row['total']:.4f}  {row['images_per_second']:.0f} img/s"
            bar.update(task, completed=row["step"], note=note)

        return fit(settings, streams, out, workers=loaders, device=device, progress=show)


if __name__ == "__main__":
    run_command(train)
