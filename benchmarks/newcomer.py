"""What a newcomer meets: the weight of the install, and quickstarts on all kinds of machines."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from statistics import median

import numpy as np
import torch
from packaging.requirements import Requirement
from PIL import Image

from benchmarks._rows import Row, main
from pipelines.engine.jobs import RenderJob
from pipelines.engine.workers import Run
from shards import RGB, ImageSource

LOADS = {"quiet": 0, "one busy process": 1, "a load of five": 5}
"""Processes that each want a core for themselves, beside the one that is measured."""

LONGER = {"one busy process": 1.8, "a load of five": 4.0}
"""How many times as long training may take beside them."""

PROMISED = {"one busy process": 960.0, "a load of five": None}
"""Seconds that a whole quickstart may take beside them; otherwise `QUIET`."""

QUIET = 480.0

OLDER = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "NUMBA_CPU_NAME": "haswell",
}
"""An older processor is simulated: torch, oneDNN, MKL and numba keep to AVX2; onnxruntime cannot be
told to, and OpenCV 5 knows no name for it. A real one is slower in other ways too."""

CUDA = ("torch", "triton", "nvidia-", "cuda-")

PHOTOGRAPHS, SIDES = 200, ((4032, 3024), (3024, 4032), (2048, 1536), (1600, 1067), (1280, 853))
"""What a user's own folder holds, px: photographs of a phone, and some made smaller."""

TILE = 300

BATCH = 4

RECIPE = """\
preset = "nano"
weights = {{ l1 = 1.0 }}
log_every = 1
checkpoint_every = 1000000

[[stages]]  # the quickstart's last
name = "synthetic text"
samples = 1000000
batch = {batch}
micro = 2
resolution = 128
aspects = [1.0]
shares = {{ synthetic = 1.0 }}
"""

WAYS = {
    "by default": ([], {}),
    "one process": (["--ranks", "1"], {}),
    "one process that spins": (["--ranks", "1"], {"OMP_WAIT_POLICY": "ACTIVE"}),
}
"""How to train on two cores: two ranks, by torch's threads, and by threads as libgomp has them."""


