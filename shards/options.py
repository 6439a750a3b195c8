"""Command-line options that several verbs on shards share; nothing heavy is imported here."""

from typing import Annotated

import typer

from shards.places import anywhere
from shards.store import Store

DatasetArgument = Annotated[
    Store,
    typer.Argument(
        parser=anywhere(),
        metavar="DIR|URL",
        help="Where part-*.tar and part-*.json are.",
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON object a line instead of a table.")
]
DeepOption = Annotated[
    bool,
    typer.Option("--deep", help="Open every sample: headers, CRC-32, pictures, metadata."),
]
ConditionOption = Annotated[
    str,
    typer.Option(
        "--where",
        metavar="SQL",
        help="Only samples for which this holds, as \"language = 'zh' and size_px < 9\".",
    ),
]
SampleOption = Annotated[
    int | None,
    typer.Option(
        "--sample", min=1, metavar="N", help="Only so many of them, at random.", show_default=False
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Only the first N of these.", show_default=False),
]
SeedOption = Annotated[
    int,
    typer.Option(
        min=0, max=2**64 - 1, metavar="N", help="Seed of --sample, and of draw in --where."
    ),
]
