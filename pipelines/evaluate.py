"""`nonpareil evaluate`, also `python -m pipelines.evaluate`: what a checkpoint does to images."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.options import JsonOption, OutOption, places_by_name
from shards.console import print_json, print_table, run_command
from shards.errors import UserError
from shards.places import checked_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipelines.evaluation.scoring import ScoringSettings
    from shards.store import Places, Where


def evaluate(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT",
            help="A training run, folder or URL, or one step-… folder in it.",
        ),
    ],
    *,
    data: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=DIR|URL",
            help="A name for the rows, and a folder or bucket of shards to reconstruct. May be "
            "given again, also with the same name.",
        ),
    ],
    out: OutOption,
    images: Annotated[int, typer.Option(min=1, metavar="N", help="Images of each data set.")] = 24,
    side: Annotated[
        int, typer.Option(min=16, metavar="PX", help="Side of the central crop that is scored.")
    ] = 256,
    ocr: Annotated[bool, typer.Option(help="Read the text too and score it (NED).")] = True,
    as_json: JsonOption = False,
) -> None:
    """Score how well a checkpoint reconstructs images and text.

    PSNR, SSIM, and NED: what OCR reads in the original against what it reads in the
    reconstruction. The DCT codec of the same factor and channels, which has no weights, is scored
    beside it.

    Example: nonpareil evaluate runs/nano --data pages=runs/unseen --out scores
    """
    from pipelines.evaluation.scoring import ScoringSettings

    settings = ScoringSettings(images=images, side=side)
    rows = evaluate_to(out, checkpoint, places_by_name(data, "--data"), settings, ocr=ocr)
    print_json(*rows) if as_json else print_table(str(checkpoint), rows)


SCORES = "scores.json"


def evaluate_to(
    out: Where,
    checkpoint: Where,
    data: Mapping[str, Places],
    settings: ScoringSettings,
    *,
    ocr: bool = True,
) -> list[dict[str, Any]]:
    """Score behind a progress bar into SCORES of `out`; what is there already is returned.

    Raises:
        UserError: when there is no checkpoint, a data set has no plain name, or `out` holds scores
            of other weights or data.
    """
    from filters import Recognizer
    from pipelines.engine.progress import progress_bar
    from pipelines.evaluation.scoring import codecs, score
    from shards import ShardReader
    from shards.outputs import NOTE, claim
    from shards.store import open_store
    from shards.text import read_json
    from vae.training.checkpoint import newest

    for name in data:
        if checked_name(name) in (NOTE, SCORES):
            raise UserError(f"{name} is a file of the scores; give the data set another name")
    store = open_store(out)
    step = newest(checkpoint, to_train=False)
    readers = {name: ShardReader(places) for name, places in data.items()}
    recipe = {
        "settings": settings.model_dump(mode="json"),
        "data": {name: reader.fingerprint for name, reader in readers.items()},
        "ocr": ocr,
    }
    claim(store, {"kind": "Scores", "recipe": recipe, "weights": step.digest})
    if store.exists(SCORES):
        return read_json(store, SCORES, "delete it, and it is made again")
    reader = Recognizer(threads=os.cpu_count() or 1) if ocr else None
    with progress_bar() as bar:
        total = sum(min(settings.images, len(reader)) for reader in readers.values())
        task = bar.add_task("evaluate", total=total, note="")
        rows = score(
            codecs(step.store),
            data,
            store,
            settings,
            reader=reader,
            progress=lambda name: bar.update(task, advance=1, note=name),
        )
    store.replace(SCORES, (json.dumps(rows, indent=1) + "\n").encode())
    return rows


if __name__ == "__main__":
    run_command(evaluate)
