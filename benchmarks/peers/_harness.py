"""What the scripts of all peers share; runs in their environments: NumPy, Pillow, nothing else."""

import argparse
import io
import json
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from benchmarks.peers.measure import PeerResult


@dataclass(frozen=True)
class Line:
    """Text whose pen starts at `x` on the baseline `y`, both px; `size_px` is the em."""

    text: str
    x: float
    y: float
    size_px: float
    font: str
    index: int
    colour: tuple[int, int, int]


@dataclass(frozen=True)
class Page:
    """A photograph of the page's size and the lines to draw on it."""

    background: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Spec:
    """Pages of `width` x `height` px."""

    width: int
    height: int
    language: str
    pages: tuple[Page, ...]

    @property
    def lines(self) -> list[Line]:
        """The lines of all pages."""
        return [line for page in self.pages for line in page.lines]


class Peer(Protocol):
    """A renderer. `load` may do anything once; only `draw` is measured."""

    name: str
    package: str
    note: str
    keeps_glyphs: bool
    """Whether it caches glyphs for good: it is then warmed on all pages, else on one other."""

    def load(self, spec: Spec) -> None:
        """Open fonts; work out where strips belong, since placing lines is not the peer's work."""
        ...

    def draw(self, page: Page, photograph: Image.Image) -> Image.Image:
        """Return an RGB picture of the page; `photograph` (RGB) must stay as it is."""
        ...


def main(peer: Peer) -> None:
    """Measure one peer as a command; print a `PeerResult` as one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("spec", type=Path)
    parser.add_argument("--pages", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    spec = read_spec(given.spec)
    # A page drawn before would come from typst's memory, so the warm-up has a page of its own.
    pages = spec.pages[: max(1, min(given.pages, len(spec.pages) - 1))]
    result = measure(peer, spec, pages, given.seconds, given.picture)
    print(json.dumps(asdict(result)))


def read_spec(path: Path) -> Spec:
    """Read the pages that every peer draws."""
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    pages = tuple(
        Page(page["background"], tuple(_line(line) for line in page["lines"]))
        for page in record["pages"]
    )
    return Spec(record["width"], record["height"], record["language"], pages)


def _line(record: dict[str, Any]) -> Line:
    values: dict[str, Any] = {**record, "colour": tuple(record["colour"])}
    return Line(**values)


def measure(
    peer: Peer, spec: Spec, pages: tuple[Page, ...], seconds: float, picture: Path | None
) -> PeerResult:
    """Draw and encode `pages` for `seconds`, at most half of it to warm up; one page at least."""
    photographs = {page.background: _photograph(page, spec) for page in spec.pages}
    peer.load(spec)
    deadline = time.perf_counter() + seconds
    _warm(peer, pages if peer.keeps_glyphs else spec.pages[-1:], photographs, deadline)
    done = characters = 0
    cpu = wall = encode = 0.0
    for page in pages:
        began, began_cpu = time.perf_counter(), time.process_time()
        image = peer.draw(page, photographs[page.background])
        drawn_cpu, drawn = time.process_time(), time.perf_counter()
        image.save(io.BytesIO(), "JPEG", quality=95, subsampling=0)
        encode += time.process_time() - drawn_cpu
        cpu += drawn_cpu - began_cpu
        wall += drawn - began
        done += 1
        characters += sum(len(line.text) for line in page.lines)
        if picture and done == 1:
            image.save(picture)
        if time.perf_counter() > deadline:
            break
    told = version(peer.package)
    peak = peak_mb()
    return PeerResult(peer.name, told, done, characters, cpu, wall, peak, encode, peer.note)


def _warm(
    peer: Peer, pages: tuple[Page, ...], photographs: dict[str, Image.Image], deadline: float
) -> None:
    """Draw pages that do not count, for half of the time that is left."""
    half = (time.perf_counter() + deadline) / 2
    for page in pages:
        peer.draw(page, photographs[page.background])
        if time.perf_counter() > half:
            break


def _photograph(page: Page, spec: Spec) -> Image.Image:
    with Image.open(page.background) as image:
        assert image.size == (spec.width, spec.height), f"{page.background} is {image.size}"
        return image.convert("RGB")


def peak_mb() -> float:
    """Return the most memory that this process has held.

    Not `getrusage`: Linux carries the parent's peak over into a child that it starts.
    """
    status = Path("/proc/self/status").read_text()
    (peak,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(peak.split()[1]) / 1024
