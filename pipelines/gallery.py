"""The preview of a recipe: what its pages look like, before any shard is made.

`nonpareil render RECIPE --preview FILE`: one HTML page that needs nothing else, or one PNG. Every
picture is lossless, since readers judge pixels.
"""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import radians, sin
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from pydantic import ValidationError

from pipelines.engine.progress import progress_bar
from render import DIFFICULTY, LAYOUTS, Renderer, RenderSettings, versions
from render.page import OUTLINE_PX
from render.picture.backgrounds import PAGES_PER_PHOTOGRAPH
from render.picture.canvas import Warp
from render.picture.effects import EFFECTS
from render.plan import LANGUAGES, Block, Box, Effect, Language, Plan
from shards import RGB, UserError
from shards.boxes import COLOURS, cut, outlines, window
from shards.inspect.sheet import lay_out
from shards.store import write_atomically

if TYPE_CHECKING:
    from pipelines.engine.jobs import RenderJob

DETAIL = (96, 64)
"""Width and height in px of a detail, before it is enlarged."""

TIMES = 4
"""How much a detail is enlarged."""

SHEET_COLUMNS, SHEET_PX = 5, 256
"""Pages side by side on the contact sheet, and the side of each page's crop in px."""

COMMON_LAYOUT = "paragraph"
"""The layout on which sizes and variations are compared: every language has it, and it warps."""

COMPARED: tuple[Language, ...] = ("en", "zh")
"""The languages in which sizes and variations are compared: one of each script."""

COMPARED_PX = 10
"""The em near which variations are compared: small enough to show, large enough to read."""

TRIES = 40
"""Pages looked at for one that needs a plate and is turned well; about one in four is."""

OPACITIES = bytes((0, 255, 128))
"""How far nothing, the outline of a line and that of a character hide what is below."""


def preview_recipe(job: RenderJob, recipe: str, file: Path) -> dict[str, Any]:
    """Draw what a recipe makes and return what was written: file, pages, bytes, seconds.

    Args:
        job: the recipe as read.
        recipe: its name or path; the name alone is shown.
        file: a .html for the whole gallery, a .png for a contact sheet.

    Raises:
        UserError: when the file has another ending or cannot be written, before anything is drawn.
    """
    make = MAKERS.get(file.suffix.lower())
    if make is None:
        raise UserError(f"--preview {file} ends in none of {', '.join(MAKERS)}; name such a file")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"--preview {file}: {file.parent} is a file; give a folder") from error
    if file.is_dir():
        raise UserError(f"--preview {file} is a folder; give the name of a file")
    start = time.monotonic()
    pages = make(_Studio.of(job), Path(recipe).stem, file)
    seconds = round(time.monotonic() - start, 1)
    return {"file": str(file), "pages": pages, "bytes": file.stat().st_size, "seconds": seconds}


@dataclass(frozen=True)
class _Studio:
    """A recipe with one renderer for all it may show; others are derived from that one."""

    job: RenderJob
    renderer: Renderer
    languages: tuple[Language, ...]

    @classmethod
    def of(cls, job: RenderJob) -> _Studio:
        """Show every language of the embedded text; of a user's own text what the recipe asks."""
        settings = job.render
        able: set[Language] = {
            one for name in _layouts(settings) for one in LAYOUTS[name].languages
        }
        if settings.corpus or settings.fonts:
            able &= _asked(settings)
        languages: tuple[Language, ...] = tuple(name for name in LANGUAGES if name in able)
        whole = _narrowed(settings, languages=dict.fromkeys(languages, 1.0))
        if whole.spoken() <= settings.spoken():
            return cls(job, job.renderer, languages)
        return cls(job, Renderer(whole, job.seed), languages)

    def pairs(self) -> list[tuple[str, Language]]:
        """List (layout, language), every language that a layout of the recipe can be set in."""
        return [
            (name, language)
            for name in _layouts(self.job.render)
            for language in LAYOUTS[name].languages
            if language in self.languages
        ]

    def compared(self) -> list[Language]:
        """List the languages in which sizes and variations are compared."""
        return [one for one in COMPARED if one in self.renderer.settings.spoken()]

    def narrow(self, layout: str, language: Language, **changes: Any) -> Renderer:
        """Return a renderer of pages of one layout and language, the rest as the recipe says.

        Raises:
            ValidationError: when the page is too small for the sizes asked for.
        """
        changes |= {"layouts": {layout: 1.0}, "languages": {language: 1.0}}
        return self.renderer.with_settings(_narrowed(self.job.render, **changes))


