"""From set text to glyphs on pixels: which masks, where, and the boxes of their ink.

The truth and the picture both come from `place`, so a label cannot differ from what was drawn:
text is set by the boxes it finds, and what is set or read from a plan is placed by it again.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from render.plan import Block, Hinting
from render.text.breaks import SPACE, encoded
from render.type.atlas import BLANK, Atlas
from render.type.fonts import Fonts
from render.type.glyphs import PHASES, FontInstance, Matrix
from render.type.kernels import Glyphs, ink_boxes, move_glyphs, stand_glyphs
from render.warp import Warp

FINENESS = 256
"""Steps per unit in which the slopes of a warp are rounded: a 20th of a px at 13 px."""


class SetText(NamedTuple):
    """Characters (n,), spaces included, each with its place; `size_px` is the em of all `fonts`.

    `font_index` says which font draws each, `slots` which of the glyphs of its face, -1 for none.
    `pens` are quarters of a px along the line, `bases` the y of the baseline in px, in `vertical`
    text the x of the column's middle.
    """

    fonts: tuple[FontInstance, ...]
    size_px: int
    vertical: bool
    font_index: NDArray[np.int8]
    slots: NDArray[np.int32]
    pens: NDArray[np.int32]
    bases: NDArray[np.int32]

    @classmethod
    def of(cls, block: Block, fonts: Fonts) -> "SetText":
        """Return the text of a block of a plan.

        Raises:
            UserError: when a face of the plan is not here.
        """
        codes = encoded("".join(line.text for line in block.lines))
        lengths = [len(line.pens) for line in block.lines]
        named = tuple(fonts.instance(name) for name in block.fonts)
        font_index, slots = np.zeros(len(codes), np.int8), np.empty(len(codes), np.int32)
        if len(named) > 1:
            font_index = np.array([f for line in block.lines for f in line.fonts], np.int8)
        for number, font in enumerate(named):
            own = font_index == number
            slots[own] = font.face.slots(codes[own])
        return cls(
            fonts=named,
            size_px=block.size_px,
            vertical=block.vertical,
            font_index=font_index,
            slots=slots,
            pens=np.concatenate([np.zeros(0, np.int32), *(line.pens for line in block.lines)]),
            bases=np.repeat(
                np.array([line.baseline_px for line in block.lines], np.int32), lengths
            ),
        )

    def moved(self, left: int, top: int) -> "SetText":
        """Return the text with its corner at (left, top), px."""
        along, across = (top, left) if self.vertical else (left, top)
        return SetText(
            self.fonts, self.size_px, self.vertical, self.font_index, self.slots,
            self.pens + np.int32(4 * along), self.bases + np.int32(across),
        )  # fmt: skip


class Placed(NamedTuple):
    """Text ready to be drawn: its glyphs, font by font, and the box of each character's ink.

    `boxes` (n, 4) are px; all but the `inked` ones, as those of spaces, have no area.
    """

    text: SetText
    glyphs: Sequence[Glyphs]
    boxes: NDArray[np.int32]
    inked: int

    def moved(self, text: SetText, left: int, top: int) -> "Placed":
        """Return the first characters of text that `place` found on bases at 0, on those of `text`.

        `text` (n,) is where they go, moved by (`left`, `top`) px from where their boxes stand: what
        `place` would find for it, without asking the atlas again. Whole px leave every glyph in
        its phase.
        """
        n = len(text.bases)
        xs, ys, boxes = np.empty(n, np.int32), np.empty(n, np.int32), np.empty((n, 4), np.int32)
        inked = 0
        if self.glyphs:
            first = self.glyphs[0]  # all fonts share the pens
            inked = move_glyphs(
                first.xs, first.ys, self.boxes, text.bases, text.vertical, left, top, xs, ys, boxes
            )
        groups = [Glyphs(g.masks, g.rows, g.row_numbers[:n], xs, ys) for g in self.glyphs]
        return Placed(text.moved(left, top), groups, boxes, inked)


def place(text: SetText, atlas: Atlas, hinting: Hinting, warp: Warp | None = None) -> Placed:
    """Find the glyphs of a text and the boxes of their ink; draw the glyphs that are new."""
    if warp is not None:
        return _warped(text, warp)
    n = len(text.slots)
    boxes, xs, ys = np.empty((n, 4), np.int32), np.empty(n, np.int32), np.empty(n, np.int32)
    groups: list[Glyphs] = []
    inked = 0
    for number, font in enumerate(text.fonts):
        strike = atlas.strike(font, text.size_px, hinting, vertical=text.vertical)
        row_numbers = np.empty(n, np.int32)
        while (
            count := stand_glyphs(
                number, text.font_index, text.slots, text.pens, text.bases, text.vertical,
                strike.table, strike.phases, strike.rows, row_numbers, xs, ys, boxes,
            )
        ) < 0:  # fmt: skip
            strike.find(text.slots[text.font_index == number])
        if count:
            inked += count
            groups.append(Glyphs(strike.masks, strike.rows, row_numbers, xs, ys))
    return Placed(text, groups, boxes, inked)


def _warped(text: SetText, warp: Warp) -> Placed:
    """Draw each glyph through the slope of the warp at its pen, unhinted, on quarter pixels.

    Hardly any two are alike, so none is kept. That they can be seen was settled on the flat page:
    here the faintest ink counts.
    """
    flat_x, flat_y = text.pens / PHASES, text.bases.astype(np.float64)
    to_x, to_y = warp.points(flat_x, flat_y)
    quarters = np.rint(np.stack([to_x, to_y]) * PHASES).astype(np.int32)
    slopes = np.rint(warp.slopes(flat_x, flat_y) * FINENESS).astype(np.int64) * (65536 // FINENESS)
    # FreeType's y goes upwards.
    matrices = slopes.reshape(-1, 4) * np.array([1, -1, -1, 1])
    shifts = (quarters & 3) * np.array([[64 // PHASES], [-64 // PHASES]])
    xs, ys = quarters >> 2
    n = len(text.slots)
    boxes = np.empty((n, 4), np.int32)
    groups: list[Glyphs] = []
    inked = 0
    for number, font in enumerate(text.fonts):
        own = np.flatnonzero((text.font_index == number) & (text.slots >= 0))
        own = own[font.face.codes[text.slots[own]] != SPACE]
        own = own[np.argsort(text.slots[own], kind="stable")]  # each outline is loaded once
        glyphs = font.face.glyphs[text.slots[own]].tolist()
        linear: list[Matrix] = [(xx, xy, yx, yy) for xx, xy, yx, yy in matrices[own].tolist()]
        poses = zip(linear, *shifts[:, own].tolist(), strict=True)
        masks, rows = font.draw(glyphs, text.size_px, "none", poses, faint=1)
        row_numbers = np.full(n, BLANK, np.int32)
        row_numbers[own] = np.where(rows[:, 1] > 0, np.arange(len(own), dtype=np.int32), BLANK)
        inked += ink_boxes(number, text.font_index, rows, row_numbers, xs, ys, boxes)
        groups.append(Glyphs(masks, rows, row_numbers, xs, ys))
    return Placed(text, groups, boxes, inked)


def line_slices(lengths: Sequence[int]) -> list[slice]:
    """Return where each line lies among the characters of its block."""
    return [
        slice(end - length, end) for end, length in zip(accumulate(lengths), lengths, strict=True)
    ]
