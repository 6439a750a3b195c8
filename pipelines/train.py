"""`nonpareil train`, also `python -m pipelines.train`: shards into a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.options import OutOption, RecipeArgument, SetOption, places_by_name
from shards.console import run_command
from shards.errors import UserError

if TYPE_CHECKING:
    from vae.training.reductions import Reduce


def train(
    recipe: RecipeArgument,
    *,
    stream: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=DIR|URL",
            help="A stream of the recipe and the folder or bucket of its shards, or tars by "
            "https://, hf:// or pipe:. Several of one name are read as one, in order.",
        ),
    ],
    out: OutOption,
    watch: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=DIR|URL",
            help="Shards to score while it trains, and never to learn from. May be given again, "
            "also with the same name.",
        ),
    ] = [],  # noqa: B006 - typer copies defaults
    ranks: Annotated[
        str,
        typer.Option(
            metavar="N",
            help="Processes that train together, a thread or a GPU each. By default 1, and on a "
            "CPU of this machine one a core as far as the stages can share their steps. With "
            "--engine ray also 2-8: as many as the cluster has room for.",
            show_default=False,
        ),
    ] = "",
    engine: Annotated[
        str,
        typer.Option(metavar="NAME", help="Where they run: local, or ray (a cluster)."),
    ] = "local",
    loaders: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Processes of each rank that load batches; 0 = the rank itself.",
        ),
    ] = 0,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="Where the model runs: cpu, cuda, cuda:N or mps.")
    ] = "cpu",
    reduce: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="How ranks add up gradients: exact (the same bits at any number of ranks; on CPUs "
            "the default), fast (DDP; on GPUs the default) or shard (FSDP2).",
            show_default=False,
        ),
    ] = "",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Train nothing; print what nonpareil plan says of the run."),
    ] = False,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Begin anew where no checkpoint is good.")
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
    asked = numbers(ranks, engine)
    way = reduction(reduce)
    from pipelines.engine.ranks import end_now, launched
    from pipelines.recipe import load
    from pipelines.training import Training, train_to
    from vae import TrainSettings

    run = load(TrainSettings, recipe, settings)
    training = Training(run, streams, out, watched, loaders, device, from_scratch, way)
    least, largest = asked or 2 * (1 if engine == "ray" else training.usual_ranks(),)
    if dry_run:
        from pipelines.plan import Outlook

        Outlook.of(run, streams, largest).show()
        return
    if engine == "ray":
        from pipelines.train_ray import train_on_ray

        last = train_on_ray(training, least, largest)
    else:
        last = train_to(training, largest)
    if last is not None:
        typer.echo(last)
    if launched() is not None:
        end_now(0)


def numbers(ranks: str, engine: str) -> tuple[int, int] | None:
    """Read --ranks: the least and the largest number of them, None where nobody says.

    Raises:
        UserError: when it is none, or a range that the engine cannot move in.
    """
    if engine not in ("local", "ray"):
        raise UserError(f"--engine {engine}: not one of local, ray")
    if not ranks:
        return None
    first, dash, second = ranks.partition("-")
    if not (first.isdecimal() and (second.isdecimal() or not dash)):
        raise UserError(f"--ranks {ranks}: give a number, as 4, or with --engine ray 2-8")
    least, largest = int(first), int(second if dash else first)
    if not least:
        raise UserError(f"--ranks {ranks}: give at least 1")
    if least > largest:
        raise UserError(f"--ranks {ranks}: give the smaller number first")
    if dash and engine == "local":
        raise UserError(f"--ranks {ranks}: a range is for --engine ray; give one number")
    return least, largest


def reduction(reduce: str) -> Reduce | None:
    """Read --reduce; None where it is left to the device.

    Raises:
        UserError: when it is none.
    """
    ways: dict[str, Reduce | None] = {"": None, "exact": "exact", "fast": "fast", "shard": "shard"}
    if reduce not in ways:
        raise UserError(f"--reduce {reduce}: not one of exact, fast, shard")
    return ways[reduce]


if __name__ == "__main__":
    run_command(train)
