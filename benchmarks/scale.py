"""What the machinery around the shards costs, so that a billion samples can be planned.

Constants are measured here; docs/scale.md multiplies them up and says so.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks._empty import EmptyJob
from benchmarks._rows import Row, main
from pipelines.engine.attempts import Made
from pipelines.engine.jobs import RenderJob
from pipelines.engine.run_options import RunOptions
from pipelines.engine.workers import Run
from shards import Sample, ShardReader, ShardWriter
from shards.dataset import Dataset
from shards.sidecar import Sidecar, shard_name, sidecar_name
from shards.store import Folder
from shards.totals import Totals

SHARDS = 100_000
"""Shards of a billion samples, at SAMPLES each."""

SAMPLES = 10_000
"""Samples in a shard of the plan in docs/scale.md."""


PRICE = 0.04
"""Price of a core-hour in the plan, in any currency (our choice, to be replaced by yours)."""


def measure(quick: bool) -> list[Row]:
    """Costs of scheduling, listing, resuming and reading, a shard and a sample."""
    tasks = 5_000 if quick else SHARDS
    rows = [
        *_engine("processes", tasks),
        *_engine("ray", 2_000 if quick else SHARDS),
        *_listing(10_000 if quick else SHARDS),
        *_sidecars(2 if quick else 10, 100 if quick else 1000),
        *_rendering(16 if quick else 64),
    ]
    return rows + billion({row.name: row.value for row in rows if row.value is not None})


def billion(measured: dict[str, float]) -> list[Row]:
    """Multiply the constants up to SHARDS shards of SAMPLES samples."""
    samples = SHARDS * SAMPLES
    milliseconds = SHARDS / 1e3
    hours = measured["render_pages: CPU time a sample"] * samples / 1e3 / 3600
    listed, read = "listing with sizes, a shard", "resuming: ends of sidecars added up, a shard"
    index = measured["index of a ShardReader, bytes a sample"] * samples / 1e9
    rows = {
        ("scheduling by processes", "s"): measured["processes: wall time a shard"] * milliseconds,
        ("scheduling by Ray", "s"): measured["ray: wall time a shard"] * milliseconds,
        ("listing a folder", "s"): measured[listed] * SHARDS / 1e6,
        ("sidecars", "GB"): measured["sidecar, bytes a sample"] * samples / 1e9,
        ("resuming a driver", "s"): measured[read] * SHARDS / 1e6,
        ("index of one ShardReader", "GB"): index,
        ("tars of render_pages", "TB"): measured["render_pages: bytes a sample"] * samples / 1e12,
        ("rendering", "core-hours"): hours,
        (f"cost at {PRICE:g} a core-hour", "of that currency"): hours * PRICE,
    }
    return [Row(f"a billion samples: {what}", value, unit) for (what, unit), value in rows.items()]


def _engine(engine: str, tasks: int) -> list[Row]:
    """Run empty shards through an engine in a driver of its own, and ask for its peak memory."""
    code = (
        f"from benchmarks.scale import drive\nif __name__ == '__main__': drive({engine!r}, {tasks})"
    )
    with tempfile.TemporaryDirectory() as name:
        script = Path(name) / "drive.py"
        script.write_text(f"import sys; sys.path.insert(0, {str(Path.cwd())!r})\n{code}\n")
        done = subprocess.run(
            [sys.executable, str(script)],
            capture_output=True,
            text=True,
            check=False,
            # Else a local cluster leaves a token in the home folder, and later heads ask for it.
            env=os.environ | {"RAY_AUTH_MODE": "disabled"},
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
    seconds, cpu, before, after = map(float, done.stdout.split()[-4:])
    return [
        Row(f"{engine}: empty shards", tasks, "shards"),
        Row(f"{engine}: wall time a shard", seconds / tasks * 1e3, "ms"),
        Row(f"{engine}: CPU time of the driver a shard", cpu / tasks * 1e3, "ms"),
        Row(f"{engine}: peak memory of the driver after 100 shards", before, "MB"),
        Row(f"{engine}: peak memory of the driver after all", after, "MB"),
    ]


def drive(engine: str, tasks: int) -> None:
    """Run `tasks` empty shards and print seconds, CPU seconds, and peak MB early and late."""
    with tempfile.TemporaryDirectory() as name:
        run = Run(EmptyJob(shards=tasks), Path(name) / "out", RunOptions(engine, workers=2))
        totals, early, start, cpu = Totals(), 0.0, 0.0, 0.0
        for outcome in run:
            assert isinstance(outcome, Made)
            totals += outcome.totals
            if totals.shards == 100:
                early, start, cpu = peak(), time.perf_counter(), time.process_time()
        assert totals.shards == tasks
    sys.stdout.write(
        f"{time.perf_counter() - start} {time.process_time() - cpu} {early} {peak()}\n"
    )


def peak() -> float:
    """Return the largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _listing(shards: int) -> list[Row]:
    """List a folder with two small files a shard, as a resumed run does first."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for index in range(shards):
            stem = folder / f"part-{index:06d}"
            stem.with_suffix(".tar").touch()
            stem.with_suffix(".json").touch()
        store = Folder(folder)
        names, sizes = _timed(store.names), _timed(store.sizes)
    return [
        Row("listing a folder, a shard", names / shards * 1e6, "µs"),
        Row("listing with sizes, a shard", sizes / shards * 1e6, "µs"),
    ]


def _sidecars(shards: int, copies: int) -> list[Row]:
    """Write shards of SAMPLES tiny samples and read what a resumed run and a reader read."""
    noise = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        meta = {"kind": "render", "width": 512, "height": 512, "language": "en"}
        meta |= {"characters": 900, "size_px": (7.25, 13.5)}
        for shard in range(shards):
            with ShardWriter(folder, shard, recipe="0" * 64) as writer:
                for i in range(shard * SAMPLES, (shard + 1) * SAMPLES):
                    writer.write(Sample(f"{i:09d}", noise.bytes(32), "png", text="a", meta=meta))
        size = (folder / sidecar_name(0)).stat().st_size
        read = _timed(lambda: sum(1 for _ in Dataset(folder).sidecars()))
        tracemalloc.start()
        with ShardReader(folder) as reader:
            assert len(reader) == shards * SAMPLES
            index, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        resumed = _resumed(folder, copies)
    samples = shards * SAMPLES
    return [
        Row("sidecar, bytes a sample", size / SAMPLES, "bytes"),
        Row("parsing a whole sidecar, a sample", read / samples * 1e6, "µs"),
        Row("resuming: ends of sidecars added up, a shard", resumed / copies * 1e6, "µs"),
        Row("index of a ShardReader, bytes a sample", index / samples, "bytes"),
    ]


def _resumed(folder: Path, copies: int) -> float:
    """Return the seconds that a resumed run takes for `copies` of the first shard in `folder`."""
    held = json.loads((folder / sidecar_name(0)).read_text())
    held["entries"] = held["entries"][:100]  # its end is what counts, and longer than is read
    held["sums"]["samples"], held["sums"]["characters"] = 100, 100 * 900
    for note in folder.glob("part-*"):
        note.unlink()
    for shard in range(copies):
        tar = f"{shard_name(shard)}.tar"
        (folder / tar).write_bytes(b"")
        whole = held | {"tar": tar, "shard": shard, "bytes": 0}
        (folder / sidecar_name(shard)).write_text(Sidecar.model_validate(whole).text())
    return _timed(lambda: Dataset(folder).totals())


def _rendering(samples: int) -> list[Row]:
    """Render one shard of the recipe that ships: seconds and bytes a sample of 512 px."""
    from pipelines.recipe import load

    job = load(RenderJob, "render_pages", [f"samples_per_shard={samples}"])
    with tempfile.TemporaryDirectory() as name:
        store = Folder(Path(name))
        job.make_shard(0, store)  # fonts, corpus and glyphs
        start = time.process_time()
        made = job.make_shard(1, store)
        seconds = time.process_time() - start
    return [
        Row("render_pages: CPU time a sample", seconds / samples * 1e3, "ms"),
        Row("render_pages: bytes a sample", made.bytes / samples, "bytes"),
    ]


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main(measure)
