"""The truth about a page: what is where, how large, in which ink, and whether it can be read.

Everything is measured on the glyphs that were placed; nothing is taken from what was intended.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from render.plan import Block, Box, HanVariant, Plan
from render.type.atlas import Atlas
from render.type.fonts import Fonts
from render.type.kernels import union_boxes
from render.type.placing import Placed, line_slices

Legibility = Literal["clear", "hard", "lost"]

Label = Literal["lines", "characters", "plan"]
"""How much of the truth is written: the boxes of lines; those of characters too; also the plan,
from which `Renderer.paint` draws the page again."""

CLEAR_PX = {"en": 7, "zh": 10}
HARD_PX = {"en": 5, "zh": 7}
"""Smallest em at which text is "clear" or "hard" to read; below, it is "lost". Our choice, from
the share of characters whose nearest other glyph differs by less than 25 % (L2, Noto Sans SC,
unhinted, 3,000 commonest Han): 3 % at 10 px, 9 % at 8, 17 % at 7, 44 % at 6; Latin letters 10 %
at 5 px, at most 3 % from 7 px."""


def legibility(language: str, size_px: int) -> Legibility:
    """Return how far text of this em can be told apart, from its size alone."""
    script = "en" if language == "en" else "zh"
    if size_px >= CLEAR_PX[script]:
        return "clear"
    return "hard" if size_px >= HARD_PX[script] else "lost"


def describe(
    plan: Plan,
    placed: Sequence[Placed],
    fonts: Fonts,
    atlas: Atlas,
    han_variant: HanVariant | None,
) -> dict[str, Any]:
    """Return the metadata of a page; boxes are (left, top, right, bottom) px of the picture.

    `han_variant` is a key where the page has one, which pages of zh-hant have.
    """
    lines: list[dict[str, Any]] = []
    blocks: list[dict[str, Any]] = []
    for block, text in zip(plan.blocks, placed, strict=True):
        first = len(lines)
        lines += _lines(block, text, len(blocks), _x_height(block, plan, fonts, atlas))
        blocks.append(
            {
                "role": block.role,
                "language": block.language,
                "vertical": block.vertical,
                "box": Box.union(line["box"] for line in lines[first:]),
                "lines": [first, len(lines)],
            }
        )
    sizes = [block.size_px for block in plan.blocks]
    return {
        "kind": "render",
        "width": plan.width,
        "height": plan.height,
        "language": plan.language,
        **({"han_variant": han_variant} if han_variant else {}),
        "layout": plan.layout,
        "hinting": plan.hinting,
        "subpixel": plan.subpixel,
        "blending": plan.blending,
        "warped": plan.warp is not None,
        "effects": {effect.kind: effect.strength for effect in plan.effects},
        "characters": sum(text.inked for text in placed),
        "characters_by": _characters_by(plan, placed),
        "size_px": [min(sizes), max(sizes)],
        "scores": {
            "contrast": min(line.contrast for _, line in plan.lines()),
            "plates": sum(block.ground == "plate" for block in plan.blocks),
            "outlines": sum(block.ground == "outline" for block in plan.blocks),
            "fallbacks": plan.fallbacks,
            "retries": plan.retries,
        },
        "blocks": blocks,
        "lines": lines,
        "plan": plan,
    }


def _characters_by(plan: Plan, placed: Sequence[Placed]) -> dict[str, dict[str, int]]:
    """Count characters by what their lines stand on, are set in and come from.

    A block counts for the first of its fonts.
    """
    counts: dict[str, dict[str, int]] = {}
    for block, text in zip(plan.blocks, placed, strict=True):
        kinds = {
            "ground": block.ground,
            "layout": plan.layout,
            "font": block.fonts[0].face,
            "legibility": legibility(block.language, block.size_px),
            "source": block.source,
        }
        for kind, name in kinds.items():
            held = counts.setdefault(kind, {})
            held[name] = held.get(name, 0) + text.inked
    return counts


def trimmed(meta: Mapping[str, Any], label: Label) -> dict[str, Any]:
    """Return the metadata of a page with no more than `label` says.

    A warped page keeps the boxes of its characters: that of a line, which is turned, holds more.
    """
    if label == "plan":
        return {**meta}
    kept = {name: value for name, value in meta.items() if name != "plan"}
    if label == "lines" and not meta["warped"]:
        kept["lines"] = [
            {name: value for name, value in line.items() if name != "characters"}
            for line in meta["lines"]
        ]
    return kept


def _lines(
    block: Block, placed: Placed, number: int, x_height_px: int | None
) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    lengths = [len(line.pens) for line in block.lines]
    unions = np.empty((len(lengths), 4), np.int32)
    union_boxes(placed.boxes, np.array(lengths, np.int32), unions)
    low, high = (0, 2) if block.vertical else (1, 3)
    legible = legibility(block.language, block.size_px)
    for line, part, box in zip(block.lines, line_slices(lengths), unions.tolist(), strict=True):
        font = block.fonts[line.fonts[0] if line.fonts else 0]
        lines.append(
            {
                "text": line.text,
                "box": box,
                "block": number,
                "role": block.role,
                "language": block.language,
                "size_px": block.size_px,
                "ink_height_px": box[high] - box[low],
                "x_height_px": x_height_px,
                "legibility": legible,
                "font": font.face,
                "design": font.design,
                "colour": block.colour,
                "contrast": line.contrast,
                "ground": block.ground,
                "source": block.source,
                "characters": placed.boxes[part],
            }
        )
    return lines


def _x_height(block: Block, plan: Plan, fonts: Fonts, atlas: Atlas) -> int | None:
    """Measure the height of an x in the block's first font, px; None where it has none."""
    return atlas.strike(fonts.instance(block.fonts[0]), block.size_px, plan.hinting).x_height_px
