"""What the text of the default recipe stands on, beside what it stood on before it was asked to."""

from collections import Counter
from collections.abc import Iterator
from typing import TypeVar

import numpy as np

from benchmarks._rows import Row, main
from pipelines.engine.jobs import RenderJob
from pipelines.recipe import atlas_folder, load
from render import Plan, Renderer
from render.settings import RenderSettings

K = TypeVar("K")

PAGES = 2000

BEFORE = {"sheet": 44.0, "plate": 31.0, "flat": 11.0, "bare": 9.6, "outline": 4.9}
"""Parts of the characters in %, of 2,000 pages: sheets were chances inside layouts then, and
`contrast_floor` was 3."""

UNTOUCHED_BEFORE = 29.0
"""Median part of a page with a photograph on which no rectangle lay, in %."""

NAMES = {
    "bare": "on the bare photograph",
    "outline": "with an outline on the photograph",
    "plate": "on a plate",
    "sheet": "on a sheet",
    "flat": "on plain paper",
}

LEAST_ON_PHOTOGRAPHS, LEAST_UNTOUCHED = 45.0, 60.0
"""What is asked of characters bare or outlined, and of pages left untouched, in %."""


def measure(quick: bool) -> list[Row]:
    """What the characters of the default recipe stand on, in percent of them."""
    settings = load(RenderJob, "render_pages", []).render
    renderer = Renderer(settings, 0, atlas=atlas_folder())
    count = PAGES // 20 if quick else PAGES
    characters, lines = Counter[str](), Counter[str]()
    pages, opacities = Counter[str](), Counter[float]()
    untouched: list[float] = []
    fallbacks = 0
    for index in range(count):
        meta = renderer.sample(index).meta
        plan: Plan = meta["plan"]
        for line in meta["lines"]:
            drawn = len(line["text"]) - line["text"].count(" ")
            characters[line["ground"]] += drawn
            lines[line["ground"]] += 1
            if line["ground"] in ("plate", "sheet"):
                opacities[_opacity(plan, line["box"])] += drawn
        fallbacks += plan.fallbacks
        pages[plan.ground] += 1
        if plan.ground != "flat":
            untouched.append(100 * _untouched(plan))
    return [
        *_grounds(characters, lines),
        Row("before: page left untouched, median", UNTOUCHED_BEFORE, "%"),
        Row("now: page left untouched, median", float(np.median(untouched)), "%", LEAST_UNTOUCHED),
        *_asked(settings, pages),
        *_covers(opacities),
        Row("blocks and sheets that fell back, of a page", fallbacks / count, "mean"),
    ]


def _grounds(characters: Counter[str], lines: Counter[str]) -> Iterator[Row]:
    for when, found in (("before", BEFORE), ("now", _percent(characters))):
        for ground, name in NAMES.items():
            yield Row(f"{when}: characters {name}", found.get(ground, 0.0), "%")
        both = found.get("bare", 0.0) + found.get("outline", 0.0)
        target = LEAST_ON_PHOTOGRAPHS if when == "now" else None
        yield Row(f"{when}: characters bare or outlined", both, "%", target)
    for ground, part in _percent(lines).items():
        yield Row(f"lines {NAMES[ground]}", part, "%")


def _asked(settings: RenderSettings, pages: Counter[str]) -> Iterator[Row]:
    """Compare the shares of the recipe with the pages that were made."""
    made = _percent(Counter({name: count for name, count in pages.items() if name != "flat"}))
    for ground in ("bare", "outline", "plate", "sheet"):
        asked = 100 * getattr(settings, f"{ground}_share")
        yield Row(f"asked: pages with a photograph {NAMES[ground]}", asked, "%")
        yield Row(f"made: pages with a photograph {NAMES[ground]}", made.get(ground, 0.0), "%")


def _covers(opacities: Counter[float]) -> Iterator[Row]:
    for opacity, part in sorted(_percent(opacities).items()):
        yield Row(f"characters on a plate or sheet of opacity {opacity:g}", part, "%")


def _percent(counts: Counter[K]) -> dict[K, float]:
    total = max(1, counts.total())
    return {name: 100 * count / total for name, count in counts.most_common()}


def _untouched(plan: Plan) -> float:
    """Return the part of a page on which no rectangle lies; one without colour opens a window."""
    covered = np.zeros((plan.height, plan.width), np.bool_)
    for rect in plan.rects:
        covered[rect.box.slices] = rect.colour is not None
    return 1 - float(covered.mean())


def _opacity(plan: Plan, box: tuple[int, int, int, int]) -> float:
    """Return the opacity of the densest rectangle under the middle of a line."""
    left, top, right, bottom = box
    x, y = (left + right) // 2, (top + bottom) // 2
    under = (
        rect.opacity
        for rect in plan.rects
        if rect.box.left <= x < rect.box.right and rect.box.top <= y < rect.box.bottom
    )
    return max(under, default=0.0)


if __name__ == "__main__":
    main(measure)
