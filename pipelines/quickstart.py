"""`nonpareil quickstart`: the whole path, from fonts and photographs to a report, in minutes."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.options import OutOption, SetOption
from shards.console import run_command


def quickstart(
    *,
    out: OutOption = Path("runs/quickstart"),
    images: Annotated[
        Path | None, typer.Option(help="Folder of your photographs and documents.")
    ] = None,
    corpus: Annotated[
        Path | None, typer.Option(help="File or folder of your UTF-8 text (.txt, .md).")
    ] = None,
    settings: SetOption = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Render, filter, train, evaluate and report, with nothing but what pip brought.

    At most 8 minutes on 2 cores. May be interrupted; the same command continues.

    Example: nonpareil quickstart --out runs/mine --images ~/photos --corpus ~/books
    """
    from pipelines.tour import run_tour

    run_tour(out, images, corpus, settings)


if __name__ == "__main__":
    run_command(quickstart)
