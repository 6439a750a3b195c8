"""The preview of a recipe: what its pages look like, before any shard is made.

`nonpareil render RECIPE --preview FILE`: one HTML page that needs nothing else, or one PNG.
"""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from PIL import Image

from pipelines.engine.progress import progress_bar
from render import DIFFICULTY, versions
from render.gallery import TIMES, Gallery
from render.variations import variations
from shards.inspect.page import write_page
from shards.inspect.sheet import lay_out
from shards.places import file_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipelines.engine.jobs import RenderJob
    from render.gallery import Crop
    from shards.store import Where

COLUMNS = 5
"""Pages side by side on the contact sheet."""

T = TypeVar("T")


def preview_recipe(job: RenderJob, recipe: str, file: Where) -> dict[str, Any]:
    """Draw what a recipe makes and return what was written: file, pages, bytes, seconds, caution.

    Args:
        job: the recipe as read.
        recipe: its name or path; the name alone is shown.
        file: a .html for the whole gallery, a .png for a contact sheet; here or in a bucket.

    Raises:
        UserError: when the file has another ending or cannot be written, before anything is drawn.
    """
    above, name = file_at(file, "--preview", MAKERS)
    start = time.monotonic()
    pages, data = MAKERS[Path(name).suffix.lower()](job, Path(recipe).stem)
    above.replace(name, data)
    seconds = round(time.monotonic() - start, 1)
    made = {"file": str(file), "pages": pages, "bytes": len(data), "seconds": seconds}
    return made | {"caution": job.caution()}


def _html(job: RenderJob, name: str) -> tuple[int, bytes]:
    """Return how many pages are shown, and the HTML."""
    gallery = _gallery(job)
    total = len(gallery.pairs) + len(gallery.compared) * (len(DIFFICULTY) + 1)
    with progress_bar() as bar:
        task = bar.add_task("preview", total=total, note="")

        def counted(items: Iterable[T]) -> Iterator[T]:
            for item in items:
                yield item
                bar.advance(task)

        pages = list(counted(gallery.pages()))
        sizes = list(counted(gallery.sizes()))
        varied = list(counted(variations(gallery)))
    text = write_page(
        Path(__file__).parent / "templates" / "gallery.html",
        name=name,
        recipe=job.model_dump(mode="json"),
        digest=job.digest,
        seed=job.seed,
        versions=versions(),
        layouts=gallery.layouts,
        languages=gallery.languages,
        pages=pages,
        sizes=sizes,
        variations=varied,
        times=TIMES,
    )
    return len(pages) + sum(card.page is not None for card in sizes), text.encode()


def _png(job: RenderJob, name: str) -> tuple[int, bytes]:
    """Lay a crop of every layout out in a grid, and below it details of the smallest lines."""
    del name
    gallery = _gallery(job)
    shown: list[Crop] = []
    with progress_bar() as bar:
        task = bar.add_task("preview", total=len(gallery.layouts), note="")
        for crop in gallery.crops():
            shown.append(crop)
            bar.advance(task)
    columns = min(COLUMNS, len(shown))
    smallest = sorted(shown, key=lambda crop: crop.smallest_px)[:columns]
    pages = [(crop.page, crop.title) for crop in shown]
    rows = [pages[i : i + columns] for i in range(0, len(pages), columns)]
    rows.append([(crop.detail, crop.caption) for crop in smallest])
    stream = io.BytesIO()
    Image.fromarray(lay_out(rows)).save(stream, "PNG", optimize=True)
    return len(shown), stream.getvalue()


def _gallery(job: RenderJob) -> Gallery:
    return Gallery.of(job.render, job.seed, lambda: job.renderer)


MAKERS = {".html": _html, ".png": _png}
