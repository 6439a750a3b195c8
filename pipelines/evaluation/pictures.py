"""Pictures of an evaluation: what was scored, kept as files, and what shows how it differs.

`out/DATA/KEY/original.png`, and beside it one PNG for each codec.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shards import RGB, decode, encode_png
from shards.boxes import cut
from shards.store import Store

DETAIL = 64
"""Side in px of a detail. The page enlarges it four times without smoothing, since a reader wants
to see the pixels; stored small, it costs a sixteenth."""

ORIGINAL = "original"


@dataclass(frozen=True)
class Example:
    """One scored image of a data set and, by codec, what became of it; each (h, w, 3) uint8."""

    data: str
    original: RGB
    outputs: dict[str, RGB]


def keep(store: Store, original: RGB, outputs: Mapping[str, RGB]) -> None:
    """Write the pictures of one image into `store`, out/DATA/KEY."""
    store.make()
    for name, pixels in {ORIGINAL: original, **outputs}.items():
        store.replace(f"{name}.png", encode_png(pixels))


def kept(out: Path) -> Iterator[Example]:
    """Read what an evaluation kept, by data set and key; the model comes before the DCT codec."""
    for file in sorted(out.glob(f"*/*/{ORIGINAL}.png")):
        pictures = {
            path.stem: decode(path.read_bytes(), path.name)
            for path in sorted(file.parent.glob("*.png"), reverse=True)
        }
        original = pictures.pop(ORIGINAL)
        yield Example(file.parent.parent.name, original, pictures)


def detail(pixels: RGB, corner: Sequence[float] = (0, 0), *, width: int = DETAIL) -> RGB:
    """Cut a detail (DETAIL, width) px out of (h, w, 3) uint8, from (x, y) near `corner`."""
    return cut(pixels, corner, width, DETAIL)


def difference(original: RGB, output: RGB) -> RGB:
    """Return twice the absolute difference of two (h, w, 3) uint8: black where they are equal."""
    apart = np.abs(output.astype(np.int16) - original.astype(np.int16))
    return np.clip(2 * apart, 0, 255).astype(np.uint8)


def preview(examples: Sequence[Example]) -> RGB:
    """Lay out the upper strips of the first example of each data set, enlarged twice, for a README.

    A row is a data set: the original, then what each codec made of it.
    """
    firsts = {example.data: example for example in reversed(examples)}
    rows = [
        [detail(pixels, width=3 * DETAIL) for pixels in (first.original, *first.outputs.values())]
        for _, first in sorted(firsts.items())
    ]
    table = np.vstack([np.hstack(row) for row in rows])
    return table.repeat(2, axis=0).repeat(2, axis=1)
