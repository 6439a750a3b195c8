"""The images: crops of rendered text and of photographs, cut once and mapped into memory.

Training sees the photographs of `ImageSource.embedded()` that are not held out, bare and behind
text; the scores come from the held-out ones and from text of another seed.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from render import Renderer, RenderSettings
from shards import RGB, ImageSource, Sample
from shards.source import Part

SIDE = 64
"""Side of a crop, px: the least that leaves an f32 model 2 x 2 latents."""

EMS = range(8, 41)
"""Em sizes of the text, px; log-uniform, so that each octave is as frequent."""

PER_PAGE = 4
"""Crops cut from a page of 256 px: rendering costs the most, and pages hold more than one."""

PAGE_EMS = (16, 24, 40)
"""Em sizes of the pages that are read at the end, px."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """How many crops of each kind, and pages of each em size."""

    train: int = 12_000
    held_out: int = 64
    pages: int = 8


@dataclass(frozen=True, slots=True)
class Crops:
    """All uint8 sRGB: crops (n, 64, 64, 3) by kind, pages (n, 256, 256, 3) by em size in px.

    `digest` is that of every pixel: results with another one cannot be compared.
    """

    train: dict[str, NDArray[np.uint8]]
    held_out: dict[str, NDArray[np.uint8]]
    pages: dict[int, NDArray[np.uint8]]
    digest: str


def load(folder: Path, amounts: Amounts) -> Crops:
    """Map the crops in `folder`; what is missing there is made first."""
    folder.mkdir(parents=True, exist_ok=True)
    train: dict[str, NDArray[np.uint8]] = {}
    held_out: dict[str, NDArray[np.uint8]] = {}
    for kind, cut in CUTS.items():
        name = folder / f"train-{kind}-{amounts.train}.npy"
        train[kind] = _mapped(name, partial(cut, "train", amounts.train))
        name = folder / f"heldout-{kind}-{amounts.held_out}.npy"
        held_out[kind] = _mapped(name, partial(cut, "heldout", amounts.held_out))
    pages = {
        em: _mapped(
            folder / f"pages-{em}-{amounts.pages}.npy", partial(pages_of, em, amounts.pages)
        )
        for em in PAGE_EMS
    }
    state = hashlib.sha256()
    for arrays in (train, held_out, pages):
        for array in arrays.values():
            state.update(array.data)
    return Crops(train, held_out, pages, state.hexdigest()[:16])


def _mapped(path: Path, make: Callable[[], list[RGB]]) -> NDArray[np.uint8]:
    if not path.exists():
        print(f"making {path.name}", flush=True)
        unfinished = path.with_suffix(".part.npy")
        np.save(unfinished, np.stack(make()))
        unfinished.replace(path)
    return np.load(path, mmap_mode="r")


def photographs(part: Part, count: int) -> list[RGB]:
    """Cut `count` crops from the photographs of a part, each as often."""
    source = ImageSource.embedded().part(part)
    pictures = [source.read(i).pixels() for i in range(len(source))]
    rng = np.random.default_rng([_seed(part), 0])
    return [_shrunk(pictures[i % len(pictures)], rng) for i in range(count)]


def _shrunk(pixels: RGB, rng: np.random.Generator) -> RGB:
    """Shrink a square, log-uniform from SIDE up to the whole short side; half are mirrored."""
    side = round(SIDE * (min(pixels.shape[:2]) / SIDE) ** rng.random())
    y, x = (int(rng.integers(size - side + 1)) for size in pixels.shape[:2])
    square = pixels[y : y + side, x : x + side]
    small = cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small[:, ::-1] if rng.random() < 0.5 else small).astype(np.uint8)


def text(part: Part, count: int) -> list[RGB]:
    """Cut `count` crops at native scale from rendered pages, each around a point of a line."""
    sizes = {em: 1 / em for em in EMS}
    renderer = Renderer(RenderSettings(size_px=sizes, part=part), _seed(part))
    rng = np.random.default_rng([_seed(part), 1])
    crops: list[RGB] = []
    for index in range(-(-count // PER_PAGE)):
        page = renderer.sample(index)
        pixels = page.pixels()
        crops += [_around_text(page, pixels, rng) for _ in range(PER_PAGE)]
    return crops[:count]


def pages_of(em: int, count: int) -> list[RGB]:
    """Render `count` pages of paragraphs in one em size, on held-out photographs."""
    settings = RenderSettings(size_px=(em, em), layouts={"paragraph": 1.0}, part="heldout")
    renderer = Renderer(settings, _seed("heldout") + em)
    return [renderer.sample(index).pixels() for index in range(count)]


def _seed(part: Part) -> int:
    """Return a seed for the images of a part; those of the runs are their own."""
    return 1_000 if part == "train" else 2_000


def _around_text(page: Sample, pixels: RGB, rng: np.random.Generator) -> RGB:
    lines = page.meta["lines"]
    left, top, right, bottom = lines[int(rng.integers(len(lines)))]["box"]
    h, w = pixels.shape[:2]
    # A point of the line comes to lie anywhere in the crop.
    x = int(rng.uniform(left, right) - SIDE * rng.random())
    y = int(rng.uniform(top, bottom) - SIDE * rng.random())
    x, y = min(max(x, 0), w - SIDE), min(max(y, 0), h - SIDE)
    return pixels[y : y + SIDE, x : x + SIDE]


CUTS: dict[str, Callable[[Part, int], list[RGB]]] = {"photo": photographs, "text": text}

KINDS = tuple(CUTS)
