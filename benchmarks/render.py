"""Rendering in one thread, everything included: from the photograph's bytes to the tar."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks._rows import Row, main
from benchmarks.peers import PeerResult, measure_peers
from render import Renderer, RenderSettings
from render.picture.backgrounds import PAGES_PER_PHOTOGRAPH
from render.settings import only
from render.type.fonts import Fonts
from shards import ImageSource, Sample, ShardWriter
from shards.sample import encode_jpeg

TARGETS = {(512, "en"): 120.0, (512, "zh"): 100.0, (1024, "en"): 45.0, (1024, "zh"): 40.0}
"""Pages per second that we ask of ourselves: 2 to 4 times the best peer."""

RATIO = 1.8
"""Most that a whole page may cost, as a multiple of its background and its encoding."""

START_S = 2.0
"""Longest start of a worker on a machine whose atlas is built, from nothing to its first page."""

CROPS = PAGES_PER_PHOTOGRAPH

HEADLINE: dict[str, Any] = {
    "languages": {"en": 1},
    "layouts": {"paragraph": 1},
    "flat_share": 0,
    **only("bare"),
    "format": "jpg",
}
"""Pages full of text; `benchmarks.mixture` compares the default mixture with them."""

STAGES: dict[str, tuple[str, ...]] = {
    "background": (
        "render.picture.backgrounds.Backgrounds.choose",
        "render.picture.backgrounds.Backgrounds.paint",
    ),
    "corpus": ("render.text.corpus.Corpus.draw",),
    "colour": ("render.page.choose", "render.picture.canvas.Canvas.lay"),
    "layout": ("render.renderer.Renderer._arranged",),
    "boxes": ("render.renderer.Renderer._placed", "render.renderer.describe"),
    "raster": ("render.renderer.draw",),
    "encode": ("render.renderer.encode",),
    "json": ("shards.sample.Sample.files",),
    "tar": ("shards.writer.ShardWriter.write",),
}
"""What each stage is made of; time inside another stage counts there."""


class Clock:
    """Seconds of each stage: time inside a nested stage is the nested one's."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self._open: list[str] = []
        self._since = 0.0

    def _switch(self) -> None:
        now = time.process_time()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function so that its time is counted."""

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            self._switch()
            self._open.append(stage)
            try:
                found = function(*args, **kwargs)
                # A generator does its work when it is read.
                return list(found) if isinstance(found, Iterator) else found
            finally:
                self._switch()
                self._open.pop()

        return wrapper

    @contextmanager
    def running(self) -> Generator[None]:
        """Time every stage inside the block."""
        with ExitStack() as stack:
            for stage, names in STAGES.items():
                for name in names:
                    path, _, attribute = name.rpartition(".")
                    owner = _resolved(path)
                    function = getattr(owner, attribute)
                    stack.enter_context(patch.object(owner, attribute, self.timed(stage, function)))
            yield


def _resolved(path: str) -> Any:
    module, _, rest = path.partition(".")
    found: Any = __import__(f"{module}.{rest.split('.')[0]}", fromlist=["_"])
    for part in rest.split(".")[1:]:
        found = getattr(found, part)
    return found


def measure(quick: bool) -> list[Row]:
    """Pages full of text, drawn, labelled, encoded and written: pages per CPU second of a thread.

    Every photograph is decoded anew for the eight pages that share it, as in a collection larger
    than memory. The atlas is built beforehand.
    """
    rows: list[Row] = []
    budget = 0.7 if quick else 10.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photographs = store_photographs(folder / "photographs")
        rows += _built(photographs, folder / "atlas", quick)
        for (side, language), target in TARGETS.items():
            renderer = _renderer(photographs, folder, side, language)
            title = f"{side} px {language}"
            seconds, pages, characters = _pages(renderer, folder, budget)
            rows.append(Row(title, pages / seconds, "pages/s", target))
            rows.append(Row(f"{title}: text", characters / seconds, "characters/s"))
            rows += _stages(renderer, folder, title, budget / 2)
        rows += _growth(photographs, folder, budget / 3)
        rows += _starts(photographs, folder, 2 if quick else 5)
        rows.append(Row("peak memory of a worker", _peak_mb(photographs, folder), "MB"))
        rows += _peers(photographs, folder, quick)
    return rows


def _built(photographs: Path, atlas: Path, quick: bool) -> list[Row]:
    """Fill the atlas (in a quick run, with the first strikes only)."""
    renderer = _renderer(photographs, atlas.parent, 512, "en", languages={"en": 1, "zh": 1})
    start, glyphs = time.process_time(), 0
    for number, (strike, codes) in enumerate(renderer.strikes()):
        if quick and number == 100:
            break
        glyphs += strike.fill(codes)
        if number % 200 == 0:
            renderer.material.atlas.save()
    renderer.material.atlas.save()
    seconds = time.process_time() - start
    size = sum(file.stat().st_size for file in atlas.iterdir()) / 1e6
    return [
        Row("atlas: glyphs", glyphs, "glyphs"),
        Row("atlas: built in", seconds, "CPU s"),
        Row("atlas: size", size, "MB"),
    ]


def _renderer(
    photographs: Path, folder: Path, side: int, language: str, **changes: Any
) -> Renderer:
    given = {
        "width": side,
        "height": side,
        "languages": {language: 1},
        "photographs": photographs,
    }
    settings = RenderSettings.model_validate(HEADLINE | given | changes)
    return Renderer(settings, seed=0, atlas=folder / "atlas")


def store_photographs(folder: Path) -> Path:
    """Store the embedded photographs as JPEG of quality 95, as collections have them."""
    folder.mkdir()
    source = ImageSource.embedded()
    for i in range(len(source)):
        (folder / f"{i:02d}.jpg").write_bytes(encode_jpeg(source.read(i).pixels()))
    return folder


def _pages(
    renderer: Renderer,
    folder: Path,
    budget: float,
    *,
    crops: int = CROPS,
    clock: "Clock | None" = None,
) -> tuple[float, int, int]:
    """Render for `budget` CPU seconds after a warm-up; return seconds, pages, characters."""
    first = 0
    for first in _until(budget, 0):
        _page(renderer, first, crops)
    # A folder of its own, since a shard is never written over another; removed again, since a
    # virtual machine charges for memory it has never touched.
    with (
        clock.running() if clock else nullcontext(),
        tempfile.TemporaryDirectory(dir=folder) as shards,
    ):
        start, last, characters = time.process_time(), first, 0
        with ShardWriter(Path(shards), 0, recipe="benchmark") as writer:
            for last in _until(budget, first + 1):
                sample = _page(renderer, last, crops)
                characters += sample.meta["characters"]
                writer.write(sample)
        return time.process_time() - start, last - first, characters


def _until(budget: float, first: int) -> Iterator[int]:
    """Count up from `first` until the CPU seconds are spent, in groups that share a photograph."""
    end, index = time.process_time() + budget, first
    while time.process_time() < end or index % CROPS:
        yield index
        index += 1


def _page(renderer: Renderer, index: int, crops: int) -> Sample:
    if index % crops == 0:
        renderer.backgrounds.forget()
    return renderer.sample(index)


def _stages(renderer: Renderer, folder: Path, title: str, budget: float) -> list[Row]:
    """Return the milliseconds that each stage takes of a page, and what they cost together.

    The ratio is taken for eight pages from one photograph and for one page from each.
    """
    rows: list[Row] = []
    for crops in (CROPS, 1):
        clock = Clock()
        _, pages, _ = _pages(renderer, folder, budget, crops=crops, clock=clock)
        total = sum(clock.seconds.values())
        least = clock.seconds["background"] + clock.seconds["encode"]
        if crops == CROPS:
            rows += [
                Row(f"{title}: {stage}", 1e3 * seconds / pages, "ms/page")
                for stage, seconds in clock.seconds.items()
            ]
        shared = f"{crops} crops" if crops > 1 else "1 crop"
        name = f"{title}: page / (background + encode), {shared} a photograph"
        rows.append(Row(name, total / least, "ratio", RATIO, "lower"))
    return rows


def _growth(photographs: Path, folder: Path, budget: float) -> list[Row]:
    """Return the time of a page per megapixel: level when the cost is linear."""
    rows: list[Row] = []
    for side in (256, 512, 1024, 2048):
        renderer = _renderer(photographs, folder, side, "en")
        seconds, pages, characters = _pages(renderer, folder, budget)
        megapixels = side * side * pages / 1e6
        rows.append(Row(f"{side} px en: growth", 1e3 * seconds / megapixels, "ms/megapixel"))
        rows.append(Row(f"{side} px en: density", characters / megapixels, "characters/megapixel"))
    return rows


_START = """
import sys, time
from pathlib import Path
from render import Renderer, RenderSettings
settings = RenderSettings.model_validate_json(sys.argv[1])
Renderer(settings, 0, atlas=Path(sys.argv[2])).sample(0)
"""


def _starts(photographs: Path, folder: Path, rounds: int) -> list[Row]:
    """Return the seconds from starting Python to the first page."""
    renderer = _renderer(photographs, folder, 512, "en", languages={"en": 1, "zh": 1})
    settings = renderer.settings.model_dump_json()
    command = [sys.executable, "-c", _START, settings, str(folder / "atlas")]
    taken: list[float] = []
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run(command, check=True)
        taken.append(time.perf_counter() - start)
    return [Row("worker start, first page included", min(taken), "s", START_S, "lower")]


_WORK = """
import re, sys
from pathlib import Path
from render import Renderer, RenderSettings
renderer = Renderer(RenderSettings.model_validate_json(sys.argv[1]), 0, atlas=Path(sys.argv[2]))
for index in range(200):
    renderer.sample(index)
