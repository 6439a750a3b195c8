"""`python -m benchmarks.nano`: train nano, or tiny, and write down what it scored on the way."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks._rows import commit, machine
from benchmarks.nano.report import RESULTS, write
from pipelines.engine.jobs import Job, RenderJob
from pipelines.engine.progress import follow
from pipelines.evaluate import evaluate_to
from pipelines.evaluation.pictures import kept, preview
from pipelines.evaluation.scoring import ScoringSettings
from pipelines.recipe import load
from pipelines.tour import Tour
from pipelines.training import Training, train_to
from shards import encode_png
from shards.console import run_command
from shards.store import write_atomically
from vae import TrainSettings

PAGES = ["render.part=train", "seed=10", "shards=6"]
"""6,000 pages of 512 px for the stream `synthetic`."""

PLAIN = ["render.part=train", "seed=11", "shards=1", "render.flat_share=1.0"]
"""1,000 of 256 px on plain paper for `real`: pip brings one photograph that is rich in text."""

PICTURE = Path("docs/nano.png")
"""The picture of README.md: of each set one image, as it is, as the model and as DCT keep it."""

RATES = {"nano": 2e-3, "tiny": 1e-3}
"""The recipe's, and the best of three for narrow models with `global` (docs/ablation.md)."""

READ = 8
"""Images of each watched set that are read, each time."""


def main(
    *,
    preset: Annotated[str, typer.Option(help="The model: nano, or tiny beside it.")] = "nano",
    runs: Annotated[Path, typer.Option(help="Folder of the data and the runs.")] = Path(
        "runs/nano"
    ),
    ranks: Annotated[int, typer.Option(min=1, help="Processes, 1 or 2: equal bits.")] = 2,
    documents: Annotated[
        Path | None, typer.Option(help="Shards of documents to score as well.")
    ] = None,
) -> None:
    """Train one model through train_nano, score it, and put the figures into docs/nano.md.

    Stop it whenever you like; the same command goes on where it stopped. Everything that it learns
    from comes with pip: nine photographs, fonts, and the words for the pages.
    """
    tour = load(Tour, "quickstart")
    size = ["render.width=256", "render.height=256"]
    jobs: dict[str, Job] = {
        "photographs": tour.photos,
        "pages": load(RenderJob, "render_pages", PAGES),
        "plain": load(RenderJob, "render_pages", [*PLAIN, *size]),
        "unseen_plain": tour.unseen_plain,
        "unseen_pages": tour.unseen_pages,
        "unseen_photographs": tour.unseen_photos,
    }
    for name, job in jobs.items():
        follow(name, job, runs / name)
    streams = {"general": "photographs", "real": "plain", "synthetic": "pages"}
    unseen = {
        "plain": runs / "unseen_plain",
        "pages": runs / "unseen_pages",
        "photographs": runs / "unseen_photographs",
    }
    if documents is not None:
        unseen["documents"] = documents
    course = [f"preset={preset}", f"watch_read={READ}", f"rate.peak={RATES[preset]}"]
    settings = load(TrainSettings, "train_nano", course)
    out = runs / preset
    training = Training(
        settings,
        {stream: runs / name for stream, name in streams.items()},
        out,
        watched=unseen,
    )
    train_to(training, ranks)
    scores = runs / f"{preset}_scores"
    ended = evaluate_to(scores, out, unseen, ScoringSettings())
    rows = [json.loads(line) for line in (out / "watch.jsonl").read_text().splitlines()]
    record = {
        "preset": preset,
        "machine": machine(),
        "commit": commit(),
        "watched": [{"n": row["n"], "sets": _slim(row["sets"])} for row in rows],
        "ended": ended,
    }
    RESULTS.mkdir(exist_ok=True)
    write_atomically(RESULTS / f"{preset}.json", json.dumps(record, indent=1) + "\n")
    write()
    if preset == "nano":
        ours = [example for example in kept(scores) if example.data != "documents"]
        PICTURE.write_bytes(encode_png(preview(ours)))


def _slim(sets: dict[str, Any]) -> dict[str, Any]:
    """Keep what the curves show: mean and std of each channel would be most of the file."""
    kept = ("psnr", "ssim", "ned")
    return {
        name: {
            codec: {key: round(scores[key], 4) for key in kept if key in scores}
            for codec, scores in ((each, of[each]) for each in ("model", "dct"))
        }
        for name, of in sets.items()
    }


if __name__ == "__main__":
    run_command(main)
