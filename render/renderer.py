"""Renderer: (settings, seed, index) -> Sample, the same bytes in any order and any process.

`plan` chooses everything, `paint` draws what was chosen, `sample` adds the exact truth: what is
in the labels are the glyphs that were placed, and their boxes are the boxes of that ink.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from render.compiled import make_ready
from render.drawing import draw
from render.layouts import FALLBACK, LAYOUTS
from render.page import Material, Page, Sizes
from render.picture.backgrounds import Backgrounds
from render.picture.canvas import Canvas
from render.picture.effects import EFFECTS
from render.picture.effects import draw as draw_effects
from render.plan import Blending, Choices, Ground, HanVariant, Hinting, Language, Plan
from render.settings import RenderSettings
from render.text.corpus import Corpus
from render.text.facts import Facts
from render.text.scripts import ASCII, HAN_OF, PUNCTUATION
from render.truth import describe
from render.type.atlas import Atlas, Strike
from render.type.fonts import Fonts
from render.type.placing import Placed, SetText, place
from render.warp import Warp
from shards import RGB, ImageSource, Sample, UserError, encode
from shards.sample import png_encoder
from shards.settings import LARGEST_SEED
from shards.skipped import Skip, Skips, by_count, readable

ATTEMPTS = 4
"""Layouts started on one page before another layout is taken (our choice)."""


class Renderer:
    """Plans and paints pages for one (settings, seed).

    Fonts, text and the names of photographs are read once, here.
    """

    def __init__(
        self, settings: RenderSettings, seed: int = 0, *, atlas: Path | None = None
    ) -> None:
        """Check that fonts and text serve every language asked for.

        `atlas` is a folder through which the processes of a machine share drawn glyphs; without
        it each draws its own. It changes no byte.

        Raises:
            UserError: naming what is missing, where, and what to do.
        """
        if not 0 <= seed <= LARGEST_SEED:
            raise UserError(f"seed {seed} must be at least 0 and below 2^64")
        self.seed = seed
        folders = settings.fonts or ()
        fonts = Fonts.of(folders, embedded=settings.embedded_fonts, cache=atlas)
        packages = ["the embedded packages"] if settings.embedded_fonts else []
        where = " and ".join([*packages, *(readable(str(folder)) for folder in folders)])
        languages = settings.spoken()
        for language in sorted(languages):
            fonts.require(language, where)
        drawable, shares = fonts.characters(), dict[str, float](settings.character_shares.items())
        corpus = (
            Corpus.at(settings.corpus, drawable, languages, shares)
            if settings.corpus
            else Corpus.embedded(drawable, languages, atlas, shares)
        )
        for language in sorted(languages):
            corpus.require(language)
        self.material = Material(fonts, Atlas(atlas), corpus, Facts.embedded())
        folder = settings.photographs
        self.source = ImageSource.at(folder) if folder else ImageSource.embedded()
        self._use(settings)

    def _use(self, settings: RenderSettings) -> None:
        self.settings = settings
        self.backgrounds = Backgrounds(
            self.source.part(settings.part), settings.width, settings.height
        )
        self._sizes: dict[tuple[Language, str], Sizes] = {}
        self._grounds = {name: settings.grounds(name) for name in settings.layouts}

    def with_settings(self, settings: RenderSettings) -> Self:
        """Return a renderer of other pages from the same fonts, text and photographs, at once.

        Raises:
            UserError: when `settings` names other material or a language that was not loaded.
        """
        for name in ("fonts", "embedded_fonts", "corpus", "character_shares", "photographs"):
            if getattr(settings, name) != getattr(self.settings, name):
                raise UserError(f"{name}: {getattr(settings, name)} is not what was loaded")
        for language in settings.spoken():
            self.material.corpus.require(language)
        other = copy(self)
        other._use(settings)
        return other

    @property
    def unreadable(self) -> dict[str, str]:
        """Return the photographs that were passed over so far, with the reason of each."""
        return dict(self.backgrounds.unreadable)

    @property
    def skips(self) -> Skips:
        """Return what the material holds and no page shows.

        That is what lies beside photographs, files of fonts and text that were left out, and
        characters that no font draws.
        """
        skips, corpus = Skips(), self.material.corpus
        skips.merge(self.source.skips)
        fonts = self.material.fonts
        skips.extend(
            Skip(name, f"fonts: {reason}")
            for name, reason in fonts.skipped.items()
            if name not in fonts.known
        )
        skips.extend(Skip(name, f"text: {reason}") for name, reason in corpus.skipped.items())
        if corpus.undrawn:
            kinds = [
                f"{character} U+{ord(character):04X}" for character in by_count(corpus.undrawn)
            ]
            reason = f"characters of {len(kinds):,} kinds that no font draws"
            skips.count(reason, corpus.undrawn.total(), kinds)
        return skips

    def plan(self, index: int) -> Plan:
        """Choose everything about page `index` (at least 0).

        Raises:
            UserError: when no photograph can be read or nothing of the text can be drawn.
        """
        return self._arranged(index)[0]

    def _arranged(self, index: int) -> tuple[Plan, Page]:
        """Return the plan of a page, and the page: its picture but for the ink, and its glyphs."""
        if index < 0:
            raise UserError(f"index {index} must be at least 0")
        make_ready()
        settings = self.settings
        rng = np.random.default_rng([self.seed, index])
        language: Language = _weighted(rng, settings.languages)
        # Drawn for these pages only, so that no other page depends on it.
        variant: HanVariant | None = (
            _weighted(rng, settings.han_variants) if language == "zh-hant" else None
        )
        layout: str = _weighted(
            rng,
            {
                name: share
                for name, share in settings.layouts.items()
                if language in LAYOUTS[name].languages
            },
        )
        ground: Ground = "flat"
        if rng.random() >= settings.flat_share:
            ground = _weighted(rng, self._grounds[layout])
        background = self.backgrounds.choose(rng, self.seed, index, ground, settings.contrast_floor)
        hinting: Hinting = _weighted(rng, settings.hinting)
        subpixel = bool(rng.random() < settings.subpixel_share)
        blending: Blending = _weighted(rng, settings.blending)
        warp = self._warp(rng) if LAYOUTS[layout].warps else None
        effects = draw_effects(rng, settings.effects)
        choices = Choices(
            seed=self.seed,
            index=index,
            width=settings.width,
            height=settings.height,
            language=language,
            layout=layout,
            ground=ground,
            hinting=hinting,
            subpixel=subpixel,
            blending=blending,
            warp=warp.numbers if warp else None,
            retries=0,
            background=background,
        )
        page = self._filled(rng, choices, variant, warp)
        plan = Plan.following(
            page.choices,
            rects=tuple(page.rects),
            marks=tuple(page.marks),
            blocks=tuple(page.blocks),
            effects=effects,
            fallbacks=page.fallbacks,
        )
        for mark in plan.marks:
            page.canvas.lay(mark)
        return plan, page

    def _filled(
        self,
        rng: np.random.Generator,
        choices: Choices,
        variant: HanVariant | None,
        warp: Warp | None,
    ) -> Page:
        """Arrange a page as it was chosen, again or in another layout while it stays empty."""
        while True:
            page = Page(
                rng=rng,
                choices=choices,
                han_variant=variant,
                material=self.material,
                sizes=self._sizes_of(choices.language, choices.layout),
                contrast_floor=self.settings.contrast_floor,
                plate_opacity=self.settings.plate_opacity,
                sheet_opacity=self.settings.sheet_opacity,
                canvas=Canvas(partial(self.backgrounds.paint, choices.background), warp),
            )
            self.settings.layout_of(choices.layout).arrange(page)
            if page.blocks:
                return page
            choices = replace(choices, retries=choices.retries + 1)
            if choices.retries == ATTEMPTS:
                bare: Ground = "bare" if choices.background.source else "flat"
                choices = replace(choices, layout=FALLBACK, ground=bare)
            if choices.retries == 2 * ATTEMPTS:
                raise UserError(
                    f"corpus: {choices.retries} texts from {self.material.corpus.name} left "
                    f"nothing to draw on page {choices.index}; give longer text or a larger page"
                )

    def _sizes_of(self, language: Language, layout: str) -> Sizes:
        sizes = self._sizes.get((language, layout))
        if sizes is None:
            shares = self.settings.sizes_of(language)
            sizes = self._sizes[language, layout] = Sizes(shares, LAYOUTS[layout].thinning)
        return sizes

    def paint(self, plan: Plan) -> RGB:
        """Draw a plan: (h, w, 3) uint8 sRGB. Uses the fonts and photographs, no randomness.

        Raises:
            UserError: when the plan names a face, a photograph or a kind of effect that is not
                here, or is of another size.
        """
        placed = self._checked(plan)
        warp = Warp(plan.warp) if plan.warp else None
        canvas = Canvas(partial(self.backgrounds.paint, plan.background), warp)
        for rect in (*plan.rects, *plan.marks):
            canvas.lay(rect)
        return draw(plan, placed, canvas.pixels)

    def sample(self, index: int) -> Sample:
        """Return page `index` as an encoded picture with its text and truth.

        Raises:
            UserError: as `plan` does.
        """
        plan, page = self._arranged(index)
        material = self.material
        meta = describe(plan, page.placed, material.fonts, material.atlas, page.han_variant)
        image = encode(draw(plan, page.placed, page.canvas.pixels), self.settings.format)
        return Sample(f"{index:09d}", image, self.settings.format, plan.text, meta)

    def strikes(self) -> Iterator[tuple[Strike, NDArray[np.uint32]]]:
        """Yield every strike that pages of these settings can ask for, but for vertical text.

        With each come the code points (n,) that their text may have; its face may lack some.
        """
        settings = self.settings
        hintings: list[Hinting] = [name for name, share in settings.hinting.items() if share > 0]
        pages: list[Language] = [name for name, share in settings.languages.items() if share > 0]
        chinese: list[Language] = [name for name in pages if name != "en"] or pages
        variants: list[HanVariant] = [
            name for name, share in settings.han_variants.items() if share > 0
        ]
        characters = {
            language: HAN_OF.get(language, frozenset())
            | self.material.corpus.characters(language, variants)
            for language in settings.spoken()
        }
        for font in self.material.fonts.instances(sorted(settings.spoken())):
            shown = [
                characters[language] for language in sorted(font.face.languages & characters.keys())
            ]
            codes = np.array(sorted((ASCII | PUNCTUATION).union(*shown)), np.uint32)
            # A Chinese face sets English only beside Chinese, a Latin one is in every page.
            of_pages = chinese if font.face.han else pages
            for size_px in sorted({s for name in of_pages for s in self._used(name)}):
                for hinting in hintings:
                    yield self.material.atlas.strike(font, size_px, hinting), codes

    def _used(self, language: Language) -> list[int]:
        return [size for size, share in self.settings.sizes_of(language).items() if share > 0]

    def _checked(self, plan: Plan) -> list[Placed]:
        """Return the glyphs of a plan that may come from anywhere, all inside the page.

        The compiled loops trust what they are given: nothing may reach them unlooked at.
        """
        size = self.settings.width, self.settings.height
        if (plan.width, plan.height) != size:
            raise UserError(
                f"plan: it is of {plan.width}x{plan.height} px, these settings are of "
                f"{size[0]}x{size[1]}; use the settings it was made with"
            )
        for effect in plan.effects:
            if effect.kind not in EFFECTS:
                raise UserError(f"plan: effect {effect.kind!r} is not one of {sorted(EFFECTS)}")
        placed = self._placed(plan)
        rects = np.array([(0, 0, 0, 0), *(r.box for r in (*plan.rects, *plan.marks))], np.int64)
        for boxes in (rects, *(text.boxes for text in placed)):
            inside = (boxes[:, :2] >= 0) & (boxes[:, :2] <= boxes[:, 2:]) & (boxes[:, 2:] <= size)
            if not inside.all():
                box = boxes[~inside.all(axis=1)][0].tolist()
                raise UserError(
                    f"plan: box {box} lies outside the page of {size[0]}x{size[1]} px; "
                    "render the sample again"
                )
        return placed

    def fingerprints(self) -> dict[str, str]:
        """Digest what the settings point at: fonts, text and photographs (names and sizes)."""
        return {
            "fonts": self.material.fonts.fingerprint(),
            "corpus": self.material.corpus.digest,
            "facts": self.material.facts.digest,
            "photographs": self.backgrounds.source.fingerprint(),
        }

    def _warp(self, rng: np.random.Generator) -> Warp | None:
        """Draw a slight turn and tilt, mostly none."""
        settings = self.settings
        if rng.random() >= settings.warp_share:
            return None
        turn, right, down = rng.uniform(-1, 1, 3).tolist()
        side = max(settings.width, settings.height)
        tilt = (settings.tilt * right / side, settings.tilt * down / side)
        centre = (settings.width / 2, settings.height / 2)
        return Warp.about(centre, np.deg2rad(settings.turn_deg * turn), tilt)

    def _placed(self, plan: Plan) -> list[Placed]:
        warp = Warp(plan.warp) if plan.warp else None
        fonts, atlas = self.material.fonts, self.material.atlas
        texts = (SetText.of(block, fonts) for block in plan.blocks)
        return [place(text, atlas, plan.hinting, warp) for text in texts]


def versions() -> dict[str, str]:
    """Return the versions of the libraries that shape pixels and labels."""
    from importlib.metadata import version

    import cv2
    import freetype
    import PIL

    return {
        "freetype": ".".join(str(part) for part in freetype.version()),
        "pillow": PIL.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        **{name: version(name) for name in ("numba", "uharfbuzz", "uniseg")},
        "fpng": png_encoder()[0],
        "simplejpeg": version("simplejpeg"),
    }


def _weighted(rng: np.random.Generator, shares: Mapping[Any, float]) -> Any:
    """Draw a name by its share; names of share 0 are not there at all."""
    names = sorted(name for name, share in shares.items() if share > 0)
    ends = list(accumulate(shares[name] for name in names))
    return names[bisect_right(ends, rng.random() * ends[-1])]
