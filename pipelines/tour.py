"""The quickstart's steps in order: render, filter, train, evaluate, report.

Every step is the verb of the same name on a part of one recipe, so what runs here in miniature
runs on a cluster by the same code. Each step's folder continues or is skipped when it is done.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer

from pipelines.engine.jobs import FilterJob, Job, RenderJob
from pipelines.engine.progress import describe, follow
from pipelines.engine.run_options import RunOptions
from pipelines.evaluate import evaluate_to
from pipelines.evaluation.scoring import ScoringSettings
from pipelines.recipe import load
from pipelines.report import report_on
from pipelines.training import Training, train_to
from shards import UserError
from shards.console import print_table
from shards.dataset import Dataset
from shards.outputs import claim
from shards.places import apart
from shards.settings import Settings
from shards.store import Folder, Store, open_store, write_atomically
from shards.text import read_table
from vae import TrainSettings


class Tour(Settings):
    """Everything the quickstart does.

    `pages`, `photos` and `documents` are what the model learns from; `plain` stands in for
    `documents` where the images hold no dense text; the `unseen_*` sets are scored.
    """

    pages: RenderJob
    photos: FilterJob
    documents: FilterJob
    plain: RenderJob
    unseen_plain: RenderJob
    unseen_pages: RenderJob
    unseen_photos: FilterJob
    train: TrainSettings
    scoring: ScoringSettings = ScoringSettings()


RENDERED = ("pages", "plain", "unseen_plain", "unseen_pages")
FILTERED = ("photos", "documents", "unseen_photos")
UNSEEN = ("unseen_plain", "unseen_pages", "unseen_photos")


def run_tour(out: Path, images: Store | None, corpus: Path | None, settings: Sequence[str]) -> None:
    """Run every step that is not done yet, then print the scores and where the report is.

    Raises:
        UserError: for a folder or corpus that cannot be used, before anything is written.
    """
    tour = load(Tour, "quickstart", settings, _given(images, corpus))
    filtered: dict[str, FilterJob] = {name: getattr(tour, name) for name in FILTERED}
    rendered: dict[str, Job] = {name: getattr(tour, name) for name in RENDERED}
    jobs = {**rendered, **filtered}
    # A missing folder or an empty corpus stops here.
    inputs = {name: job.inputs() for name, job in jobs.items()}
    claim(out, {"kind": "Tour", **apart(tour), "inputs": inputs})
    for name, job in filtered.items():
        if len(job.source) < len(job.offered):
            typer.echo(
                f"{name}: a sample of {len(job.source):,} of {len(job.offered):,} images, to end "
                f"in minutes; --set {name}.at_most=N takes more"
            )
    clock = Clock(out / "times.json")

    def make(*names: str) -> None:
        for name in names:
            # Processes take longer to start than a single shard takes.
            options = RunOptions("inline" if jobs[name].count() == 1 else "processes")
            typer.echo(f"{name}: {describe(follow(name, jobs[name], out / name, options))}")

    clock.run("render", lambda: make("pages"))
    clock.run("filter", lambda: make("photos", "documents", "unseen_photos"))
    clock.run("render unseen", lambda: make("unseen_plain", "unseen_pages"))
    streams = choose_streams(out, lambda name: clock.run("render plain", lambda: make(name)))
    training = Training(tour.train, streams, out / "train")
    clock.run("train", lambda: train_to(training, training.usual_ranks()))
    data = {name: out / name for name in UNSEEN if Dataset(out / name).totals().samples}
    rows = clock.run(
        "evaluate", lambda: evaluate_to(out / "scores", out / "train", data, tour.scoring)
    )
    page = clock.run("report", lambda: report_on(out))
    print_table("Images the model never saw", rows)
    typer.echo(f"{page}: open it in a browser. All steps took {clock.total():.0f} s.")


def choose_streams(out: Path, make: Callable[[str], None]) -> dict[str, Path]:
    """Name the folders the curriculum draws from; `make` renders a set that is missing.

    Raises:
        UserError: when no photograph was kept, so that there is nothing general to learn.
    """
    if not Dataset(out / "photos").totals().samples:
        raise UserError(
            f"no image was kept in {out / 'photos'} (nonpareil shards ls says why); give --images "
            "with clear photographs of at least 256 px"
        )
    streams = {"general": out / "photos", "real": out / "documents", "synthetic": out / "pages"}
    if not Dataset(out / "documents").totals().samples:
        typer.echo("real: no image here is rich in text; this stream draws on rendered plain pages")
        make("plain")
        streams["real"] = out / "plain"
    return streams


def _given(images: Store | None, corpus: Path | None) -> dict[str, Path | Store]:
    """Turn the two options into settings of every job."""
    given: dict[str, Path | Store] = {}
    if images is not None:
        place = Folder(images.path.resolve()) if isinstance(images, Folder) else images
        given |= {f"{name}.images": place for name in FILTERED}
        given |= {f"{name}.render.photographs": place for name in RENDERED}
    if corpus is not None:
        given |= {f"{name}.render.corpus": corpus.resolve() for name in RENDERED}
    return given


class Clock:
    """Seconds of each step, added up over interrupted runs in one JSON file."""

    def __init__(self, path: Path) -> None:
        """Continue the file at `path` if there is one."""
        self.path = path
        self.seconds: dict[str, float] = {}
        if path.exists():
            remedy = "delete it; the clock then starts anew"
            self.seconds = read_table(open_store(path.parent), path.name, remedy)

    def run(self, step: str, work: Callable[[], Any]) -> Any:
        """Do `work`, and count its seconds for `step` also when it is interrupted."""
        start = time.monotonic()
        try:
            return work()
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.monotonic() - start
            write_atomically(self.path, json.dumps(self.seconds, indent=1) + "\n")

    def total(self) -> float:
        """Add up all steps."""
        return sum(self.seconds.values())
