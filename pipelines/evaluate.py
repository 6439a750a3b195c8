"""`nonpareil evaluate`, also `python -m pipelines.evaluate`: what a checkpoint does to images."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.options import JsonOption, OutOption
from pipelines.train import streams_of
from shards.console import print_json, print_table, run_command


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="A training folder, or a step of it.")],
    *,
    data: Annotated[list[str], typer.Option(help="NAME=FOLDER of shards to reconstruct.")],
    out: OutOption,
    images: Annotated[int, typer.Option(min=1, help="Images of each data set.")] = 24,
    side: Annotated[int, typer.Option(min=16, help="Side of the central crop, px.")] = 256,
    ocr: Annotated[bool, typer.Option(help="Read the text too (NED).")] = True,
    as_json: JsonOption = False,
) -> None:
    """Score a checkpoint beside the weight-free DCT codec of the same factor and channels.

    PSNR, SSIM, and NED: OCR of the original against OCR of the reconstruction.

    Example: nonpareil evaluate runs/nano --data pages=runs/unseen --out runs/nano-scores
    """
    from pipelines.scoring import ScoringSettings

    settings = ScoringSettings(images=images, side=side)
    rows = evaluate_to(out, checkpoint, streams_of(data), settings, ocr=ocr)
    print_json(*rows) if as_json else print_table(str(checkpoint), rows)


def evaluate_to(
    out: Path, checkpoint: Path, data: Mapping[str, Path], settings: Any, *, ocr: bool = True
) -> list[dict[str, Any]]:
    """Score behind a progress bar; a finished `scores.json` of the same checkpoint is kept."""
    import os

    from filters import Recognizer
    from pipelines.progress import progress_bar, totals
    from pipelines.scoring import codecs, score
    from shards.settings import digest
    from shards.sidecar import sha256_of, write_atomically

    weights = max(checkpoint.glob("**/model.safetensors"), default=None)
    asked = digest(
        {
            "weights": sha256_of(weights) if weights else "",
            "data": {name: str(folder) for name, folder in data.items()},
            "settings": settings.model_dump(mode="json"),
            "ocr": ocr,
        }
    )
    note = out / "scores.json"
    if note.exists() and (held := json.loads(note.read_text()))["asked"] == asked:
        return held["rows"]
    reader = Recognizer(threads=os.cpu_count() or 1) if ocr else None
    with progress_bar() as bar:
        total = sum(min(settings.images, totals(folder)["samples"]) for folder in data.values())
        task = bar.add_task("evaluate", total=total, note="")
        rows = score(
            codecs(checkpoint),
            data,
            out,
            settings,
            reader=reader,
            progress=lambda name: bar.update(task, advance=1, note=name),
        )
    write_atomically(note, json.dumps({"asked": asked, "rows": rows}, indent=1) + "\n")
    return rows


if __name__ == "__main__":
    run_command(evaluate)
