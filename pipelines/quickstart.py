"""`nonpareil quickstart`: the whole path, from fonts and photographs to a report, in minutes."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.options import SetOption
from shards.console import run_command
from shards.places import anywhere, here
from shards.store import Store


def quickstart(
    *,
    out: Annotated[
        Path, typer.Option(parser=here("--out"), metavar="DIR", help="Folder to write to.")
    ] = Path("runs/quickstart"),
    images: Annotated[
        Store | None,
        typer.Option(
            parser=anywhere("--images"),
            metavar="DIR|URL",
            help="Folder or bucket of your photographs and documents.",
        ),
    ] = None,
    corpus: Annotated[
        Path | None,
        typer.Option(
            parser=here("--corpus"),
            metavar="PATH",
            help="File or folder of your UTF-8 text (.txt, .md).",
        ),
    ] = None,
    settings: SetOption = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Render, filter, train, evaluate and report, all in miniature.

    Needs nothing but what pip brought, and at most 8 minutes on 2 cores. It may be interrupted;
    the same command continues. Afterwards open report.html in the --out folder.

    Example: nonpareil quickstart

    Example: nonpareil quickstart --images ~/photos --corpus ~/books
    """
    from pipelines.tour import run_tour

    run_tour(out, images, corpus, settings)


if __name__ == "__main__":
    run_command(quickstart)
