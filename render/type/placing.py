"""From a block of a plan to glyphs on pixels: which masks, where, and the boxes of their ink.

The truth and the picture both come from here, so a label cannot differ from what was drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from render.kernels import SPACE, ink_boxes
from render.picture.canvas import Warp
from render.plan import Block, Hinting
from render.type.atlas import Atlas
from render.type.fonts import Fonts
from render.type.glyphs import PHASES, Matrix, Type

FINENESS = 256
"""Steps per unit in which the slopes of a warp are rounded: a 20th of a px at 13 px."""


@dataclass(frozen=True, slots=True)
class Glyphs:
    """Glyphs from one set of masks: rows `found` (n,), pens at (`xs`, `ys`) px."""

    masks: NDArray[np.uint8]
    rows: NDArray[np.int32]
    found: NDArray[np.int32]
    xs: NDArray[np.int32]
    ys: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Placed:
    """A block ready to be drawn: `boxes` (n, 4) px of each character's ink, spaces without area."""

    glyphs: tuple[Glyphs, ...]
    boxes: NDArray[np.int32]


def codes_of(text: str) -> NDArray[np.uint32]:
    """Return the code points of a text."""
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def place(block: Block, fonts: Fonts, atlas: Atlas, hinting: Hinting, warp: Warp | None) -> Placed:
    """Find the glyphs of a block.

    Raises:
        UserError: when a face of the plan is not here.
    """
    codes = codes_of("".join(line.text for line in block.lines))
    pens = np.concatenate([np.zeros(0, np.int32), *(line.pens for line in block.lines)])
    lengths = [len(line.pens) for line in block.lines]
    bases = np.repeat(np.array([line.baseline_px for line in block.lines], np.int32), lengths)
    types = [fonts.type(font) for font in block.fonts]
    owners = np.zeros(len(codes), np.int8)
    if len(types) > 1:
        owners = np.array([o for line in block.lines for o in line.fonts], np.int8)
    groups: list[Glyphs] = []
    boxes = np.zeros((len(codes), 4), np.int32)
    for number, type_ in enumerate(types):
        own = np.flatnonzero(owners == number) if len(types) > 1 else slice(None)
        if warp is not None:
            group = _warped(type_, codes[own], pens[own], bases[own], block.size_px, atlas, warp)
        else:
            strike = atlas.strike(type_, block.size_px, hinting, vertical=block.vertical)
            ranks = type_.face.ranks(codes[own])
            along, phases = strike.stand(pens[own])
            found = strike.find(ranks, phases)
            xs, ys = (bases[own], along) if block.vertical else (along, bases[own])
            group = Glyphs(strike.masks, strike.rows, found, xs, ys)
        groups.append(group)
        boxes[own] = ink_boxes(group.rows, group.found, group.xs, group.ys)
    return Placed(tuple(groups), boxes)


def _warped(
    type_: Type,
    codes: NDArray[np.uint32],
    pens: NDArray[np.int32],
    bases: NDArray[np.int32],
    size_px: int,
    atlas: Atlas,
    warp: Warp,
) -> Glyphs:
    """Draw each glyph through the slope of the warp at its pen, unhinted, on quarter pixels."""
    flat_x, flat_y = pens / PHASES, bases.astype(np.float64)
    to_x, to_y = warp.points(flat_x, flat_y)
    quarters = np.rint(np.stack([to_x, to_y]) * PHASES).astype(np.int32)
    slopes = np.rint(warp.slopes(flat_x, flat_y) * FINENESS).astype(np.int64) * (65536 // FINENESS)
    ranks = type_.face.ranks(codes)
    masks: list[NDArray[np.uint8]] = []
    rows = np.zeros((len(codes), 5), np.int32)
    used = 0
    for n in range(len(codes)):
        if ranks[n] < 0 or codes[n] == SPACE:
            continue
        shift = (int(quarters[0, n] & 3) * 64 // PHASES, -int(quarters[1, n] & 3) * 64 // PHASES)
        mask, row = atlas.warped(
            type_, size_px, int(type_.face.glyphs[ranks[n]]), _matrix(slopes[n]), shift
        )
        rows[n] = row[0]
        rows[n, 0] = used
        masks.append(mask)
        used += len(mask)
    found = np.where(rows[:, 1] > 0, np.arange(len(codes), dtype=np.int32), -1).astype(np.int32)
    joined = np.concatenate([np.zeros(0, np.uint8), *masks])
    return Glyphs(joined, rows, found, quarters[0] >> 2, quarters[1] >> 2)


def _matrix(slope: NDArray[np.int64]) -> Matrix:
    """Turn a Jacobian with y downwards into FreeType's matrix with y upwards."""
    (xx, xy), (yx, yy) = slope.tolist()
    return xx, -xy, -yx, yy


def line_slices(lengths: Sequence[int]) -> list[slice]:
    """Return where each line lies among the characters of its block."""
    return [
        slice(end - length, end) for end, length in zip(accumulate(lengths), lengths, strict=True)
    ]
