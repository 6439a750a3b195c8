"""Ink on pixels: the glyphs of a page, with their outlines, and the effects over all of it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from render.compiled import compiled, inner
from render.picture.effects import EFFECTS
from render.picture.kernels import blend_coverage
from render.picture.light import TO_LINEAR, TO_SRGB
from render.plan import Block, Box, Plan
from render.type.kernels import GLYPHS, Glyphs, unite
from render.type.placing import Placed
from shards import RGB


def draw(plan: Plan, placed: Sequence[Placed], pixels: RGB) -> RGB:
    """Draw the ink of a plan on what is under it, in place, then the effects: (h, w, 3) sRGB."""
    for block, text in zip(plan.blocks, placed, strict=True):
        if block.halo is not None:
            _outline(pixels, block, text)
        colour = np.array(block.colour, np.uint8)
        for g in text.glyphs:
            if plan.blending == "linear":
                blend_linear(pixels, g, colour, TO_LINEAR, TO_SRGB)
            else:
                blend_srgb(pixels, g, colour)
    for effect in plan.effects:
        pixels = EFFECTS[effect.kind].apply(pixels, effect)
    return pixels


def _outline(pixels: RGB, block: Block, placed: Placed) -> None:
    """Draw the halo of a block: its coverage spread by a pixel to every side."""
    import cv2

    height, width = pixels.shape[:2]
    ink = np.empty(4, np.int32)
    unite(placed.boxes, 0, len(placed.boxes), ink)
    box = Box(*ink.tolist()).grown(2).intersection(Box(0, 0, width, height))
    left, top = box.left, box.top
    coverage = np.zeros((box.height, box.width), np.uint8)
    for g in placed.glyphs:
        cover(coverage, g._replace(xs=g.xs - np.int32(left), ys=g.ys - np.int32(top)))
    spread = np.asarray(cv2.dilate(coverage, np.ones((3, 3), np.uint8)), np.uint8)
    blend_coverage(pixels, spread, left, top, np.array(block.halo, np.uint8))


@inner
def fetch(
    masks: NDArray[np.uint8], rows: NDArray[np.int32], row_numbers: NDArray[np.int32]
) -> np.int64:
    """Read a pixel or three of every mask, and return their sum.

    The atlas is larger than any cache: read side by side, the masks of a block come in the time
    of one or two; the loops that draw them would wait for each. They return the sum, or the
    compiler would leave the reading out.
    """
    total = np.int64(0)
    for n in range(len(row_numbers)):
        row = row_numbers[n]
        if row >= 0:
            first = rows[row, 0]
            last = first + rows[row, 1] * rows[row, 2] - 1
            total += np.int64(masks[first]) + np.int64(masks[(first + last) >> 1])
            total += np.int64(masks[last])
    return total


@inner
def mask_at(glyphs: Glyphs, n: int) -> tuple[int, int, int, int, int]:
    """Return (offset, width, height, left, top) of the mask of glyph `n`; 0 for one without ink.

    `offset` is where it begins in `masks`, the others are px on the canvas.
    """
    row = glyphs.row_numbers[n]
    if row < 0:
        return 0, 0, 0, 0, 0
    rows = glyphs.rows
    left, top = glyphs.xs[n] + rows[row, 3], glyphs.ys[n] + rows[row, 4]
    return rows[row, 0], rows[row, 1], rows[row, 2], left, top


@compiled("u1[:, :, ::1], glyphs, u1[::1]", glyphs=GLYPHS)
def blend_srgb(
    canvas: NDArray[np.uint8],
    glyphs: Glyphs,
    colour: NDArray[np.uint8],
) -> np.int64:
    """Blend glyphs into `canvas` (h, w, 3) in place, in sRGB values as browsers do."""
    masks = glyphs.masks
    fetched = fetch(masks, glyphs.rows, glyphs.row_numbers)
    flat, width = canvas.reshape(-1), canvas.shape[1]
    # The channels lie 20 bits apart in one word: most glyphs are too narrow to blend several
    # pixels at once, but three values can be.
    byte, second, third = np.uint64(8), np.uint64(20), np.uint64(40)
    ones = np.uint64(1) | np.uint64(1) << second | np.uint64(1) << third
    half, low = np.uint64(128) * ones, np.uint64(255) * ones
    ink = np.uint64(colour[0])
    ink |= np.uint64(colour[1]) << second | np.uint64(colour[2]) << third
    for n in range(len(glyphs.row_numbers)):
        offset, wide, high, left, top = mask_at(glyphs, n)
        for y in range(high):
            mask = masks[offset + y * wide : offset + (y + 1) * wide]
            part = flat[((top + y) * width + left) * 3 : ((top + y) * width + left + wide) * 3]
            for x in range(wide):
                share = np.uint64(mask[x])
                v = np.uint64(part[3 * x])
                v |= np.uint64(part[3 * x + 1]) << second | np.uint64(part[3 * x + 2]) << third
                v = v * (np.uint64(255) - share) + ink * share + half
                v += v >> byte & low  # (v + (v >> 8)) >> 8 is (v - 128) / 255, rounded
                part[3 * x] = np.uint8(v >> byte)
                part[3 * x + 1] = np.uint8(v >> (byte + second))
                part[3 * x + 2] = np.uint8(v >> (byte + third))
    return fetched


@compiled("u1[:, :, ::1], glyphs, u1[::1], u2[::1], u1[::1]", glyphs=GLYPHS)
def blend_linear(
    canvas: NDArray[np.uint8],
    glyphs: Glyphs,
    colour: NDArray[np.uint8],
    to_linear: NDArray[np.uint16],
    to_srgb: NDArray[np.uint8],
) -> np.int64:
    """Blend glyphs as `blend_srgb` does, but in linear light, as optics does.

    `to_linear` (256,) and `to_srgb` (65536,) are the two tables of `light.py`.
    """
    masks = glyphs.masks
    fetched = fetch(masks, glyphs.rows, glyphs.row_numbers)
    flat, width = canvas.reshape(-1), canvas.shape[1]
    # Two channels lie 32 bits apart in one word.
    half, full, second = np.uint64(127), np.uint64(255), np.uint64(32)
    low = np.uint64(0xFFFFFFFF)
    inks = np.uint64(to_linear[colour[0]]) | np.uint64(to_linear[colour[1]]) << second
    blue = np.uint64(to_linear[colour[2]])
    for n in range(len(glyphs.row_numbers)):
        offset, wide, high, left, top = mask_at(glyphs, n)
        for y in range(high):
            mask = masks[offset + y * wide : offset + (y + 1) * wide]
            part = flat[((top + y) * width + left) * 3 : ((top + y) * width + left + wide) * 3]
            for x in range(wide):
                share = np.uint64(mask[x])
                rest = full - share
                v = np.uint64(to_linear[part[3 * x]])
                v |= np.uint64(to_linear[part[3 * x + 1]]) << second
                v = v * rest + inks * share
                w = np.uint64(to_linear[part[3 * x + 2]]) * rest + blue * share
                part[3 * x] = to_srgb[((v & low) + half) // full]
                part[3 * x + 1] = to_srgb[((v >> second) + half) // full]
                part[3 * x + 2] = to_srgb[(w + half) // full]
    return fetched


@compiled("u1[:, ::1], glyphs", glyphs=GLYPHS)
def cover(coverage: NDArray[np.uint8], glyphs: Glyphs) -> None:
    """Put the masks of glyphs into `coverage` (h, w), the fuller one where two meet."""
    for n in range(len(glyphs.row_numbers)):
        offset, wide, high, left, top = mask_at(glyphs, n)
        for y in range(high):
            for x in range(wide):
                value = glyphs.masks[offset + y * wide + x]
                coverage[top + y, left + x] = max(coverage[top + y, left + x], value)
