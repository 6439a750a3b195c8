"""Rendering: pages and characters per second of one process, everything up to the PNG included."""

import time

from benchmarks._rows import Row, main
from render import Renderer, RenderSettings


def measure(quick: bool) -> list[Row]:
    """Pages per second of one process: plan, paint, boxes, JSON, PNG."""
    rows: list[Row] = []
    for side in (256, 512):
        for language in ("en", "zh"):
            settings = RenderSettings.model_validate(
                {
                    "width": side,
                    "height": side,
                    "languages": {language: 1},
                    "layouts": {"paragraph": 1},
                }
            )
            start = time.perf_counter()
            renderer = Renderer(settings, seed=0)
            started = time.perf_counter() - start
            pages, characters, seconds = _pages(renderer, budget=4.0 if quick else 20.0)
            name = f"{side} px {language}"
            rows += [
                Row(name, pages / seconds, "pages/s"),
                Row(f"{name}, text", characters / seconds, "characters/s"),
            ]
    rows.append(Row("renderer start", started, "s", 2.0, "lower"))
    return rows


def _pages(renderer: Renderer, budget: float) -> tuple[int, int, float]:
    """Render for `budget` seconds after the glyph caches have warmed up for a quarter of it."""
    index, warm = 0, time.perf_counter() + budget / 4
    while time.perf_counter() < warm:
        renderer.sample(index)
        index += 1
    first, characters, start = index, 0, time.perf_counter()
    while (seconds := time.perf_counter() - start) < budget:
        characters += renderer.sample(index).meta["characters"]
        index += 1
    return index - first, characters, seconds


if __name__ == "__main__":
    main(measure)