def _layouts(settings: RenderSettings) -> list[str]:
    return [name for name in LAYOUTS if settings.layouts.get(name, 0) > 0]


def _asked(settings: RenderSettings) -> set[Language]:
    return {name for name, share in settings.languages.items() if share > 0}


def _narrowed(settings: RenderSettings, **changes: Any) -> RenderSettings:
    return RenderSettings.model_validate(settings.model_dump() | changes)


def _write_html(studio: _Studio, name: str, file: Path) -> int:
    from jinja2 import Environment, FileSystemLoader

    pairs, compared = studio.pairs(), studio.compared()
    with progress_bar() as bar:
        total = len(pairs) + len(compared) * (len(DIFFICULTY) + 1)
        task = bar.add_task("preview", total=total, note="")

        def counted(items: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = []
            for item in items:
                found.append(item)
                bar.advance(task)
            return found

        pages = counted(_pages(studio))
        sizes = counted(_sizes(studio))
        variations = counted(_variations(studio))
    page = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("gallery.html")
    text = page.render(
        name=name,
        recipe=studio.job.model_dump(mode="json"),
        digest=studio.job.digest,
        seed=studio.job.seed,
        versions=versions(),
        layouts=_layouts(studio.job.render),
        languages=studio.languages,
        pages=pages,
        sizes=sizes,
        variations=variations,
        times=TIMES,
    )
    write_atomically(file, text)
    return len(pages) + sum("picture" in card for card in sizes)


def _pages(studio: _Studio) -> Iterator[dict[str, Any]]:
    """Yield a page of every layout in every language, each on a photograph of its own."""
    settings = studio.job.render
    for number, (layout, language) in enumerate(studio.pairs()):
        index = number * PAGES_PER_PHOTOGRAPH
        card = _card(studio.narrow(layout, language), index)
        yield card | {
            "layout": layout,
            "language": language,
            "made": language in _asked(settings),
        }


def _sizes(studio: _Studio) -> Iterator[dict[str, Any]]:
    """Yield a page of every set of sizes: one layout, one photograph."""
    for name, (low, high) in DIFFICULTY.items():
        for language in studio.compared():
            card = {
                "name": name,
                "range": f"{low}–{high} px",
                "layout": COMMON_LAYOUT,
                "language": language,
            }
            try:
                renderer = studio.narrow(COMMON_LAYOUT, language, size_px=name, flat_share=0.0)
            except ValidationError as error:
                reason = error.errors()[0]["msg"].removeprefix("Value error, ")
                yield card | {"reason": reason}
            else:
                yield card | _card(renderer, 0)


def _card(renderer: Renderer, index: int) -> dict[str, Any]:
    """Draw a page with its boxes, and a detail of its smallest line."""
    sample = renderer.sample(index)
    pixels, line = sample.pixels(), _smallest(sample.meta["lines"])
    height, width = pixels.shape[:2]
    return {
        "index": index,
        "picture": _picture(pixels, outlines(sample.meta["lines"], (0, 0, width, height))),
        "detail": _enlarged(pixels, line["box"], sample.meta),
        "smallest": line,
        "text": sample.text,
        "meta": sample.meta,
    }


def _smallest(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the line of the smallest type, the longest where several are."""
    return min(lines, key=lambda line: (line["size_px"], -len(line["text"])))


@dataclass(frozen=True)
class _Variant:
    """One way to draw a page: its group, its name, what it means, the plan."""

    group: str
    name: str
    meaning: str
    plan: Plan


def _variations(studio: _Studio) -> Iterator[dict[str, Any]]:
    """Yield for each language one page drawn in every way, in groups of details."""
    for language in studio.compared():
        warped, aids = _base(studio, language)
        block = min(warped.blocks, key=lambda block: abs(block.size_px - COMPARED_PX))
        # Painting needs photographs of this size only, whatever else the settings say.
        painter = studio.narrow(COMMON_LAYOUT, language)
        groups: dict[str, list[dict[str, Any]]] = {}
        for one in _variants(warped):
            shown = _corner(one.plan, block)
            groups.setdefault(one.group, []).append(_variant(painter, one, shown))
        for one in aids:
            shown = _corner(one.plan, one.plan.blocks[0])
            groups.setdefault(one.group, []).append(_variant(painter, one, shown))
        yield {
            "layout": COMMON_LAYOUT,
            "language": language,
            "index": warped.index,
            "block": block,
            "picture": _picture(painter.paint(replace(warped, warp=None))),
            "groups": groups,
        }


def _variant(painter: Renderer, one: _Variant, corner: Sequence[int]) -> dict[str, Any]:
    pixels = painter.paint(one.plan)
    card = {"name": one.name, "meaning": one.meaning, "detail": _enlarged(pixels, corner)}
    # Only a whole page shows how it is turned.
    return card | ({"picture": _picture(pixels)} if one.plan.warp else {})


def _base(studio: _Studio, language: Language) -> tuple[Plan, list[_Variant]]:
    """Find a page that needs a plate and is turned well, and its first block otherwise aided.

    The page is planned for its warp, so all of it stays inside the picture when it is warped.
    """
    settings = studio.job.render
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
        return studio.narrow(COMMON_LAYOUT, language, **changes, **more)

    plates = narrow(outline_share=0.0)
    for index in range(0, TRIES * PAGES_PER_PHOTOGRAPH, PAGES_PER_PHOTOGRAPH):
        plan = plates.plan(index)
        turned = plan.warp is not None and abs(plan.warp[3]) > 0.6 * sin(radians(turn_deg))
        # Smaller text gets no outline.
        large = plan.blocks[0].size_px >= min(OUTLINE_PX["zh"], max(settings.sizes))
        if turned and large and plan.blocks[0].aid == "plate":
            break
    else:
        plan = plates.plan(0)
    bare = narrow(outline_share=0.0, contrast_floor=1.0).plan(plan.index)
    outlined = narrow(outline_share=1.0).plan(plan.index)
    floor = f"for a floor of {settings.contrast_floor:g} : 1"
    aids = [
        _Variant("aid", "none", "ink alone, without a floor of contrast", replace(bare, warp=None)),
        _Variant("aid", "outline", f"ink with an outline, {floor}", replace(outlined, warp=None)),
        _Variant("aid", "plate", f"ink on a plate, {floor}", replace(plan, warp=None)),
    ]
    # On plain paper no page may need help.
    return plan, [one for one in aids if one.plan.blocks[0].aid == one.name]


def _variants(warped: Plan) -> Iterator[_Variant]:
    """Yield every variation of a page by itself; the plan is otherwise the same."""
    base = replace(warped, warp=None)
    yield _Variant("hinting", "none", "outlines as they are", base)
    light, full = (replace(base, hinting=name) for name in ("light", "full"))
    yield _Variant("hinting", "light", "fitted to the pixel grid in height", light)
    yield _Variant("hinting", "full", "as the font itself says", full)
    yield _Variant("blending", "srgb", "coverage mixes sRGB values, as most software does", base)
    linear = replace(base, blending="linear")
    yield _Variant("blending", "linear", "coverage mixes light", linear)
    whole = replace(base, subpixel=False, blocks=tuple(map(_on_whole_pixels, base.blocks)))
    if whole.blocks != base.blocks:
        yield _Variant("subpixel", "on", "letters stand on quarter pixels", base)
        yield _Variant("subpixel", "off", "letters stand on whole pixels", whole)
    yield _Variant("warp", "flat", "not warped", base)
    if warped.warp:
        yield _Variant(
            "warp", "turned and tilted", "drawn through the warp, never resampled", warped
        )
    yield _Variant("effects", "none", "the finished page", base)
    for kind, effect in EFFECTS.items():
        for strength in (effect.low, effect.high):
            drawn = replace(base, effects=(Effect(kind, strength, 1),))
            yield _Variant("effects", kind, f"strength {strength:g}", drawn)


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


def _picture(pixels: RGB, boxes: RGB | None = None, *, times: int = 1) -> dict[str, Any]:
    """Return what the page needs to show pixels, and over them their boxes."""
    height, width = pixels.shape[:2]
    return {
        "image": _webp_uri(pixels),
        "boxes": "" if boxes is None else _boxes_uri(boxes),
        "width": times * width,
        "height": times * height,
    }


def _enlarged(
    pixels: RGB, corner: Sequence[int], meta: dict[str, Any] | None = None
) -> dict[str, Any]:
    left, top, right, bottom = part = window(pixels, corner, *DETAIL)
    boxes = None if meta is None else outlines(meta["lines"], part, times=TIMES)
    return _picture(pixels[top:bottom, left:right], boxes, times=TIMES)


def _webp_uri(pixels: RGB) -> str:
    """Encode (h, w, 3) uint8 as a lossless data URI.

    In lossless WebP `quality` is effort: this takes 130 ms for a page of 512 px and saves 15 %
    over the fastest setting, which keeps the gallery of a recipe below 25 MB.
    """
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "WEBP", lossless=True, quality=50, method=4)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _boxes_uri(boxes: RGB) -> str:
    """Encode outlines (h, w) as a PNG data URI, nothing where there is no box."""
    image = Image.fromarray(boxes)
    image.putpalette(COLOURS.tobytes())
    stream = io.BytesIO()
    image.save(stream, "PNG", transparency=OPACITIES, bits=2, optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _write_png(studio: _Studio, name: str, file: Path) -> int:
    """Lay a crop of every layout out in a grid, and below it details of the smallest lines."""
    del name
    shown: list[_Crop] = []
    with progress_bar() as bar:
        task = bar.add_task("preview", total=len(_layouts(studio.job.render)), note="")
        for crop in _crops(studio):
            shown.append(crop)
            bar.advance(task)
    columns = min(SHEET_COLUMNS, len(shown))
    smallest = sorted(shown, key=lambda crop: crop.smallest["size_px"])[:columns]
    rows = [[(crop.page, crop.title) for crop in shown[i : i + columns]]
            for i in range(0, len(shown), columns)]  # fmt: skip
    rows.append([(crop.detail, crop.caption) for crop in smallest])
    stream = io.BytesIO()
    Image.fromarray(lay_out(rows)).save(stream, "PNG", optimize=True)
    file.write_bytes(stream.getvalue())
    return len(shown)


@dataclass(frozen=True)
class _Crop:
    """A part of a page at its own size, and an enlarged detail as wide."""

    title: str
    page: RGB
    detail: RGB
    smallest: dict[str, Any]

    @property
    def caption(self) -> str:
        """Say what the detail shows."""
        return f"{self.title}: {self.smallest['size_px']} px, {TIMES} times enlarged"


def _crops(studio: _Studio) -> Iterator[_Crop]:
    """Yield a crop of every layout, the languages of the recipe in turn."""
    settings = studio.job.render
    for number, name in enumerate(_layouts(settings)):
        spoken: list[Language] = [one for one in LAYOUTS[name].languages if one in studio.languages]
        able: list[Language] = [one for one in spoken if one in _asked(settings)] or spoken
        if not able:
            continue
        language = able[number % len(able)]
        sample = studio.narrow(name, language).sample(number * PAGES_PER_PHOTOGRAPH)
        pixels = sample.pixels()
        side = min(SHEET_PX, *pixels.shape[:2])
        line = _smallest(sample.meta["lines"])
        part = cut(pixels, line["box"], side // TIMES, side // TIMES // 2)
        yield _Crop(
            title=f"{name}, {language}",
            page=cut(pixels, _first_corner(sample.meta, side), side, side),
            detail=part.repeat(TIMES, axis=0).repeat(TIMES, axis=1),
            smallest=line,
        )


def _first_corner(meta: dict[str, Any], side: int) -> tuple[int, int]:
    """Return the corner of a crop that has the top of the text in its middle."""
    text = Box.union(block["box"] for block in meta["blocks"])
    return (text.left + text.right - side) // 2, text.top - 4


MAKERS = {".html": _write_html, ".png": _write_png}
