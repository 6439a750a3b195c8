"""How well text on bare photographs is read back, by its contrast and its em: the default floor.

Pages are drawn without a floor, so that text stands wherever it happens to, and an OCR engine
reads single lines of them. NED is the normalized edit distance of OmniDoc-TokenBench, 1 where all
of a line is read.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from benchmarks._rows import Row, main
from filters.ocr import Recognizer
from pipelines.recipe import atlas_folder
from render import Renderer, RenderSettings
from render.plan import Box, Language
from render.settings import only
from render.truth import CLEAR_PX
from shards import RGB
from vae import ned

CONTRASTS = (1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 21.0)
"""Edges of the bins of contrast, the WCAG ratio in the worst half em of a line."""

SIZES: dict[Language, tuple[tuple[int, int], ...]] = {
    "en": ((5, 6), (7, 8), (9, 12), (13, 20)),
    "zh": ((7, 9), (10, 12), (13, 20)),
}
"""Ranges of the em, px."""

LINES = 80
"""Lines read of each range of ems and of contrasts, where the pages hold as many."""

PAGES = 800
"""Most pages looked at for them in each language."""

LEAST, LONGEST = 6, 24
"""Characters of a line that are read: its first ones, and no shorter line."""


class Cell(NamedTuple):
    """A language, a range of ems in px and one of contrasts."""

    language: Language
    ems: tuple[int, int]
    contrasts: tuple[float, float]


def measure(quick: bool) -> list[Row]:
    """NED of lines on bare photographs, by em and by contrast in the worst half em."""
    reader, scores = Recognizer(), defaultdict[Cell, list[float]](list)
    for language in SIZES:
        for cell, text, picture in _lines(language, quick=quick):
            score = ned(text, "".join(reader.read_line(picture).split()))
            scores[cell].append(0.0 if score is None else score)
    return [*_curve(scores), *_clear(scores)]


def _lines(language: Language, *, quick: bool) -> Iterator[tuple[Cell, str, RGB]]:
    """Yield lines to read: their cell, their text without spaces, and a picture of them."""
    settings = RenderSettings.model_validate(
        {
            "width": 512,
            "height": 512,
            "flat_share": 0.0,
            "contrast_floor": 1.0,
            "languages": {language: 1.0},
            "layouts": {"paragraph": 1.0, "scatter": 1.0},
            **only("bare"),
        }
    )
    renderer = Renderer(settings, 1, atlas=atlas_folder())
    held, cells = Counter[Cell](), len(SIZES[language]) * (len(CONTRASTS) - 1)
    for index in range(PAGES // 50 if quick else PAGES):
        if sum(count == LINES for count in held.values()) == cells:
            return
        sample = renderer.sample(index)
        pixels: RGB | None = None
        for line in sample.meta["lines"]:
            cell = _cell(language, line)
            if cell is None or held[cell] == LINES:
                continue
            held[cell] += 1
            pixels = sample.pixels() if pixels is None else pixels
            height, width = pixels.shape[:2]
            inked = [box for box in line["characters"].tolist() if box[2] > box[0]][:LONGEST]
            box = Box.union(inked).grown(2).intersection(Box(0, 0, width, height))
            yield cell, "".join(line["text"].split())[:LONGEST], pixels[box.slices]


def _cell(language: Language, line: dict[str, Any]) -> Cell | None:
    if len("".join(line["text"].split())) < LEAST:
        return None
    for ems in SIZES[language]:
        for low, high in pairwise(CONTRASTS):
            if ems[0] <= line["size_px"] <= ems[1] and low <= line["contrast"] < high:
                return Cell(language, ems, (low, high))
    return None


def _curve(scores: dict[Cell, list[float]]) -> Iterator[Row]:
    for cell in sorted(scores):
        (smallest, largest), (low, high) = cell.ems, cell.contrasts
        name = f"{cell.language}, {smallest}–{largest} px: contrast {low:g} to {high:g}"
        yield Row(name, _mean(scores[cell]), "NED")
        yield Row(f"lines read: {name}", len(scores[cell]), "lines")


def _clear(scores: dict[Cell, list[float]]) -> Iterator[Row]:
    """Yield by contrast the NED of text that is clear by its size: the mean of its ranges."""
    clear = defaultdict[tuple[float, float], list[float]](list)
    for cell, held in scores.items():
        if cell.ems[0] >= CLEAR_PX["en" if cell.language == "en" else "zh"]:
            clear[cell.contrasts].append(_mean(held))
    for (low, high), means in sorted(clear.items()):
        yield Row(f"all clear text: contrast {low:g} to {high:g}", _mean(means), "NED")


def _mean(values: list[float]) -> float:
    return sum(values) / max(1, len(values))


if __name__ == "__main__":
    main(measure)