# Not getrusage: there a child inherits the peak of the process that forked it.
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def _peak_mb(photographs: Path, folder: Path) -> float:
    """Return the peak of a process that makes 200 pages of 512 px, mapped glyphs included."""
    renderer = _renderer(photographs, folder, 512, "en", languages={"en": 1, "zh": 1})
    settings = renderer.settings.model_dump_json()
    command = [sys.executable, "-c", _WORK, settings, str(folder / "atlas")]
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(told.stdout) / 1024


def _peers(photographs: Path, folder: Path, quick: bool) -> list[Row]:
    """Draw the same lines with peers: our time of raster alone, and of page and encoding."""
    rows: list[Row] = []
    for side, language in TARGETS:
        if quick and side > 512:
            continue
        plain = {"blending": {"srgb": 1}, "subpixel_share": 0, **only("plate")}
        renderer = _renderer(photographs, folder, side, language, **plain)
        spec = folder / f"{side}{language}.json"
        count = 5 if quick else 17
        _specify(renderer, spec, count)
        ours = _ours(renderer, count - 1)
        title = f"{side} px {language}"
        rows.append(Row(f"{title}, ours: same lines drawn", 1 / ours, "pages/s"))
        for peer in measure_peers(spec, count - 1, 6.0 if quick else 60.0):
            rows += _against(peer, title, 1 / ours)
    return rows


