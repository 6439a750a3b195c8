"""A training run on Ray that is killed on the way, against the same run in one process."""

import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._rows import Row, main
from benchmarks.ray_job import ROOT, Head, free_ports, must, wait_until
from pipelines.engine.jobs import RenderJob
from pipelines.engine.run_options import RunOptions
from pipelines.engine.workers import Run
from vae.training.checkpoint import HEADER, checkpoints

RECIPE = """\
# {steps} steps for benchmarks/ray_train.py
preset = "nano"
skip_start = 2
latent_batches = 2
log_every = 1
checkpoint_every = {every}
watch_every = {watch}
watch_images = 4
watch_side = 64
watch_read = 0

[[stages]]
name = "pages"
samples = {samples}
batch = 8
micro = 2
resolution = 32
aspects = [1.0]
shares = {{ pages = 1.0 }}
"""

PAGES = {
    "shards": 2,
    "samples_per_shard": 16,
    "render": {"width": 128, "height": 96, "size_px": [7, 14]},
}


def train_through_kills(folder: Path, *, steps: int) -> list[Row]:
    """Train one recipe alone, by torchrun, and by Ray jobs that are killed.

    The first job trains with 2 ranks; a quarter through a worker is killed with -9, halfway the
    driver. The second finishes with 1 rank.

    Returns:
        What happened, what it took, and whether the three ended the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, seed in (("pages", 0), ("unseen", 1)):
        pages = RenderJob.model_validate(PAGES | {"seed": seed})
        list(Run(pages, folder / name, RunOptions("inline")))
    recipe = folder / "run.toml"
    recipe.write_text(RECIPE.format(steps=steps, samples=8 * steps, every=steps, watch=2 * steps))

    def entry(out: str, *more: str) -> list[str]:
        sets = ["--stream", f"pages={folder / 'pages'}", "--watch", f"unseen={folder / 'unseen'}"]
        given = [str(recipe), *sets, "--out", str(folder / out)]
        return ["-m", "pipelines.train", *given, *more]

    (port,) = free_ports(1)
    started = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    _run([sys.executable, *entry("alone")])
    _run([*started, f"--master-port={port}", *entry("torchrun")])
    begun = time.monotonic()

    def reach(step: int) -> None:
        wait_until(lambda: _steps(folder / "ray") >= step, 1200, f"step {step} on Ray")

    with Head() as head:
        on_ray = ["python", *entry("ray", "--engine", "ray", "--ranks")]
        must(head.submit(*on_ray, "2", wait=False))
        reach(steps // 4)
        workers = head.kill("ray::RayTrainWorker", least=2)
        reach(steps // 2)
        drivers = head.kill("pipelines.train", least=1)
        wait_until(lambda: not head.count("ray::RayTrainWorker"), 120, "the end of its workers")
        killed = _steps(folder / "ray")
        must(head.submit(*on_ray, "1"))
    seconds = time.monotonic() - begun
    lines = (folder / "ray" / "metrics.jsonl").read_text().splitlines()
    taken = [json.loads(line)["step"] for line in lines]
    return [
        Row("steps", steps, "steps"),
        Row("workers killed -9", workers, "processes", 2),
        Row("drivers killed -9", drivers, "processes", 1),
        Row("steps when the driver died", killed, "steps"),
        Row("wall time with all restarts", seconds, "s"),
        Row("lines of metrics lost or doubled", _wrong(taken, steps), "lines", 0, "lower"),
        *(
            Row(f"{what} that differ from a single process's, {name}", count, unit, 0, "lower")
            for name, out in (("torchrun, 2 ranks", "torchrun"), ("Ray, 2 ranks then 1", "ray"))
            for what, unit, count in _differences(folder / "alone", folder / out)
        ),
    ]


def _run(command: Sequence[str]) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    must(
        subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
    )


def _steps(out: Path) -> int:
    path = out / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return json.loads(lines[-1])["step"] if lines else 0


def _wrong(taken: Sequence[int], steps: int) -> int:
    return len(set(range(1, steps + 1)) ^ set(taken)) + len(taken) - len(set(taken))


def _differences(a: Path, b: Path) -> list[tuple[str, str, int]]:
    """Compare the newest checkpoints: digest of the samples drawn, and bytes of all tensors."""
    safetensors: Any = importlib.import_module("safetensors.numpy")
    one, other = (out / checkpoints(out)[-1] for out in (a, b))
    drawn = [json.loads((place / HEADER).read_text())["drawn"] for place in (one, other)]
    files = {file.name for place in (one, other) for file in place.glob("*.safetensors")}
    count = 0
    for file in files:
        ours, theirs = (safetensors.load_file(place / file) for place in (one, other))
        for name in {*ours, *theirs}:
            bits = ours[name].tobytes(), theirs[name].tobytes()
            count += sum(x != y for x, y in zip(*bits, strict=True))
    return [
        ("digests of the samples drawn", "of 1", int(drawn[0] != drawn[1])),
        ("bytes of weights, average and moments", "bytes", count),
    ]


def measure(quick: bool) -> list[Row]:
    """Train on Ray through killed workers and drivers, and compare with one process."""
    if quick:
        with tempfile.TemporaryDirectory() as name:
            return train_through_kills(Path(name), steps=100)
    folder = ROOT / "runs" / "ray_train"
    shutil.rmtree(folder, ignore_errors=True)
    return train_through_kills(folder, steps=160)


if __name__ == "__main__":
    main(measure)
