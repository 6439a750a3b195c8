"""The report: what a folder or bucket of shards holds, as one HTML page that needs nothing else.

After one pass over all sidecars, which no damage stops, only those of the samples that are shown
are read again, so a dataset of any size can be looked at. The page carries no date: the same shards
give the same bytes.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from itertools import groupby
from math import isqrt
from typing import Any

import orjson

from shards.console import progress
from shards.dataset import read_files
from shards.errors import UserError
from shards.inspect.charts import HEIGHT, WIDTH, bars, charts, constants
from shards.inspect.check import Advance
from shards.inspect.contents import ROWS, Contents
from shards.inspect.page import SHARED, write_page
from shards.inspect.pictures import jpeg_uri, shrunk
from shards.inspect.sheet import choose
from shards.outputs import NOTE
from shards.places import file_at
from shards.sample import Sample
from shards.sidecar import (
    Dropped,
    Entry,
    Sidecar,
    read_sidecar,
    sidecar_name,
)
from shards.source import ImageSource
from shards.store import Folder, Store, Where

SAMPLES, MOST_SAMPLES = 64, 1000
"""Samples shown unless asked otherwise, and the most that may be asked for."""

PIXELS = 2**24
"""Pixels that all samples shown share, which bounds the page: 64 pages of 512 px stand at their own
size and take 7 MB, 64 pictures of noise 17 MB."""

SMALLEST_SIDE, LARGEST_SIDE = 128, 1024
"""Bounds in px of the longer side of a sample as shown."""

REASONS, REJECT_SIDE = 20, 240
"""Reasons whose rejected images are shown, and the longer side of these in px (our choice)."""

CHARTS = 40
"""Charts shown (our choice: `shards stats` draws them all)."""

TEXT, FACTS, VALUE = 4000, 40, 200
"""Characters of a sample's text shown, values of its metadata, and characters of one value."""


def write_report(
    where: Where, file: Where, *, samples: int = SAMPLES, images: Where | None = None
) -> dict[str, Any]:
    """Write the report of a folder or bucket and return what was written.

    Args:
        where: the shards.
        file: a .html, here or in a bucket.
        samples: how many samples to show, 1 to MOST_SAMPLES, spread evenly over all.
        images: where the images of a filter run are; by default where its recipe.json says, as
            long as they are what they were then.

    Returns:
        The file, samples and rejected images shown, images dropped, faults found, and bytes of the
        page.

    Raises:
        UserError: when there is no finished shard, or for a wrong `file`, `samples` or `images`.
    """
    if not 1 <= samples <= MOST_SAMPLES:
        raise UserError(f"a report of {samples} samples; give 1 to {MOST_SAMPLES}")
    above, name = file_at(file, "--out", (".html", ".htm"))
    given = ImageSource.at(images) if images else None
    with progress("sidecars") as advance:
        contents = Contents.of(where, advance)
    recipe = contents.note(NOTE)
    judged = contents.stats.totals.samples + contents.stats.totals.dropped.total()
    source = given or _source(recipe, judged)
    with progress("pictures") as advance:
        cards = list(_cards(contents, samples, advance))
    groups = list(_groups(contents, source))
    text = _page(
        name=_name(contents.store),
        contents=contents,
        recipe=recipe,
        cards=cards,
        groups=groups,
        has_source=source is not None,
    )
    above.replace(name, text.encode())
    return {
        "file": str(file),
        "samples": len(cards),
        "rejects": sum(bool(row["image"]) for group in groups for row in group["images"]),
        "dropped": contents.stats.totals.dropped.total(),
        "faults": len(contents.faults),
        "bytes": len(text.encode()),
    }


def _name(store: Store) -> str:
    """Return the last part of a path or URL: where a folder lies is nobody's business."""
    where = str(store.path.resolve()) if isinstance(store, Folder) else str(store)
    # File names are bytes; those that are not UTF-8 could not be written to the page.
    return where.rstrip("/").rpartition("/")[2].encode("utf-8", "backslashreplace").decode()


