"""A run of minutes on what pip brought: its data, its scores, its curves and its weights."""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from multiprocessing.pool import AsyncResult
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from benchmarks._rows import Row
from benchmarks.gpu.bench import Bench, Size
from benchmarks.gpu.steps import Speeds
from pipelines.engine.jobs import FilterJob, Job, RenderJob
from pipelines.engine.run_options import RunOptions
from pipelines.engine.workers import Run
from pipelines.training_report import report_on_training, rows
from shards.signals import Asked
from shards.store import open_store
from vae import fit, load_model

RATE = 4e-4
"""Our choice, for a run of minutes: train_small has 1e-4 for days."""

PART = 15 * 2**20
"""Bytes of a file of weights: below the 16 MiB that travel anywhere."""

SETS = ("photographs", "pages")
"""What is trained on, and, of other photographs and seeds, watched."""

UNITS = {"psnr": "dB", "ssim": "of 1"}


def make_data(folder: Path, size: Size) -> None:
    """Render pages and sort photographs into `folder`, for SETS and what is unseen of both."""
    side = max(192, size.side * 3 // 2)
    keep = [{"kind": "resolution", "minimum": size.side}]
    jobs: dict[str, Job] = {}
    for part, before, pages in (("train", "", size.pages), ("heldout", "unseen_", 16)):
        render = {"part": part, "width": side, "height": side}
        page = {"seed": len(jobs), "shards": 1, "samples_per_shard": pages, "render": render}
        jobs[f"{before}pages"] = RenderJob.model_validate(page)
        jobs[f"{before}photographs"] = FilterJob.model_validate({"part": part, "filter": keep})
    for name, job in jobs.items():
        (folder / name).mkdir()
        list(Run(job, folder / name, RunOptions(engine="inline")))  # this process has no children


def training(
    bench: Bench, folder: Path, out: Path, made: "AsyncResult[None]", speeds: Speeds, end: float
) -> Iterator[Row]:
    """Train the first preset until `end`, of time.monotonic(), on what `made` puts into `folder`.

    `out` gets the curves and the average of the weights.
    """
    preset, side = bench.size.presets[0], bench.size.side
    eager, compiled = (speeds.get((preset, side, way), 1.0) for way in (False, True))
    made.get()
    batch = bench.size.micro(side)
    # Compiling, loading and watching take a part; should they take more, the time cuts the run.
    planned = 0.6 * (end - time.monotonic()) * max(eager, compiled)
    samples = batch * max(8, round(planned / batch))
    stage: dict[str, Any] = {"name": "pages and photographs", "resolution": side, "aspects": [1.0]}
    stage |= {"samples": samples, "batch": batch, "micro": batch}
    stage |= {"shares": {"photographs": 0.3, "pages": 0.7}}
    changes: dict[str, Any] = {"stages": [stage], "resized": ["photographs"], "latent_batches": 8}
    changes |= {"compile": compiled > eager, "rate": {"peak": RATE, "warmup": samples // 20}}
    changes |= {"log_every": 8, "checkpoint_every": samples, "watch_every": max(1, samples // 8)}
    asked = Asked()

    def look(row: Mapping[str, Any]) -> None:
        del row
        if time.monotonic() > end:
            asked.by = signal.SIGTERM

    start, run = time.monotonic(), open_store(folder / "run")
    with suppress(SystemExit):  # when the time is over, after a checkpoint
        fit(
            bench.settings(preset, side, **changes),
            {name: folder / name for name in SETS},
            folder / "run",
            ranks=bench.ranks,
            loaders=max(0, min(8, len(os.sched_getaffinity(0)) - 2)) if bench.on_gpu else 0,
            progress=look,
            watched={name: folder / f"unseen_{name}" for name in SETS},
            asked=asked,
        )
    seconds = time.monotonic() - start
    log, watched = rows(run, "metrics.jsonl"), rows(run, "watch.jsonl")
    keep(folder / "run", out, log, watched)
    of = f"trained: {preset}, {side} px"
    yield Row(f"{of}, samples", log[-1]["n"], "images")
    yield Row(f"{of}, all in all", log[-1]["n"] / seconds, "images/s")
    for name, scores in watched[-1]["sets"].items() if watched else ():
        for codec, who in (("model", preset), ("dct", "DCT codec")):
            for metric, unit in UNITS.items():
                value = scores.get(codec, {}).get(metric)
                yield Row(f"{of}: {metric}, unseen {name}, {who}", value, unit)


def keep(
    run: Path, out: Path, log: Sequence[Mapping[str, Any]], watched: Sequence[Mapping[str, Any]]
) -> None:
    """Copy what a run came to: curves.jsonl, curves.png, report.html and weights in float16."""
    lines = [json.dumps(row) for row in (*log, *watched)]
    (out / "curves.jsonl").write_text("\n".join(lines) + "\n")
    draw(out / "curves.png", log, watched)
    shutil.copy(report_on_training(open_store(run)), out / "report.html")
    model = load_model(run)
    note = {"settings": model.settings.model_dump(mode="json"), "n": log[-1]["n"]}
    write_weights(out / "weights", model.state_dict(), note)


def draw(
    path: Path, log: Sequence[Mapping[str, Any]], watched: Sequence[Mapping[str, Any]]
) -> None:
    """Draw the loss and what the watched sets scored over the samples seen."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), dpi=110, layout="constrained")
    loss, psnr = figure.subplots(1, 2)
    loss.plot([row["n"] for row in log], [row["total"] for row in log])
    loss.set(xlabel="samples seen", ylabel="loss", yscale="log")
    at = [row["n"] for row in watched]
    for colour, name in enumerate(SETS if watched else ()):
        for codec, line in (("model", "-"), ("dct", "--")):
            scores = [row["sets"][name].get(codec, {}).get("psnr") for row in watched]
            psnr.plot(
                at,
                scores,
                line,
                color=f"C{colour}",
                label=f"{name}{', DCT codec' if codec == 'dct' else ''}",
            )
    psnr.set(xlabel="samples seen", ylabel="PSNR of unseen images, dB")
    psnr.legend(frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Software": None})


def write_weights(folder: Path, tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> None:
    """Write tensors as float16 in parts of at most PART bytes, with the hub's index beside them.

    `note` goes into the index.
    """
    folder.mkdir(exist_ok=True)
    parts: list[dict[str, Tensor]] = [{}]
    room = PART
    for name, tensor in tensors.items():
        half = tensor.half() if tensor.is_floating_point() else tensor
        if parts[-1] and half.nbytes > room:
            parts.append({})
            room = PART
        parts[-1][name] = half.contiguous()
        room -= half.nbytes
    places: dict[str, str] = {}
    for number, part in enumerate(parts, 1):
        file = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        save_file(part, folder / file)
        places |= dict.fromkeys(part, file)
    index = {"metadata": dict(note), "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")
