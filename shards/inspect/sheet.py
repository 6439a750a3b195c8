"""Contact sheet: many samples of a dataset in one picture, each with its key and its size."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from shards.images.decoding import RGB
from shards.reader import ShardReader

COLUMNS = 6
"""Pictures side by side."""

GAP, LINE = 8, 14
"""Space in px between pictures, and the height of a line of their captions."""

CAPTION_WIDTH = 96
"""Least width in px of the caption of a sample."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

PAPER, INK = "white", (60, 62, 66)

Captioned = tuple[RGB, str]
"""A picture (h, w, 3) uint8 sRGB, and what stands below it, in one line or several."""


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
    shown: list[Captioned] = []
    for i in numbers:
        sample = reader[i]
        picture = Image.fromarray(sample.pixels())
        caption = f"{sample.key}\n{picture.width} x {picture.height}"
        picture.thumbnail((cell, cell), Image.Resampling.LANCZOS)
        shown.append((np.asarray(picture), caption))
    largest = max(max(picture.shape) for picture, _ in shown)
    side = min(cell, max(largest, CAPTION_WIDTH))
    rows = [shown[i : i + COLUMNS] for i in range(0, len(shown), COLUMNS)]
    return lay_out(rows, width=side, height=side)


def lay_out(rows: Sequence[Sequence[Captioned]], *, width: int = 0, height: int = 0) -> RGB:
    """Lay captioned pictures out in rows on white; the result is (h, w, 3) uint8 sRGB.

    Each picture has a place as wide as the widest of all and as high as the highest of its row, at
    least `width` and `height` px. It stands at the lower left of it, above its caption, of which
    the end is shown where it is too long.
    """
    width = max(width, *(picture.shape[1] for row in rows for picture, _ in row))
    heights = [max(height, *(picture.shape[0] for picture, _ in row)) for row in rows]
    lines = 1 + max(caption.count("\n") for row in rows for _, caption in row)
    label = LINE * lines + 2
    extent = (
        GAP + max(map(len, rows)) * (width + GAP),
        GAP + sum(heights) + len(rows) * (label + GAP),
    )
    sheet = Image.new("RGB", extent, PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    bottom = 0
    for row, high in zip(rows, heights, strict=True):
        bottom += GAP + high
        for column, (picture, caption) in enumerate(row):
            x = GAP + column * (width + GAP)
            sheet.paste(Image.fromarray(picture), (x, bottom - picture.shape[0]))
            fitting = "\n".join(_fitting(line, font, width) for line in caption.split("\n"))
            pen.text((x, bottom + 2), fitting, fill=INK, font=font, spacing=2)
        bottom += label
    return np.asarray(sheet)


def _fitting(text: str, font: Font, width: int) -> str:
    """Return the end of a text, which tells keys apart, as long as fits `width` px."""
    while font.getlength(text) > width:
        text = f"…{text[2:]}"
    return text
