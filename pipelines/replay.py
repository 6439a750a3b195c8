"""`nonpareil replay`, also `python -m pipelines.replay`: one step of a training run again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.options import JsonOption, places_by_name
from shards.console import print_json, print_table, run_command
from shards.errors import UserError
from shards.places import anywhere
from shards.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shards.store import Places, Where
    from vae.training.replay import Replay


def replay(
    run: Annotated[
        Store,
        typer.Argument(parser=anywhere(), metavar="RUN", help="A training run, folder or URL."),
    ],
    n: Annotated[
        int,
        typer.Argument(
            min=0, metavar="N", help="Samples seen before the step, as in skipped.jsonl."
        ),
    ],
    *,
    stream: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=DIR|URL",
            help="A stream of the run and the folder or bucket of its shards. Give it once for "
            "each.",
        ),
    ],
    device: Annotated[
        str, typer.Option(metavar="NAME", help="Where the model runs: cpu, cuda, cuda:N or mps.")
    ] = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Take one step of a training run again, sample by sample.

    The steps from the newest checkpoint before it are taken first, and nothing is written. Of
    every sample alone, the table has the terms of the objective before weighing, their total and
    the norm of the gradient.

    \b
    Example: nonpareil replay runs/nano 5144 --stream general=runs/photos \\
        --stream real=runs/documents --stream synthetic=runs/pages
    """  # noqa: D301 - click leaves the lines below this mark as they are
    again = replay_to(run, n, places_by_name(stream, "--stream"), device=device)
    if as_json:
        # JSON has no NaN and no infinity.
        print_json(*({name: _plain(value) for name, value in row.items()} for row in again.rows))
        return
    knobs = again.knobs
    print_table(
        f"step {knobs.step + 1} at n {knobs.n}, stage {knobs.stage.name}, rate {knobs.rate:.2e}",
        again.rows,
        footer=f"weights: {again.checkpoint}, and the steps since then",
    )


def replay_to(run: Where, n: int, streams: Mapping[str, Places], *, device: str = "cpu") -> Replay:
    """Take a step again behind a progress bar.

    Raises:
        UserError: when `run` is no training run, a stream holds other samples than it was trained
            on, or there is no such step or no checkpoint before it.
    """
    from pipelines.engine.progress import progress_bar
    from shards.store import open_store
    from shards.text import read_settings
    from vae import TrainSettings
    from vae.training import replay as training
    from vae.training.output import SETTINGS

    store = open_store(run)
    if not store.exists(SETTINGS):
        raise UserError(
            f"{run} is no training run (it has no {SETTINGS} of one); give its --out folder"
        )
    settings = read_settings(TrainSettings, store, SETTINGS, "put back what the run wrote")
    bar = progress_bar()
    task = bar.add_task("replay", total=None, note="")

    def show(taken: int, steps: int) -> None:
        if bar.console.is_terminal:
            bar.start()  # not before: a mistake is told in one line, without a bar
        bar.update(task, completed=taken, total=steps, note=f"{steps - taken} steps to go")

    try:
        return training.replay(settings, streams, run, n, device=device, progress=show)
    finally:
        if bar.console.is_terminal:
            bar.stop()


def _plain(value: object) -> object:
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)


if __name__ == "__main__":
    run_command(replay)
