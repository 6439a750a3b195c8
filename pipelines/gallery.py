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
from shards import UserError
from shards.inspect.page import write_page
from shards.inspect.sheet import lay_out
from shards.store import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipelines.engine.jobs import RenderJob
    from render.gallery import Crop

COLUMNS = 5
"""Pages side by side on the contact sheet."""

T = TypeVar("T")


def preview_recipe(job: RenderJob, recipe: str, file: Path) -> dict[str, Any]:
    """Draw what a recipe makes and return what was written: file, pages, bytes, seconds.

    Args:
        job: the recipe as read.
        recipe: its name or path; the name alone is shown.
        file: a .html for the whole gallery, a .png for a contact sheet.

    Raises:
        UserError: when the file has another ending or cannot be written, before anything is drawn.
    """
    make = MAKERS.get(file.suffix.lower())
    if make is None:
        raise UserError(f"--preview {file} ends in none of {', '.join(MAKERS)}; name such a file")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"--preview {file}: {file.parent} is a file; give a folder") from error
    if file.is_dir():
        raise UserError(f"--preview {file} is a folder; give the name of a file")
    start = time.monotonic()
    pages = make(job, Path(recipe).stem, file)
    seconds = round(time.monotonic() - start, 1)
    return {"file": str(file), "pages": pages, "bytes": file.stat().st_size, "seconds": seconds}


def _write_html(job: RenderJob, name: str, file: Path) -> int:
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
    write_atomically(file, text)
    return len(pages) + sum(card.page is not None for card in sizes)


def _write_png(job: RenderJob, name: str, file: Path) -> int:
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
    file.write_bytes(stream.getvalue())
    return len(shown)


def _gallery(job: RenderJob) -> Gallery:
    return Gallery.of(job.render, job.seed, lambda: job.renderer)


MAKERS = {".html": _write_html, ".png": _write_png}
