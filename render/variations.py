"""One page drawn in every way that a recipe may vary, by itself each, in groups of details."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import radians, sin
from typing import Any

import numpy as np

from render.gallery import COMMON_LAYOUT, Gallery, Picture
from render.page import OUTLINE_PX
from render.picture.backgrounds import PAGES_PER_PHOTOGRAPH
from render.picture.effects import EFFECTS
from render.plan import Block, Effect, Ground, Language, Plan
from render.renderer import Renderer
from render.settings import RenderSettings, only
from render.warp import Warp

COMPARED_PX = 10
"""The em near which variations are compared: small enough to show, large enough to read."""

TRIES = 40
"""Pages looked at for one that is turned well."""


@dataclass(frozen=True)
class Variant:
    """One way to draw a page: its name, what it means, a detail, the page if it is warped."""

    name: str
    meaning: str
    detail: Picture
    picture: Picture | None


@dataclass(frozen=True)
class Variations:
    """A page as it is, and by group its variants, with details near a block of `size_px`."""

    layout: str
    language: Language
    index: int
    size_px: int
    picture: Picture
    groups: dict[str, list[Variant]]


@dataclass(frozen=True)
class _Way:
    """A group of variations, the name of one in it, what it means, the plan."""

    group: str
    name: str
    meaning: str
    plan: Plan


def variations(gallery: Gallery) -> Iterator[Variations]:
    """Yield a page in every way for each language that is compared."""
    for language in gallery.compared:
        warped, grounds = _base(gallery, language)
        block = min(warped.blocks, key=lambda block: abs(block.size_px - COMPARED_PX))
        # Painting needs photographs of this size only, whatever else the settings say.
        painter = gallery.narrow(COMMON_LAYOUT, language)
        groups: dict[str, list[Variant]] = {}
        for way in _ways(warped):
            groups.setdefault(way.group, []).append(_drawn(painter, way, block))
        for way in grounds:
            groups.setdefault(way.group, []).append(_drawn(painter, way, way.plan.blocks[0]))
        yield Variations(
            layout=COMMON_LAYOUT,
            language=language,
            index=warped.index,
            size_px=block.size_px,
            picture=Picture.of(painter.paint(replace(warped, warp=None))),
            groups=groups,
        )


def _drawn(painter: Renderer, way: _Way, block: Block) -> Variant:
    pixels = painter.paint(way.plan)
    detail = Picture.enlarged(pixels, _corner(way.plan, block))
    # Only a whole page shows how it is turned.
    return Variant(way.name, way.meaning, detail, Picture.of(pixels) if way.plan.warp else None)


def _base(gallery: Gallery, language: Language) -> tuple[Plan, list[_Way]]:
    """Find a page that is turned well, on plates, and on every other ground.

    The page is planned for its warp, so all of it stays inside the picture when it is warped.
    """
    settings = gallery.settings
    turn_deg = settings.turn_deg or RenderSettings.model_fields["turn_deg"].default
    changes: dict[str, Any] = {
        "warp_share": 1.0,
        "turn_deg": turn_deg,
        "tilt": settings.tilt or RenderSettings.model_fields["tilt"].default,
        "flat_share": 0.0,
        "hinting": {"none": 1.0},
        "blending": {"srgb": 1.0},
        "subpixel_share": 1.0,
        "effects": {},
    }

    def narrow(**more: Any) -> Renderer:
        return gallery.narrow(COMMON_LAYOUT, language, **changes, **more)

    plates = narrow(**only("plate"))
    for index in range(0, TRIES * PAGES_PER_PHOTOGRAPH, PAGES_PER_PHOTOGRAPH):
        plan = plates.plan(index)
        turned = plan.warp is not None and abs(plan.warp[3]) > 0.6 * sin(radians(turn_deg))
        # Smaller text gets no outline.
        large = plan.blocks[0].size_px >= min(OUTLINE_PX["zh"], max(settings.sizes))
        if turned and large:
            break
    else:
        plan = plates.plan(0)
    said: dict[Ground, str] = {
        "bare": "ink on the bare photograph",
        "outline": "ink with an outline",
        "plate": "ink on a plate",
        "sheet": "ink on a sheet of paper",
    }
    floor = f"for a floor of {settings.contrast_floor:g} : 1"
    ways: list[_Way] = []
    for name, meaning in said.items():
        made = narrow(**only(name)).plan(plan.index)
        ways.append(_Way("ground", name, f"{meaning}, {floor}", replace(made, warp=None)))
    # Where no ink can be read on it a block stands on another ground.
    return plan, [way for way in ways if way.plan.blocks[0].ground == way.name]


def _ways(warped: Plan) -> Iterator[_Way]:
    """Yield every variation of a page by itself; the plan is otherwise the same."""
    base = replace(warped, warp=None)
    yield _Way("hinting", "none", "outlines as they are", base)
    light, full = (replace(base, hinting=name) for name in ("light", "full"))
    yield _Way("hinting", "light", "fitted to the pixel grid in height", light)
    yield _Way("hinting", "full", "as the font itself says", full)
    yield _Way("blending", "srgb", "coverage mixes sRGB values, as most software does", base)
    linear = replace(base, blending="linear")
    yield _Way("blending", "linear", "coverage mixes light", linear)
    whole = replace(base, subpixel=False, blocks=tuple(map(_on_whole_pixels, base.blocks)))
    if whole.blocks != base.blocks:
        yield _Way("subpixel", "on", "letters stand on quarter pixels", base)
        yield _Way("subpixel", "off", "letters stand on whole pixels", whole)
    yield _Way("warp", "flat", "not warped", base)
    if warped.warp:
        yield _Way("warp", "turned and tilted", "drawn through the warp, never resampled", warped)
    yield _Way("effects", "none", "the finished page", base)
    for kind, effect in EFFECTS.items():
        for strength in (effect.low, effect.high):
            drawn = replace(base, effects=(Effect(kind, strength, 1),))
            yield _Way("effects", kind, f"strength {strength:g}", drawn)


def _on_whole_pixels(block: Block) -> Block:
    lines = (replace(line, pens=(line.pens + 2) // 4 * 4) for line in block.lines)
    return replace(block, lines=tuple(lines))


def _corner(plan: Plan, block: Block) -> tuple[int, int]:
    """Return where the first line of a block begins in the picture, px."""
    line = block.lines[0]
    x, y = line.pens[0] / 4, float(line.baseline_px - block.size_px)
    if plan.warp:
        xs, ys = Warp(plan.warp).points(np.array([x]), np.array([y]))
        x, y = float(xs[0]), float(ys[0])
    return round(x), round(y)
