"""`nonpareil VERB …`: every verb of the system. Each imports its heavy half when it runs."""

from importlib.metadata import version
from typing import Annotated

import typer

from pipelines.atlas import atlas
from pipelines.evaluate import evaluate
from pipelines.export import export
from pipelines.filter import filter_images
from pipelines.finalize import finalize
from pipelines.fonts import fonts
from pipelines.plan import plan
from pipelines.preflight import preflight
from pipelines.push import push
from pipelines.quickstart import quickstart
from pipelines.render import render
from pipelines.replay import replay
from pipelines.report import report
from pipelines.train import train
from shards.console import new_app, run
from shards.inspect.cli import app as shards_app

app = new_app("Image VAEs that keep small text readable: render, filter, train, evaluate.")
app.command()(quickstart)
app.command()(render)
app.command()(atlas)
app.command()(fonts)
app.command("filter")(filter_images)
app.command()(finalize)
app.command()(preflight)
app.add_typer(shards_app, name="shards")
app.command()(plan)
app.command()(train)
app.command()(replay)
app.command()(evaluate)
app.command()(export)
app.command()(push)
app.command()(report)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nonpareil {version('nonpareil')}")
        raise typer.Exit


@app.callback()
def _options(  # pyright: ignore[reportUnusedFunction] - typer calls it
    *,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del show_version


def main() -> None:
    """Run the command line."""
    run(app)


if __name__ == "__main__":
    main()
