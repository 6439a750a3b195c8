"""Command-line options that several verbs share; nothing heavy is imported here."""

from collections.abc import Sequence
from typing import Annotated

import typer

from shards.errors import UserError
from shards.places import anywhere, checked_name
from shards.store import Store

RecipeArgument = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="A .toml file, or the name of a recipe that ships, as in the example.",
        show_default=False,
    ),
]
SetOption = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="A.B=VALUE",
        help="Override one setting of the recipe, as seed=1. May be given again.",
    ),
]
_OUT = typer.Option(
    parser=anywhere("--out"),
    metavar="DIR|URL",
    help="Where to write: a folder, or s3://BUCKET/PREFIX.",
    show_default=False,
)
OutOption = Annotated[Store, _OUT]
MaybeOutOption = Annotated[Store | None, _OUT]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
EngineOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Where shards are made: processes of this machine, inline (this process alone), or "
        "ray (a cluster).",
    ),
]
WorkersOption = Annotated[
    int, typer.Option(min=0, metavar="N", help="Shards made at a time; 0 = one on every core.")
]
ShardsOption = Annotated[
    str,
    typer.Option(
        help="Make only these shards, and again if they are finished: 7, 123-130 or 1,4-6.",
        metavar="RANGES",
        show_default=False,
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Make no shards in --out; make one elsewhere and say what all would take.",
    ),
]
PriceOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="PRICE",
        help="Price of a core-hour, in any currency: --dry-run then tells the cost.",
        show_default=False,
    ),
]


def places_by_name(pairs: Sequence[str], option: str) -> dict[str, tuple[str, ...]]:
    """Read the NAME=DIR|URL pairs of an option; the places are what `open_store` takes.

    A name that is given again has several places, in the order given.

    Raises:
        UserError: for a pair without '=', or a name that is none.
    """
    places: dict[str, tuple[str, ...]] = {}
    for pair in pairs:
        name, equals, place = pair.partition("=")
        if not (name and equals and place):
            raise UserError(f"{option} {pair}: write it as NAME=DIR or NAME=URL")
        try:
            checked_name(name)
        except UserError as error:
            raise UserError(f"{option} {pair}: {error}") from error
        places[name] = (*places.get(name, ()), place)
    return places
