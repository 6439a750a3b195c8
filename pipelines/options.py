"""Command-line options that several verbs share; nothing heavy is imported here."""

from pathlib import Path
from typing import Annotated

import typer

RecipeArgument = Annotated[
    str,
    typer.Argument(help="A recipe file, or the name of one that ships.", show_default=False),
]
SetOption = Annotated[
    list[str],
    typer.Option("--set", help="Override one setting: a.b=value. May be given again."),
]
OutOption = Annotated[Path, typer.Option(help="Folder to write to.", show_default=False)]
StoreOption = Annotated[
    str,
    typer.Option(help="Folder or URL to write to: DIR, s3://BUCKET/PREFIX.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
EngineOption = Annotated[
    str, typer.Option(help="Where shards are made: processes, inline, or ray.")
]
WorkersOption = Annotated[int, typer.Option(min=0, help="Shards at a time; 0 = all cores.")]
ShardsOption = Annotated[
    str,
    typer.Option(
        help="Make these shards alone, and anew if they are finished: 7, 123-130 or 1,4-6.",
        metavar="RANGES",
        show_default=False,
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Make one shard elsewhere and say what the rest would take; leave --out alone.",
    ),
]
PriceOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Price of a core-hour, in any currency, for --dry-run to estimate the cost.",
        show_default=False,
    ),
]
