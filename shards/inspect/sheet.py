"""Contact sheet: many samples of a dataset in one picture, each with its key and its size."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from shards.reader import ShardReader
from shards.sample import RGB

COLUMNS = 6
"""Pictures side by side."""

GAP, LABEL, LABEL_WIDTH = 8, 28, 96
"""Space in px between pictures, below each for two lines of text, and the least width of these."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

PAPER, INK = "white", (60, 62, 66)


def choose(samples: int, count: int, *, rng: np.random.Generator | None = None) -> list[int]:
    """Choose up to `count` of the numbers below `samples`, in order and each at most once.

    Evenly, each in the middle of its part, or at random where `rng` is given.
    """
    count = min(count, samples)
    if rng is None:
        return [(2 * i + 1) * samples // (2 * count) for i in range(count)]
    return sorted(rng.choice(samples, count, replace=False).tolist())


def contact_sheet(reader: ShardReader, numbers: Sequence[int], cell: int) -> RGB:
    """Lay samples out in rows of COLUMNS; the result is (h, w, 3) uint8 sRGB.

    A picture larger than `cell` px is reduced to it, a smaller one is shown as it is.

    Raises:
        ShardError: when a shard is not what its sidecar says.
        UnreadableImage: when a picture cannot be decoded.
    """
    shown: list[_Cell] = []
    for i in numbers:
        sample = reader[i]
        picture = Image.fromarray(sample.pixels())
        size = f"{picture.width} x {picture.height}"
        picture.thumbnail((cell, cell), Image.Resampling.LANCZOS)
        shown.append((picture, sample.key, size))
    largest = max(max(picture.size) for picture, _, _ in shown)
    return np.asarray(_table(shown, min(cell, max(largest, LABEL_WIDTH))))


_Cell = tuple[Image.Image, str, str]
"""A picture, its key, and its size before it was reduced."""


def _table(shown: list[_Cell], cell: int) -> Image.Image:
    """Lay pictures out, each at the lower left of its square, above its label."""
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    extent = (columns * (cell + GAP) + GAP, rows * (cell + LABEL + GAP) + GAP)
    table = Image.new("RGB", extent, PAPER)
    pen, font = ImageDraw.Draw(table), ImageFont.load_default(11)
    for place, (picture, key, size) in enumerate(shown):
        x = GAP + place % columns * (cell + GAP)
        bottom = (place // columns + 1) * (cell + LABEL + GAP) - LABEL
        table.paste(picture, (x, bottom - picture.height))
        label = f"{_fitting(key, font, cell)}\n{size}"
        pen.text((x, bottom + 2), label, fill=INK, font=font, spacing=2)
    return table


def _fitting(text: str, font: Font, width: int) -> str:
    """Return the end of a text, which tells keys apart, as long as fits `width` px."""
    while font.getlength(text) > width:
        text = f"…{text[2:]}"
    return text