def _against(peer: PeerResult, title: str, ours: float) -> list[Row]:
    if not peer.pages:
        return [Row(f"{title}, {peer.peer}: {peer.note}", 0.0, "pages/s")]
    theirs = peer.pages_per_second
    return [
        Row(f"{title}, {peer.peer} {peer.version}: same lines drawn", theirs, "pages/s"),
        Row(f"{title}, ours / {peer.peer}", ours / theirs, "ratio"),
    ]


def _specify(renderer: Renderer, spec: Path, count: int) -> None:
    """Write pages that peers can draw too: backgrounds as PNG, lines with one font each."""
    from shards import encode_png

    pages: list[dict[str, Any]] = []
    for index in range(count):
        plan = renderer.plan(index)
        ground = spec.with_name(f"{spec.stem}-{index}.png")
        ground.write_bytes(encode_png(renderer.backgrounds.paint(plan.background)))
        pages.append({"background": str(ground), "lines": _lines(renderer.material.fonts, plan)})
    side = renderer.settings.width
    language = next(iter(renderer.settings.languages))
    table = {"width": side, "height": side, "language": language, "pages": pages}
    spec.write_text(json.dumps(table))


def _lines(fonts: Fonts, plan: Any) -> list[dict[str, Any]]:
    return [
        {
            "text": line.text,
            "x": int(line.pens[0]) // 4,
            "y": line.baseline_px,
            "size_px": block.size_px,
            "font": str(fonts.faces[block.fonts[0].face].path),
            "index": fonts.faces[block.fonts[0].face].index,
            "colour": block.colour,
        }
        for block, line in plan.lines()
    ]


def _ours(renderer: Renderer, count: int) -> float:
    """Return the CPU seconds of painting a plan on a background that is there, as peers do."""
    plans = [renderer.plan(index) for index in range(count)]
    renderer.paint(plans[0])  # what is compiled or loaded at its first use is not timed
    seconds = 0.0
    for plan in plans:
        ground = renderer.backgrounds.paint(plan.background)
        with patch.object(renderer.backgrounds, "paint", lambda _, ground=ground: ground.copy()):
            start = time.process_time()
            renderer.paint(plan)
            seconds += time.process_time() - start
    return seconds / count


if __name__ == "__main__":
    main(measure)