def _cards(contents: Contents, wanted: int, advance: Advance) -> Iterator[dict[str, Any]]:
    """Yield what is shown of each chosen sample, in order; a shard's sidecar is read once."""
    chosen = choose(contents.stats.totals.samples, wanted)
    side = min(max(isqrt(PIXELS // max(1, len(chosen))), SMALLEST_SIDE), LARGEST_SIDE)
    ends, done = contents.ends, 0
    for shard, numbers in groupby(chosen, partial(bisect_right, ends)):
        sidecar = read_sidecar(contents.store, sidecar_name(contents.numbers[shard]))
        for i in numbers:
            # Counted from the end: sample ends[shard] - 1 is the last of its shard.
            yield _card(contents.store, sidecar, sidecar.entries[i - ends[shard]], side)
            advance(done := done + 1, len(chosen))


def _card(store: Store, sidecar: Sidecar, entry: Entry, side: int) -> dict[str, Any]:
    card: dict[str, Any] = {
        "entry": entry,
        "shard": sidecar.shard,
        "image": "",
        "text": "",
        "facts": [],
        "sizes": entry.size_px or (min(entry.width, entry.height),) * 2,
    }
    try:
        with closing(store.open(sidecar.tar)) as tar:
            sample = Sample.of_files(entry.key, read_files(tar, entry))
        card |= {"text": _cut(sample.text, TEXT), "facts": _facts(sample.meta)}
        return card | _picture(sample, side)
    except (UserError, ValueError, OSError) as error:
        return card | {"error": _cut(" ".join(str(error).split()), VALUE)}


def _picture(sample: Sample, side: int) -> dict[str, Any]:
    small = shrunk(sample.pixels(), side)
    return {"image": jpeg_uri(small), "width": small.shape[1], "height": small.shape[0]}


def _facts(meta: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return of the metadata what a person reads: plain values and flat tables."""
    said = ((_cut(name, VALUE), _cut(_said(value), VALUE)) for name, value in meta.items())
    return [(name, text) for name, text in said if text][:FACTS]


def _said(value: Any) -> str:
    """Write a value as a person would; nothing for a nested or long one, as boxes of lines are."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    if isinstance(value, list) and len(value) <= 4 and not any(map(_nested, value)):
        return ", ".join(map(_said, value))
    if isinstance(value, dict) and not any(map(_nested, value.values())):
        return "\n".join(f"{name} {_said(part)}" for name, part in value.items())
    return value if isinstance(value, str) else ""


def _nested(value: Any) -> bool:
    return isinstance(value, list | dict)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]} …"


def _source(recipe: Any, judged: int) -> ImageSource | None:
    """Return the images a filter run judged, if they are still what they were.

    The recipe comes with the data and may name any folder; the fingerprint of names and sizes
    in it keeps the page from showing what the run has never seen. A run of no more than some of
    them has `judged` as many.
    """
    try:
        # An older recipe.json names it among the settings.
        named = recipe.get("places") or recipe["recipe"]
        images, part = named.get("images"), recipe["recipe"]["part"]
        source, seen = ImageSource.named(images or None, part), recipe["inputs"]["images"]
        if source.fingerprint() != seen:
            source = source.at_most(judged)
        return source if source.fingerprint() == seen else None
    except (AttributeError, TypeError, KeyError, UserError, OSError):
        return None


def _groups(contents: Contents, source: ImageSource | None) -> Iterator[dict[str, Any]]:
    """Yield the reasons, most frequent first, each with some of its rejected images."""
    counts = contents.stats.totals.dropped
    shown = [reason for reason, _ in counts.most_common(REASONS)]
    drops = {
        reason: sorted(contents.rejects[reason].values(), key=lambda drop: drop.source)
        for reason in shown
    }
    wanted = {drop.source for rejects in drops.values() for drop in rejects}
    place = {}
    if source:
        place = {name: i for i in range(len(source)) if (name := source.name(i)) in wanted}
    for reason in shown:
        images = [_reject(drop, source, place.get(drop.source)) for drop in drops[reason]]
        yield {"reason": reason, "count": counts[reason], "images": images}


def _reject(drop: Dropped, source: ImageSource | None, place: int | None) -> dict[str, Any]:
    row: dict[str, Any] = {"drop": drop, "image": ""}
    if source is None or place is None:
        return row
    try:
        return row | _picture(source.read(place), REJECT_SIDE)
    except UserError:
        return row


def _page(*, contents: Contents, recipe: Any, **rest: Any) -> str:
    stats = contents.stats
    return write_page(
        SHARED / "shards.html",
        totals=stats.totals,
        stats=stats,
        digests=stats.recipes.most_common(ROWS),
        languages=bars(stats.languages),
        characters_by={kind: bars(counts) for kind, counts in stats.characters_by.items()},
        on_photographs=stats.on_photographs(),
        reasons=bars(stats.totals.dropped),
        charts=charts(stats)[:CHARTS],
        constants=dict(list(constants(stats).items())[:CHARTS]),
        plot={"width": WIDTH, "height": HEIGHT},
        rows=contents.rows,
        faults=contents.faults,
        skipped=contents.skipped,
        most_rows=ROWS,
        most_facts=FACTS,
        versions=sorted(stats.versions.items())[:ROWS],
        recipe=orjson.dumps(recipe, option=orjson.OPT_INDENT_2).decode() if recipe else "",
        **rest,
    )
