"""Renderer: (settings, seed, index) -> Sample, the same bytes in any order and any process.

`plan` chooses everything, `paint` draws what was chosen, `sample` adds the exact truth: what is
in the labels are the glyphs that were placed, and their boxes are the boxes of that ink.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from render.backgrounds import Backgrounds
from render.corpus import Corpus
from render.fonts import Fonts
from render.glyphs import Glyph, Type, pen
from render.ink import lay
from render.layouts import LAYOUTS
from render.page import MARGIN_PX, Page
from render.plan import Block, Box, Language, Line, Plan
from shards import RGB, ImageSource, Sample, Settings, UserError, digest, encode_png

SPOKEN: dict[str, tuple[Language, ...]] = {"en": ("en",), "zh": ("zh",), "mixed": ("en", "zh")}
"""Languages of the blocks on a page of each kind."""

PAGES_PER_CASE = 64
"""Consecutive indices that share a case of type (our choice: shards hold hundreds)."""

ATTEMPTS = 8
"""Layouts started on one page before we say that the text cannot be drawn (our choice)."""


class RenderSettings(Settings):
    """What pages look like. Shares are relative weights; 0 means never.

    `width`, `height` and `size_px` (smallest and largest em) are in px. `contrast_floor` is the
    WCAG ratio that every line holds in its worst window: 3 is what WCAG asks of large text; we
    take it for small text too because it is a floor against half-em windows, where WCAG compares
    plain areas, and because each plate hides a part of the photograph. On 100 pages of 256 px for
    each layout over the embedded photographs (seed 1, one page per photograph drawn), plates lie
    under 80, 70 and 28 % of the blocks (paragraph, columns, scatter); with WCAG's 4.5 for small
    text, under 93, 82 and 39 %.
    `part` names the photographs used, so that evaluation can render on held-out ones.
    """

    width: int = Field(default=256, ge=32, le=8192)
    height: int = Field(default=256, ge=32, le=8192)
    size_px: tuple[int, int] = (5, 20)
    languages: dict[Literal["en", "zh", "mixed"], float] = Field(
        default={"en": 1.0, "zh": 1.0, "mixed": 0.5}
    )
    layouts: dict[str, float] = Field(default={"paragraph": 1.0, "columns": 0.5, "scatter": 1.0})
    flat_share: float = Field(default=0.1, ge=0.0, le=1.0)
    contrast_floor: float = Field(default=3.0, ge=1.0, le=15.0)
    photographs: Path | None = None
    part: Literal["all", "train", "heldout"] = "all"
    corpus: Path | None = None
    fonts: Path | None = None

    @field_validator("languages", "layouts")
    @classmethod
    def _shares(cls, shares: dict[str, float]) -> dict[str, float]:
        if any(not 0 <= share < float("inf") for share in shares.values()):
            raise ValueError(f"shares {shares} must be finite and at least 0")
        if not any(shares.values()):
            raise ValueError(f"shares {shares} are all 0; give one a positive share")
        return shares

    @field_validator("layouts")
    @classmethod
    def _known(cls, shares: dict[str, float]) -> dict[str, float]:
        unknown = sorted(set(shares) - set(LAYOUTS))
        if unknown:
            raise ValueError(f"layouts {unknown} are unknown; use {sorted(LAYOUTS)}")
        return shares

    @model_validator(mode="after")
    def _room(self) -> Self:
        low, high = self.size_px
        if not 4 <= low <= high <= 64:
            raise ValueError(f"size_px {low, high} must be (smallest, largest) within [4, 64]")
        least = 4 * high + 2 * MARGIN_PX
        if min(self.width, self.height) < least:
            raise ValueError(
                f"{self.width}x{self.height} px is too small for text of {high} px; "
                f"give width and height of at least {least} or a smaller size_px"
            )
        return self


class Renderer:
    """Plans and paints pages for one (settings, seed).

    Fonts, text and the names of photographs are read once, here.
    """

    def __init__(self, settings: RenderSettings, seed: int = 0) -> None:
        """Check that fonts and text serve every language asked for.

        Raises:
            UserError: naming what is missing, where, and what to do.
        """
        if seed < 0:
            raise UserError(f"seed {seed} must be at least 0")
        self.settings = settings
        self.seed = seed
        self.fonts = Fonts.folder(settings.fonts) if settings.fonts else Fonts.embedded()
        drawable = self.fonts.characters()
        self._case: tuple[int, dict[Language, tuple[Type, ...]]] | None = None
        self.corpus = (
            Corpus.at(settings.corpus, drawable) if settings.corpus else Corpus.embedded(drawable)
        )
        asked = [SPOKEN[kind] for kind, share in settings.languages.items() if share > 0]
        for language in sorted(frozenset[Language]().union(*asked)):
            self.fonts.require(language, str(settings.fonts or "the embedded packages"))
            self.corpus.require(language)
        folder = settings.photographs
        source = ImageSource.folder(folder) if folder else ImageSource.embedded()
        self.backgrounds = Backgrounds(
            source.part(settings.part), settings.width, settings.height, settings.flat_share
        )

    @property
    def unreadable(self) -> dict[str, str]:
        """Return the photographs that were passed over so far, with the reason of each."""
        return dict(self.backgrounds.unreadable)

    def plan(self, index: int) -> Plan:
        """Choose everything about page `index` (at least 0).

        Raises:
            UserError: when no photograph can be read or nothing of the text can be drawn.
        """
        if index < 0:
            raise UserError(f"index {index} must be at least 0")
        settings = self.settings
        rng = np.random.default_rng([self.seed, index])
        kind = _weighted(rng, settings.languages)
        layout = _weighted(rng, settings.layouts)
        background = self.backgrounds.choose(rng, self.seed, index)
        page = Page(
            rng=rng,
            width=settings.width,
            height=settings.height,
            languages=SPOKEN[kind],
            sizes_px=settings.size_px,
            contrast_floor=settings.contrast_floor,
            fonts=self.fonts,
            cases=self._cases(index),
            corpus=self.corpus,
            canvas=self.backgrounds.paint(background),
        )
        for _ in range(ATTEMPTS):
            LAYOUTS[layout]().arrange(page)
            if page.blocks:
                break
        else:
            raise UserError(
                f"corpus: {ATTEMPTS} texts from {self.corpus.name} left nothing to draw on page "
                f"{index}; give longer text or a larger page"
            )
        return Plan(
            seed=self.seed,
            index=index,
            width=settings.width,
            height=settings.height,
            language=kind,
            layout=layout,
            background=background,
            blocks=tuple(page.blocks),
        )

    def paint(self, plan: Plan) -> RGB:
        """Draw a plan: (h, w, 3) uint8 sRGB. Uses the fonts and photographs, no randomness.

        Raises:
            UserError: when the plan names a face or photograph that these settings do not have.
        """
        canvas = self.backgrounds.paint(plan.background)
        for block in plan.blocks:
            if block.plate is not None:
                lay(canvas, block.plate)
        for block, line in plan.lines():
            _blend(canvas, block, [placed for placed in self._placed(line) if placed[1].mask.size])
        return canvas

    def sample(self, index: int) -> Sample:
        """Return page `index` as a PNG with its text and truth.

        Raises:
            UserError: as `plan` does.
        """
        plan = self.plan(index)
        truths = [self._truth(block, line) for block, line in plan.lines()]
        sizes = [line.size_px for _, line in plan.lines()]
        meta = {
            "kind": "render",
            "width": plan.width,
            "height": plan.height,
            "language": plan.language,
            "layout": plan.layout,
            "characters": sum(box is not None for truth in truths for box in truth["characters"]),
            "size_px": [min(sizes), max(sizes)],
            "contrast": min(line.contrast for _, line in plan.lines()),
            "plate": any(block.plate is not None for block in plan.blocks),
            "lines": truths,
            "plan": plan.model_dump(mode="json"),
        }
        return Sample(f"{index:09d}", encode_png(self.paint(plan)), "png", plan.text, meta)

    def fingerprint(self) -> str:
        """Digest what the settings point at: fonts, text and photographs (names and sizes)."""
        return digest(
            {
                "fonts": self.fonts.fingerprint(),
                "corpus": self.corpus.digest,
                "photographs": self.backgrounds.source.fingerprint(),
            }
        )

    def _cases(self, index: int) -> dict[Language, tuple[Type, ...]]:
        """Return the case of type of page `index`: a function of the seed and its neighbourhood.

        Opening a face at a size costs 1 to 15 ms (the auto-hinter studies it first), several
        times the drawing of a line, so that PAGES_PER_CASE pages share a few faces.
        """
        place = index // PAGES_PER_CASE
        if self._case is None or self._case[0] != place:
            rng = np.random.default_rng([self.seed, place, 2])
            both: tuple[Language, ...] = ("en", "zh")
            self._case = place, {one: self.fonts.case(rng, one) for one in both}
        return self._case[1]

    def _placed(self, line: Line) -> Iterator[tuple[str, Glyph, int, int]]:
        """Yield (character, glyph, left, top) of every character, spaces included."""
        for run in line.runs:
            face = self.fonts.faces.get(run.face)
            if face is None:
                raise UserError(f"fonts: the plan needs {run.face}, which is not here; add it")
            glyph_of = pen(face, run.weight, line.size_px).glyph
            for character, x in zip(run.text, run.x_px, strict=True):
                glyph = glyph_of(character)
                if glyph is None:
                    raise UserError(
                        f"fonts: {run.face} no longer draws {character!r}; use the same fonts"
                    )
                yield character, glyph, x + glyph.left, line.baseline_px + glyph.top

    def _truth(self, block: Block, line: Line) -> dict[str, Any]:
        """Describe one line: its text, boxes, sizes and colours, measured on the glyphs."""
        boxes: list[Box | None] = [
            (x, y, x + g.mask.shape[1], y + g.mask.shape[0]) if g.mask.size else None
            for _, g, x, y in self._placed(line)
        ]
        lefts, tops, rights, bottoms = zip(*(box for box in boxes if box), strict=True)
        face = self.fonts.faces[line.runs[0].face]
        x = pen(face, line.runs[0].weight, line.size_px).glyph("x")
        return {
            "text": line.text,
            "box": [min(lefts), min(tops), max(rights), max(bottoms)],
            "size_px": line.size_px,
            "ink_height_px": max(bottoms) - min(tops),
            "x_height_px": x.mask.shape[0] if x else None,
            "font": line.runs[0].face,
            "weight": line.runs[0].weight,
            "colour": list(block.colour),
            "contrast": line.contrast,
            "plate": block.plate is not None,
            "language": block.language,
            "role": block.role,
            "characters": boxes,
        }


def versions() -> dict[str, str]:
    """Return the versions of the libraries that shape pixels."""
    import cv2
    import PIL
    from PIL import features

    return {
        "pillow": PIL.__version__,
        "freetype": features.version("freetype2") or "unknown",
        "numpy": np.__version__,
        "opencv": cv2.__version__,
    }


def _blend(canvas: RGB, block: Block, placed: list[tuple[str, Glyph, int, int]]) -> None:
    """Blend the glyphs of a line, in sRGB as browsers do; where two meet the fuller one counts."""
    left, top = min(x for _, _, x, _ in placed), min(y for _, _, _, y in placed)
    right = max(x + glyph.mask.shape[1] for _, glyph, x, _ in placed)
    bottom = max(y + glyph.mask.shape[0] for _, glyph, _, y in placed)
    height, width = canvas.shape[:2]
    inside = 0 <= left < right <= width and 0 <= top < bottom <= height
    assert inside, "the page keeps all ink inside"
    mask = np.zeros((bottom - top, right - left), np.uint8)
    for _, glyph, x, y in placed:
        height, width = glyph.mask.shape
        part = mask[y - top : y - top + height, x - left : x - left + width]
        np.maximum(part, glyph.mask, out=part)
    part = canvas[top:bottom, left:right]
    share = mask[..., None].astype(np.uint16)
    colour = np.array(block.colour, np.uint16)
    part[...] = (part.astype(np.uint16) * (255 - share) + colour * share + 127) // 255


def _weighted(rng: np.random.Generator, shares: Mapping[Any, float]) -> str:
    """Draw a name by its share; names of share 0 are not there at all."""
    names = sorted(name for name, share in shares.items() if share > 0)
    ends = np.cumsum([shares[name] for name in names])
    return names[int(np.searchsorted(ends, rng.random() * ends[-1], side="right"))]
