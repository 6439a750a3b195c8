"""What a recipe makes, to be looked at: a page of every layout, of every set of sizes, and crops.

Every picture is lossless, since readers judge pixels. `render/variations.py` shows one page drawn
in every way.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from render.layouts import LAYOUTS
from render.picture.backgrounds import PAGES_PER_PHOTOGRAPH
from render.plan import LANGUAGES, Box, Language
from render.renderer import Renderer
from render.settings import DIFFICULTY, RenderSettings, only
from shards import RGB, Sample
from shards.boxes import COLOURS, cut, outlines, window

DETAIL = (96, 64)
"""Width and height in px of a detail, before it is enlarged."""

TIMES = 4
"""How much a detail is enlarged."""

CROP_PX = 256
"""Side in px of the crop of a page on a contact sheet."""

COMMON_LAYOUT = "paragraph"
"""The layout on which sizes and variations are compared: every language has it, and it warps."""

COMPARED: tuple[Language, ...] = ("en", "zh")
"""The languages in which sizes and variations are compared: one of each script."""

OPACITIES = bytes((0, 255, 128))
"""How far nothing, the outline of a line and that of a character hide what is below."""


@dataclass(frozen=True)
class Picture:
    """An image to show at `width` x `height` px, and outlines of boxes to lay over it.

    `webp` is lossless; `outlines` is a PNG, transparent where there is no box, or empty. Both may
    be stored smaller than they are shown.
    """

    webp: bytes
    outlines: bytes
    width: int
    height: int

    @classmethod
    def of(
        cls, pixels: RGB, drawn: NDArray[np.uint8] | None = None, *, times: int = 1
    ) -> "Picture":
        """Encode (h, w, 3) uint8, and over it what `shards.boxes.outlines` drew."""
        height, width = pixels.shape[:2]
        boxes = b"" if drawn is None else _outlines_png(drawn)
        return cls(_webp(pixels), boxes, times * width, times * height)

    @classmethod
    def enlarged(
        cls, pixels: RGB, corner: Sequence[int], lines: list[dict[str, Any]] | None = None
    ) -> "Picture":
        """Show a detail from (x, y) on, TIMES enlarged; with the boxes of `lines` if given."""
        left, top, right, bottom = part = window(pixels, corner, *DETAIL)
        drawn = None if lines is None else outlines(lines, part, times=TIMES)
        return cls.of(pixels[top:bottom, left:right], drawn, times=TIMES)


@dataclass(frozen=True)
class Card:
    """One page to look at, and a detail of its `smallest` line.

    `made` is false where the recipe makes no such page: its language has no share.
    """

    layout: str
    language: Language
    made: bool
    index: int
    picture: Picture
    detail: Picture
    smallest: dict[str, Any]
    sample: Sample


@dataclass(frozen=True)
class SizeCard:
    """A set of sizes, `low` to `high` px, on a page; or the `reason` why there is none."""

    name: str
    low: int
    high: int
    layout: str
    language: Language
    page: Card | None = None
    reason: str = ""


@dataclass(frozen=True)
class Crop:
    """A part of a page at its own size, and an enlarged detail of its smallest line, as wide."""

    title: str
    page: RGB
    detail: RGB
    smallest_px: int

    @property
    def caption(self) -> str:
        """Say what the detail shows."""
        return f"{self.title}: {self.smallest_px} px, {TIMES} times enlarged"


@dataclass(frozen=True)
class Gallery:
    """The settings of a recipe, and one renderer for every language that may be shown.

    Renderers of single pages are derived from that one, which reads fonts and text once.
    """

    settings: RenderSettings
    renderer: Renderer
    languages: tuple[Language, ...]

    @classmethod
    def of(cls, settings: RenderSettings, seed: int, make: Callable[[], Renderer]) -> "Gallery":
        """Show every language of the embedded text; of a user's own text what the recipe asks.

        `make` gives the renderer of these settings; it is called where that one will do.
        """
        able: set[Language] = {
            language for name in _layouts(settings) for language in LAYOUTS[name].languages
        }
        if settings.corpus or settings.fonts:
            able &= _asked(settings)
        languages: tuple[Language, ...] = tuple(name for name in LANGUAGES if name in able)
        whole = _changed(settings, languages=dict.fromkeys(languages, 1.0))
        served = whole.spoken() <= settings.spoken()
        return cls(settings, make() if served else Renderer(whole, seed), languages)

    @property
    def layouts(self) -> list[str]:
        """List the layouts of the recipe."""
        return _layouts(self.settings)

    @property
    def pairs(self) -> list[tuple[str, Language]]:
        """List (layout, language), every language that a layout of the recipe can be set in."""
        return [
            (name, language)
            for name in self.layouts
            for language in LAYOUTS[name].languages
            if language in self.languages
        ]

    @property
    def compared(self) -> list[Language]:
        """List the languages in which sizes and variations are compared."""
        return [language for language in COMPARED if language in self.renderer.settings.spoken()]

    def narrow(self, layout: str, language: Language, **changes: Any) -> Renderer:
        """Return a renderer of pages of one layout and language, the rest as the recipe says.

        Raises:
            ValidationError: when the page is too small for the sizes asked for.
        """
        changes |= {"layouts": {layout: 1.0}, "languages": {language: 1.0}}
        if LAYOUTS[layout].on_sheets:
            changes |= only("sheet")
        return self.renderer.with_settings(_changed(self.settings, **changes))

    def pages(self) -> Iterator[Card]:
        """Yield a page of every layout in every language, each on a photograph of its own."""
        for number, (layout, language) in enumerate(self.pairs):
            renderer = self.narrow(layout, language)
            yield self._card(renderer, layout, language, number * PAGES_PER_PHOTOGRAPH)

    def sizes(self) -> Iterator[SizeCard]:
        """Yield a page of every set of sizes: one layout, one photograph."""
        for name, (low, high) in DIFFICULTY.items():
            for language in self.compared:
                card = SizeCard(name, low, high, COMMON_LAYOUT, language)
                try:
                    renderer = self.narrow(COMMON_LAYOUT, language, size_px=name, flat_share=0.0)
                except ValidationError as error:
                    reason = error.errors()[0]["msg"].removeprefix("Value error, ")
                    yield replace(card, reason=reason)
                else:
                    yield replace(card, page=self._card(renderer, COMMON_LAYOUT, language, 0))

    def crops(self) -> Iterator[Crop]:
        """Yield a crop of every layout, the languages of the recipe in turn."""
        asked = _asked(self.settings)
        for number, name in enumerate(self.layouts):
            able: list[Language] = [
                language for language in LAYOUTS[name].languages if language in self.languages
            ]
            able = [language for language in able if language in asked] or able
            if not able:
                continue
            language = able[number % len(able)]
            sample = self.narrow(name, language).sample(number * PAGES_PER_PHOTOGRAPH)
            pixels = sample.pixels()
            side = min(CROP_PX, *pixels.shape[:2])
            line = _smallest(sample.meta["lines"])
            part = cut(pixels, line["box"], side // TIMES, side // TIMES // 2)
            yield Crop(
                title=f"{name}, {language}",
                page=cut(pixels, _first_corner(sample.meta, side), side, side),
                detail=part.repeat(TIMES, axis=0).repeat(TIMES, axis=1),
                smallest_px=line["size_px"],
            )

    def _card(self, renderer: Renderer, layout: str, language: Language, index: int) -> Card:
        """Draw a page with its boxes, and a detail of its smallest line."""
        sample = renderer.sample(index)
        pixels, lines = sample.pixels(), sample.meta["lines"]
        smallest = _smallest(lines)
        height, width = pixels.shape[:2]
        return Card(
            layout=layout,
            language=language,
            made=language in _asked(self.settings),
            index=index,
            picture=Picture.of(pixels, outlines(lines, (0, 0, width, height))),
            detail=Picture.enlarged(pixels, smallest["box"], lines),
            smallest=smallest,
            sample=sample,
        )


def _layouts(settings: RenderSettings) -> list[str]:
    return [name for name in LAYOUTS if settings.layouts.get(name, 0) > 0]


def _asked(settings: RenderSettings) -> set[Language]:
    return {name for name, share in settings.languages.items() if share > 0}


def _changed(settings: RenderSettings, **changes: Any) -> RenderSettings:
    return RenderSettings.model_validate(settings.model_dump() | changes)


def _smallest(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the line of the smallest type, the longest where several are."""
    return min(lines, key=lambda line: (line["size_px"], -len(line["text"])))


def _first_corner(meta: dict[str, Any], side: int) -> tuple[int, int]:
    """Return the corner of a crop that has the top of the text in its middle."""
    text = Box.union(block["box"] for block in meta["blocks"])
    return (text.left + text.right - side) // 2, text.top - 4


def _webp(pixels: RGB) -> bytes:
    """Encode (h, w, 3) uint8 losslessly.

    In lossless WebP `quality` is effort: this takes 130 ms for a page of 512 px and saves 15 %
    over the fastest setting, which keeps the gallery of a recipe below 25 MB.
    """
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "WEBP", lossless=True, quality=50, method=4)
    return stream.getvalue()


def _outlines_png(drawn: NDArray[np.uint8]) -> bytes:
    """Encode outlines (h, w) in their colours, nothing where there is no box."""
    image = Image.fromarray(drawn)
    image.putpalette(COLOURS.tobytes())
    stream = io.BytesIO()
    image.save(stream, "PNG", transparency=OPACITIES, bits=2, optimize=True)
    return stream.getvalue()