def measure(quick: bool) -> list[Row]:
    """What a newcomer meets: sizes, training beside busy processes, and whole quickstarts."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [*installed(), *training(Path(folder), rounds=1 if quick else 3, quick=quick)]
        return rows if quick else [*rows, *quickstarts(Path(folder))]


def installed() -> list[Row]:
    """What the extras weigh that `make` installs, in this environment."""
    sizes = {extra: _sizes(extra) for extra in ("ocr,train", "dev")}
    torch = sum(size for name, size in sizes["ocr,train"].items() if name.startswith(CUDA))
    return [
        Row("installed by make quickstart", sum(sizes["ocr,train"].values()) / 1e9, "GB"),
        Row("torch, Triton and CUDA in it", torch / 1e9, "GB"),
        Row("installed by make test", sum(sizes["dev"].values()) / 1e9, "GB"),
    ]


def training(folder: Path, *, rounds: int, quick: bool) -> list[Row]:
    """Train on, while other processes come and go in turns."""
    seconds = 2.0 if quick else 20.0
    pages = RenderJob.model_validate({"shards": 1, "samples_per_shard": 32})
    list(Run(pages, folder / "pages"))
    (folder / "run.toml").write_text(RECIPE.format(batch=BATCH))
    rows: list[Row] = []
    speed: dict[str, dict[str, float]] = {}
    for way, (options, environment) in WAYS.items():
        out = folder / f"train {way}"
        command = ["-m", "pipelines.train", str(folder / "run.toml"), *options]
        command += ["--stream", f"synthetic={folder / 'pages'}", "--out", str(out)]
        seen: dict[str, list[float]] = {load: [] for load in LOADS}
        with _beside(command, environment):
            _until(out, 20)
            for _ in range(rounds):
                for load, processes in LOADS.items():
                    with busy(processes):
                        time.sleep(0.5)
                        begun, images = time.perf_counter(), _images(out)
                        time.sleep(seconds)
                        trained = _images(out) - images
                        seen[load].append(trained / (time.perf_counter() - begun))
        speed[way] = {load: median(each) for load, each in seen.items()}
        for load, value in speed[way].items():
            rows.append(Row(f"training, {way}: {load}", value, "images/s"))
        for load, limit in LONGER.items():
            longer = speed[way]["quiet"] / max(speed[way][load], 1e-9)
            target = limit if way == "by default" else None
            rows.append(Row(f"{way}: {load} takes longer", longer, "times", target, "lower"))
    usual, spinning = (speed[way]["quiet"] for way in ("by default", "one process that spins"))
    lost = 100 * (1 - usual / max(spinning, 1e-9))
    return [*rows, Row("lost beside one process that spins: quiet", lost, "%", 5.0, "lower")]


def quickstarts(folder: Path) -> list[Row]:
    """Whole quickstarts: seconds of every step."""
    images = folder / "photographs"
    photographs(images)
    home = {"HOME": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "home" / "cache")}
    (folder / "home").mkdir()
    given = ["--images", str(images)]
    turns: list[tuple[str, int, dict[str, str], list[str]]] = [
        ("empty HOME", 0, home, []),
        *((load, processes, home, []) for load, processes in LOADS.items()),
        (f"{PHOTOGRAPHS} photographs of one's own", 0, home, given),
    ]
    if _has_avx512():
        cold = {name: value.replace("home", "older") for name, value in home.items()}
        (folder / "older").mkdir()
        turns += [
            ("empty HOME, no AVX-512 (simulated)", 0, OLDER | cold, []),
            ("no AVX-512 (simulated)", 0, OLDER | cold, []),
            (f"{PHOTOGRAPHS} photographs, no AVX-512 (simulated)", 0, OLDER | cold, given),
        ]
    rows: list[Row] = []
    for number, (name, processes, environment, options) in enumerate(turns):
        out = folder / f"quickstart{number}"
        command = [sys.executable, "-m", "pipelines.quickstart", "--out", str(out), *options]
        with busy(processes):
            subprocess.run(
                command, env=_environment(environment), check=True, stdout=subprocess.DEVNULL
            )
        steps: dict[str, float] = json.loads((out / "times.json").read_text())
        rows += [Row(f"quickstart, {name}: {step}", value, "s") for step, value in steps.items()]
        limit = PROMISED.get(name, QUIET)
        rows.append(Row(f"quickstart, {name}: all", sum(steps.values()), "s", limit, "lower"))
    return rows


@contextmanager
def busy(processes: int) -> Generator[list[subprocess.Popen[bytes]], None, None]:
    """Keep so many processes at work that never wait, and give them."""
    started = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def photographs(folder: Path) -> None:
    """Write photographs of many megapixels: crops of the embedded ones, side by side."""
    folder.mkdir()
    source = ImageSource.embedded()
    images = [source.read(i).pixels() for i in range(len(source))]
    images = [image for image in images if min(image.shape[:2]) >= TILE]
    for i in range(PHOTOGRAPHS):
        rng = np.random.default_rng(i)
        width, height = SIDES[i % len(SIDES)]
        tiles = [
            [_crop(images[rng.integers(len(images))], rng) for _ in range(0, width, TILE)]
            for _ in range(0, height, TILE)
        ]
        whole = np.concatenate([np.concatenate(row, axis=1) for row in tiles])
        Image.fromarray(whole[:height, :width]).save(folder / f"{i:03d}.jpg", quality=92)


def _crop(image: RGB, rng: np.random.Generator) -> RGB:
    y, x = (rng.integers(0, side - TILE + 1) for side in image.shape[:2])
    return image[y : y + TILE, x : x + TILE]


@contextmanager
def _beside(command: Sequence[str], environment: Mapping[str, str]) -> Generator[None, None, None]:
    """Run Python with these arguments meanwhile."""
    process = subprocess.Popen(
        [sys.executable, *command],
        env=_environment(environment),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """As a user's: without what says how many threads wait how."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))} | {**more}


def _images(out: Path) -> int:
    """Count the images trained on until now."""
    path = out / "metrics.jsonl"
    return BATCH * path.read_bytes().count(b"\n") if path.exists() else 0


def _until(out: Path, images: int) -> None:
    deadline = time.monotonic() + 300
    while _images(out) < images:
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {images} images were trained on in 300 s; try it without busy")
        time.sleep(0.1)


def _sizes(extras: str) -> dict[str, int]:
    """Return the bytes of every package that nonpareil[extras] brings, by name."""
    sizes: dict[str, int] = {}
    waiting, asked = [f"nonpareil[{extras}]"], set[str]()
    while waiting:
        wanted = Requirement(waiting.pop())
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        for extra in ("", *wanted.extras):
            if f"{name}[{extra}]" in asked:
                continue
            asked.add(f"{name}[{extra}]")
            try:
                package = distribution(name)
            except PackageNotFoundError:
                continue
            files = (Path(str(package.locate_file(file))) for file in package.files or ())
            sizes[name] = sum(file.stat().st_size for file in files if file.is_file())
            for needed in map(Requirement, package.requires or ()):
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    needed.marker = None
                    waiting.append(str(needed))
    return sizes


def _has_avx512() -> bool:
    return torch.backends.cpu.get_cpu_capability() == "AVX512"


if __name__ == "__main__":
    main(measure)
