"""Filters: images per second of each, one core, on photographs and pages of 512 px."""

import cv2

from benchmarks._rows import Row, main, rate
from filters import FILTERS, Filter
from render import Renderer, RenderSettings
from shards import RGB, ImageSource


def measure(quick: bool) -> list[Row]:
    """Images of 512 px per second and core, half photographs, half rendered pages."""
    cv2.setNumThreads(1)
    images = _images()
    rows: list[Row] = []
    for kind, settings in FILTERS.items():
        one: Filter = settings()

        def judge(one: Filter = one) -> int:
            for pixels in images:
                one.reason(one.score(pixels))
            return len(images)

        rows.append(Row(kind, rate(judge, seconds=3.0 if quick else 15.0), "images/s"))
    return rows


def _images(side: int = 512, count: int = 4) -> list[RGB]:
    source = ImageSource.embedded()
    photographs = (source.read(i).pixels() for i in range(len(source)))
    large = [pixels[:side, :side] for pixels in photographs if min(pixels.shape[:2]) >= side]
    renderer = Renderer(RenderSettings(width=side, height=side), seed=0)
    pages = [renderer.sample(i).pixels() for i in range(count)]
    return large[:count] + pages


if __name__ == "__main__":
    main(measure)
