"""The default mixture of `render_pages` beside the headline of `benchmarks.render`."""

import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from benchmarks._rows import Row, machine, print_rows, write_rows
from benchmarks.render import HEADLINE, store_photographs
from pipelines.engine.jobs import RenderJob
from pipelines.recipe import load
from shards.console import run_command

SIDES = (256, 512, 1024)

TIMES_HEADLINE = 1.6
"""Most that a page of the default mixture may cost, as a multiple of the headline's."""

TIMES_BESIDE = 2.5
"""How many times faster than commit dd695f5 it was to become."""

TIMES_WARM = 1.3
"""Most that a run in an empty cache may take, as a multiple of the same run again."""

LATER = {
    *("layout", "han_variants", "embedded_fonts", "character_shares", "outline_share"),
    *("bare_share", "plate_share", "sheet_share", "plate_opacity", "sheet_opacity"),
}
"""Settings that older commits do not know, or mean otherwise; ours are the defaults."""

HERE = Path(__file__).parents[1]

_LOOPS = """
import render
from render.compiled import make_ready
make_ready()
"""

_PAGES = """
import json, sys, tempfile, time
from pathlib import Path
from render import Renderer, RenderSettings
from shards import ShardWriter
settings, atlas, count = json.loads(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
renderer = Renderer(RenderSettings.model_validate(settings), 0, atlas=atlas)
glyphs = renderer.material.atlas if hasattr(renderer, "material") else renderer.atlas

def pages(first, stop, writer):
    for index in range(first, stop):
        if index % 8 == 0:
            renderer.backgrounds.forget()
        writer.write(renderer.sample(index))

with tempfile.TemporaryDirectory() as folder:
    with ShardWriter(Path(folder), 0, recipe="benchmark") as writer:
        pages(10**6, 10**6 + 16, writer)  # imports, compiled loops
        start = time.process_time()
        pages(0, count, writer)
        print((time.process_time() - start) / count)
glyphs.save()
"""


def measure(
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="At most a minute on two cores: fewer pages.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--json", help="Write the rows here.")] = None,
    beside: Annotated[
        Path | None,
        typer.Option(
            help="A worktree of another commit: its pages are measured in turns with ours.",
            file_okay=False,
            exists=True,
        ),
    ] = None,
) -> None:
    """Pages of the default mixture: CPU time of one thread, and a job of two workers.

    Each figure is of the first pages of a new process, as in a shard; their glyphs are in the
    atlas from a run before. Photographs are decoded anew for the eight pages that share one.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [*_pages(folder, beside, quick=quick), *_jobs(folder, 64 if quick else 1024)]
    print_rows((measure.__doc__ or "").partition("\n")[0], rows, machine())
    if out:
        write_rows(out, rows, machine())


def _pages(folder: Path, beside: Path | None, *, quick: bool) -> Iterator[Row]:
    """Measure in turns, and take the least disturbed of all rounds."""
    photographs = str(store_photographs(folder / "photographs"))
    mixture = load(RenderJob, "render_pages", []).render.model_dump(mode="json")
    if beside:
        mixture["size_px"] = [5, 20]  # older commits know no sizes by language
    trees = {"ours": HERE, **({"theirs": beside.resolve()} if beside else {})}
    for side in SIDES[:1] if quick else SIDES:
        size: dict[str, Any] = {"width": side, "height": side, "photographs": photographs}
        kinds = {"default": mixture | size, "headline": HEADLINE | size}
        count = (8 if quick else 256) * 1024 // side
        taken = defaultdict[tuple[str, str], list[float]](list)
        for _ in range(2 if quick else 4):
            for whose, tree in trees.items():
                for kind, settings in kinds.items():
                    seconds = _cpu_seconds(tree, settings, folder / f"atlas-{whose}", count)
                    taken[whose, kind].append(seconds)
        # The first round draws the glyphs.
        least = {key: min(seconds[1:]) for key, seconds in taken.items()}
        own = least["ours", "default"]
        yield Row(f"{side} px: default page", 1e3 * own, "ms/page", better="lower")
        yield Row(
            f"{side} px: headline page", 1e3 * least["ours", "headline"], "ms/page", better="lower"
        )
        ratio = own / least["ours", "headline"]
        yield Row(f"{side} px: default / headline", ratio, "ratio", TIMES_HEADLINE, "lower")
        if beside:
            ratio = least["theirs", "default"] / own
            name = f"{side} px: times as fast as at the commit beside"
            yield Row(name, ratio, "ratio", TIMES_BESIDE)


def _cpu_seconds(tree: Path, settings: dict[str, Any], atlas: Path, count: int) -> float:
    """Return the CPU seconds of a page, of `count` pages in a new process of a tree."""
    known = {
        name: value for name, value in settings.items() if value is not None and name not in LATER
    }
    command = [sys.executable, "-c", _PAGES, orjson.dumps(known).decode(), str(atlas), str(count)]
    told = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=tree, env=_environment(tree)
    )
    return float(told.stdout)


def _jobs(folder: Path, per_shard: int) -> Iterator[Row]:
    """Make two shards of 256 px by two workers, in an empty cache and again."""
    settings = {
        "shards": 2,
        "samples_per_shard": per_shard,
        "render.width": 256,
        "render.height": 256,
    }
    command = [sys.executable, "-m", "pipelines.render", "render_pages", "--workers", "2"]
    for name, value in settings.items():
        command += ["--set", f"{name}={value}"]
    caches = {"NONPAREIL_CACHE": "cache", "NUMBA_CACHE_DIR": "loops"}
    environment = _environment(HERE) | {name: str(folder / to) for name, to in caches.items()}
    loops = environment | {"NUMBA_CACHE_DIR": str(folder / "only loops")}
    cpu = _children_cpu()
    subprocess.run([sys.executable, "-c", _LOOPS], check=True, cwd=HERE, env=loops)
    compiled = _children_cpu()
    subprocess.run([sys.executable, "-c", _LOOPS], check=True, cwd=HERE, env=loops)
    added = (compiled - cpu) - (_children_cpu() - compiled)
    yield Row("compiling the loops adds", added, "CPU s", better="lower")
    seconds: dict[str, float] = {}
    for state in ("cold", "warm"):
        start, cpu = time.perf_counter(), _children_cpu()
        subprocess.run(
            [*command, "--out", str(folder / state)],
            check=True, capture_output=True, cwd=HERE, env=environment,
        )  # fmt: skip
        seconds[state] = time.perf_counter() - start
        title = f"{2 * per_shard:,} default pages by two workers: {state}"
        yield Row(title, seconds[state], "s", better="lower")
        yield Row(f"{title}, CPU", _children_cpu() - cpu, "CPU s", better="lower")
    ratio = seconds["cold"] / seconds["warm"]
    yield Row("cold / warm", ratio, "ratio", TIMES_WARM, "lower")


def _children_cpu() -> float:
    """Return the CPU seconds of all processes that were waited for."""
    times = os.times()
    return times.children_user + times.children_system


def _environment(tree: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}


if __name__ == "__main__":
    run_command(measure)
