"""What the tests of rendering share: settings, pages to set text on, ways to look at a sample."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from numpy.typing import NDArray

from render import LAYOUTS, Plan, Renderer, RenderSettings
from render.page import Page, Sizes, Style
from render.picture.canvas import Canvas
from render.plan import Background, Block, Choices, Font, Hinting, Language, Line
from render.settings import only
from render.warp import Warp
from shards import RGB, Sample
from shards.embedded import installed

SETTINGS = RenderSettings(
    width=160, height=128, languages={"en": 1, "zh": 1, "zh-hant": 0.5, "mixed": 0.5}
)

SIMPLIFIED, TRADITIONAL = "NotoSansCJK-VF.otf.ttc#2", "NotoSansCJK-VF.otf.ttc#3"
PLEX = "IBMPlexMono-Regular.ttf#0"


def variant(renderer: Renderer, **changes: Any) -> Renderer:
    """Return a renderer of other settings; layouts of sheets alone get them by themselves."""
    if all(LAYOUTS[name].on_sheets for name in changes.get("layouts", SETTINGS.layouts)):
        changes = only("sheet") | changes
    return renderer.with_settings(RenderSettings(**(SETTINGS.model_dump() | changes)))


def truth(sample: Sample) -> dict[str, Any]:
    """Return the metadata as a reader of the shard sees it."""
    return json.loads(dict(sample.files())["json"])


def stored(sample: Sample) -> Plan:
    """Return the plan as it comes back from the sample's JSON."""
    return Plan.of(truth(sample)["plan"])


def bare(renderer: Renderer, plan: Plan) -> RGB:
    """Return the page with its rectangles and rules, without ink and effects."""
    return renderer.paint(replace(plan, blocks=(), effects=()))


def ground(renderer: Renderer, plan: Plan) -> RGB:
    """Return what the text stands on: the page with its rectangles only."""
    return bare(renderer, replace(plan, marks=()))


def with_ink(boxes: Any) -> NDArray[np.int32]:
    """Return the boxes (n, 4) that have area."""
    every = np.array(boxes, np.int32).reshape(-1, 4)
    return every[every[:, 2] > every[:, 0]]


def covered(boxes: Any, height: int, width: int) -> NDArray[np.bool_]:
    """Return (h, w) True inside any of the boxes."""
    inside = np.zeros((height, width), np.bool_)
    for left, top, right, bottom in boxes:
        inside[top:bottom, left:right] = True
    return inside


def luminance_map(pixels: RGB) -> NDArray[np.float64]:
    """Return the relative luminance (h, w) as WCAG 2 writes it, in plain NumPy."""
    value = pixels / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


def page_of(
    renderer: Renderer,
    *,
    width: int = 400,
    height: int = 300,
    ground: int = 255,
    language: Language = "en",
    hinting: Hinting = "none",
    warp: Warp | None = None,
) -> Page:
    """Return an empty page of one grey to set text on."""
    return Page(
        rng=np.random.default_rng(0),
        choices=Choices(
            seed=0,
            index=0,
            width=width,
            height=height,
            language=language,
            layout="paragraph",
            ground="flat",
            hinting=hinting,
            subpixel=True,
            blending="srgb",
            warp=warp.numbers if warp else None,
            retries=0,
            background=Background(),
        ),
        material=renderer.material,
        sizes=Sizes({12: 1.0}),
        contrast_floor=3.0,
        plate_opacity=(0.35, 0.65),
        sheet_opacity=(0.5, 1.0),
        canvas=Canvas(lambda: np.full((height, width, 3), ground, np.uint8), warp),
    )


def style_of(page: Page, *faces: str, size_px: int = 12, **changes: Any) -> Style:
    """Return a style of plain faces, by name."""
    fonts = tuple(page.material.fonts.plain(page.material.fonts.faces[face]) for face in faces)
    return replace(Style(page.choices.language, fonts, size_px, 1.4), **changes)


def block_of(text: str, font: Font, size_px: int, x: int, y: int) -> Block:
    """Return a block of one line whose characters stand an em apart from pen (x, y)."""
    pens = 4 * (x + size_px * np.arange(len(text), dtype=np.int32))
    line = Line(text, y, pens, 21.0)
    return Block("body", "en", size_px, False, (font,), (0, 0, 0), "flat", None, "facts", (line,))


def package(name: str) -> Path:
    """Return the folder of an installed package."""
    folder = installed(name)
    assert folder is not None
    return folder


def font_file(
    path: Path,
    codes: frozenset[int],
    *,
    blank: frozenset[int] = frozenset(),
    boxed: frozenset[int] = frozenset(),
    weight: int = 400,
    advance: int = 500,
    units: int = 1000,
) -> None:
    """Write a font that draws another triangle for each code, nothing for the blank ones.

    For those that are `boxed` it is one and the same triangle.
    """
    names = {code: f"u{code:05X}" for code in codes | {0x20}}
    builder = FontBuilder(units, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names.values()])
    builder.setupCharacterMap(names)
    glyphs = dict.fromkeys([".notdef", *names.values()], TTGlyphPen(None).glyph())
    for code in codes - blank:
        height, pen = 550 if code in boxed else 300 + code % 256, TTGlyphPen(None)
        pen.moveTo((50, 0))
        pen.lineTo((50, height))
        pen.lineTo((450, height))
        pen.closePath()
        glyphs[names[code]] = pen.glyph()
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (advance, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2(usWeightClass=weight)
    builder.setupPost()
    builder.save(path)
