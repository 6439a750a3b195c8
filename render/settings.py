"""RenderSettings: what pages look like. Shares are relative weights; 0 means never."""

from collections.abc import Mapping
from math import ceil
from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeVar, cast

from pydantic import AfterValidator, Field, create_model, model_validator

from render.layouts import LAYOUTS, Layout
from render.layouts.layout import Opacities, Share
from render.page import MARGIN_PX
from render.picture.effects import EFFECTS
from render.plan import LANGUAGES, Blending, Ground, HanVariant, Hinting, Language
from shards import Settings
from shards.places import AnyPlace, LocalPlace, LocalPlaces

SMALLEST_PX, LARGEST_PX = 4, 64

DIFFICULTY = {"easy": (14, 20), "medium": (9, 14), "hard": (5, 9), "all": (5, 20)}
"""Named sets of em sizes, px."""

TOLERANCE = 1e-6
"""How far from 1 shares may add up to: sums of decimals are not exact."""

SizePx = tuple[int, int] | Literal["easy", "medium", "hard", "all"] | dict[int, float]
"""(smallest, largest) px, the name of a set in DIFFICULTY, or the share of each size."""

K = TypeVar("K")


def _shares(shares: dict[K, float]) -> dict[K, float]:
    if any(not 0 <= share < float("inf") for share in shares.values()):
        raise ValueError(f"shares {shares} must be finite and at least 0")
    if not any(shares.values()):
        raise ValueError(f"shares {shares} are all 0; give one a positive share")
    return shares


def _known(shares: dict[str, float]) -> dict[str, float]:
    unknown = sorted(set(shares) - set(LAYOUTS))
    if unknown:
        raise ValueError(f"layouts {unknown} are unknown; use {sorted(LAYOUTS)}")
    return shares


def _effects(shares: dict[str, float]) -> dict[str, float]:
    unknown = sorted(set(shares) - set(EFFECTS))
    if unknown:
        raise ValueError(f"effects {unknown} are unknown; use {sorted(EFFECTS)}")
    if any(not 0 <= share <= 1 for share in shares.values()):
        raise ValueError(f"effects {shares} are probabilities: each in [0, 1]")
    return shares


def only(ground: Ground) -> dict[str, float]:
    """Return the settings by which all pages with a photograph stand on one ground."""
    grounds: tuple[Ground, ...] = ("bare", "outline", "plate", "sheet")
    return {f"{name}_share": float(name == ground) for name in grounds}


if TYPE_CHECKING:
    LayoutSettings = Settings
else:
    LayoutSettings = create_model(
        "LayoutSettings",
        __base__=Settings,
        __module__=__name__,
        **{name: (layout, layout()) for name, layout in LAYOUTS.items()},
    )
"""The settings of every layout in LAYOUTS, by its name there."""


class RenderSettings(Settings):
    """What pages look like.

    `flat_share` of the pages have plain paper in place of a photograph. `bare_share`,
    `outline_share`, `plate_share` and `sheet_share` are of the others and add up to 1: what the
    text of a page stands on. Layouts that always lie on sheets (tables, receipts) count towards
    `sheet_share`; the other layouts make up the rest of it and share what remains. A block that no
    ink makes legible there gets an outline, or else a plate, and is counted as a fallback.
    Opacities are the least and the most; a plate or sheet is denser only where the floor needs it,
    which is counted as well.

    `width`, `height` are px. `size_px` is the em: (smallest, largest) px, the name of a set in
    DIFFICULTY, or shares by size as in `{ 6 = 2.0, 7 = 1.0 }`; or it is one of these for each
    language of pages, where "zh" holds for "mixed" and "zh-hant" that are not named (below 7 px
    most Han cannot be read). Shares are of characters. `contrast_floor` is the WCAG ratio
    that every line holds in its worst window. The default is read off a measured curve
    (docs/render.md): below it OCR reads much less, and a higher one hides photographs.

    `han_variants` are the standards of Traditional Chinese; a page of zh-hant keeps to one of them.
    Ours are weighed by their readers, 23 million in Taiwan and 8 in Hong Kong and Macau; OpenCC's
    own is printed nowhere today.

    `layouts` are shares of pages; `layout.NAME` holds the shares and counts inside one layout,
    which docs/layouts.md lists.

    `hinting`, `blending`, `subpixel_share`, `warp_share` and `effects` vary what a VAE would
    otherwise learn by heart; each is in the label of the page. A warped page is turned by at most
    `turn_deg` degrees and tilted so that opposite edges differ in scale by at most about `tilt`.

    `photographs` is a folder of images or tars, a tar, or a text file that lists images; `part`
    names the photographs used, so that evaluation can render on held-out ones. `character_shares`
    of the running text of a language, a user's too, are no text but characters: of Chinese the
    common ones that the text has seldom, of English all signs of ASCII, each as often as any other.
    `fonts` is a folder or a list of them, used beside the embedded fonts unless `embedded_fonts` is
    false.
    """

    width: int = Field(default=256, ge=32, le=8192)
    height: int = Field(default=256, ge=32, le=8192)
    size_px: SizePx | dict[Language, SizePx] = Field(default={"en": (5, 20), "zh": (7, 20)})
    languages: Annotated[dict[Language, float], AfterValidator(_shares)] = Field(
        default={"en": 1.0, "zh": 1.0, "mixed": 0.5}
    )
    han_variants: Annotated[dict[HanVariant, float], AfterValidator(_shares)] = Field(
        default={"tw": 3.0, "hk": 1.0, "t": 0.0}
    )
    layouts: Annotated[dict[str, float], AfterValidator(_known), AfterValidator(_shares)] = Field(
        default={"paragraph": 1.0, "article": 0.5, "scatter": 1.0}
    )
    layout: LayoutSettings = LayoutSettings()
    flat_share: Share = 0.1
    contrast_floor: float = Field(default=1.5, ge=1.0, le=15.0)
    bare_share: Share = 0.5
    outline_share: Share = 0.15
    plate_share: Share = 0.05
    sheet_share: Share = 0.3
    plate_opacity: Opacities = (0.35, 0.65)
    sheet_opacity: Opacities = (0.5, 1.0)
    hinting: Annotated[dict[Hinting, float], AfterValidator(_shares)] = Field(
        default={"none": 1.0, "light": 1.0, "full": 1.0}
    )
    blending: Annotated[dict[Blending, float], AfterValidator(_shares)] = Field(
        default={"srgb": 2.0, "linear": 1.0}
    )
    subpixel_share: Share = 0.7
    warp_share: Share = 0.0
    turn_deg: float = Field(default=2.0, ge=0.0, le=10.0)
    tilt: float = Field(default=0.05, ge=0.0, le=0.2)
    effects: Annotated[dict[str, float], AfterValidator(_effects)] = Field(default={})
    format: Literal["png", "jpg", "webp"] = "png"
    photographs: AnyPlace | None = None
    part: Literal["all", "train", "heldout"] = "all"
    corpus: LocalPlace | None = None
    character_shares: dict[Literal["en", "zh", "zh-hant"], Share] = Field(
        default={"en": 0.02, "zh": 0.35, "zh-hant": 0.35}
    )
    fonts: LocalPlaces | None = None
    embedded_fonts: bool = True

    @property
    def sizes(self) -> Mapping[int, float]:
        """Return the share of every em size, px, the largest of any language of pages."""
        largest: dict[int, float] = {}
        for language, spoken in self.languages.items():
            if spoken > 0:
                for size, share in self.sizes_of(language).items():
                    largest[size] = max(share, largest.get(size, 0.0))
        return largest

    def sizes_of(self, language: Language) -> Mapping[int, float]:
        """Return the share of characters of every em size, px, on pages of a language.

        Raises:
            ValueError: when sizes are given by language, and none for this one.
        """
        given = self.size_px
        if isinstance(given, dict) and given.keys() & {*LANGUAGES}:
            named = cast("dict[Language, SizePx]", given)
            own = named.get(language, named.get("zh") if language != "en" else None)
            if own is None:
                raise ValueError(f"size_px: no sizes for language {language!r}; name it, too")
            given = own
        sizes = cast("SizePx", given)
        if isinstance(sizes, dict):
            return sizes
        low, high = DIFFICULTY[sizes] if isinstance(sizes, str) else sizes
        return dict.fromkeys(range(low, high + 1), 1.0)

    def _always_on_sheets(self) -> float:
        """Return the part of the pages whose layouts lie on sheets whatever is asked."""
        part, spoken = 0.0, sum(self.languages.values())
        for language, spoken_share in self.languages.items():
            able = {
                name: share
                for name, share in self.layouts.items()
                if language in LAYOUTS[name].languages
            }
            sheets = sum(share for name, share in able.items() if LAYOUTS[name].on_sheets)
            if sheets:
                part += spoken_share / spoken * sheets / sum(able.values())
        return part

    def grounds(self, layout: str) -> dict[Ground, float]:
        """Return how often pages of a layout that have a photograph stand on each ground."""
        if LAYOUTS[layout].on_sheets:
            return {"sheet": 1.0}
        always = self._always_on_sheets()
        sheets = (self.sheet_share - always) / (1 - always)
        rest = self.bare_share + self.outline_share + self.plate_share
        kinds: tuple[tuple[Ground, float], ...] = (
            ("bare", self.bare_share),
            ("outline", self.outline_share),
            ("plate", self.plate_share),
        )
        shares: dict[Ground, float] = {"sheet": max(0.0, sheets)}
        shares.update((ground, (1 - sheets) * share / rest) for ground, share in kinds if share)
        return shares

    def layout_of(self, name: str) -> Layout:
        """Return the layout of this name as it is set here."""
        return getattr(self.layout, name)

    def spoken(self) -> frozenset[Language]:
        """Return the languages in which blocks can be written."""
        kinds: frozenset[Language] = frozenset(k for k, s in self.languages.items() if s > 0)
        both: frozenset[Language] = frozenset({"en", "zh"})
        return kinds | both if "mixed" in kinds else kinds

    @model_validator(mode="after")
    def _satisfiable(self) -> Self:
        for speech, share in self.languages.items():
            if not share:
                continue
            shares = self.sizes_of(speech)
            if not shares and not isinstance(self.size_px, dict):
                raise ValueError(f"size_px {self.size_px} must be (smallest, largest)")
            _shares(dict(shares))
        sizes = self.sizes
        used = [size for size, share in sizes.items() if share > 0]
        low, high = min(used), max(used)
        if not SMALLEST_PX <= low <= high <= LARGEST_PX:
            raise ValueError(
                f"size_px {self.size_px} must be (smallest, largest) within "
                f"[{SMALLEST_PX}, {LARGEST_PX}]"
            )
        if not self.fonts and not self.embedded_fonts:
            raise ValueError("embedded_fonts = false leaves no font; give fonts, or leave it out")
        least = 4 * high + 2 * MARGIN_PX
        if min(self.width, self.height) < least:
            raise ValueError(
                f"{self.width}x{self.height} px is too small for text of {high} px; "
                f"give width and height of at least {least} or a smaller size_px"
            )
        shares = self.bare_share, self.outline_share, self.plate_share, self.sheet_share
        if abs(sum(shares) - 1) > TOLERANCE:
            raise ValueError(
                "bare_share, outline_share, plate_share and sheet_share "
                f"{', '.join(f'{share:g}' for share in shares)} are parts of the pages with a "
                f"photograph; they add up to {sum(shares):g}, not to 1"
            )
        for language, share in self.languages.items():
            able = [
                name
                for name, s in self.layouts.items()
                if s > 0 and language in LAYOUTS[name].languages
            ]
            if share > 0 and not able:
                raise ValueError(
                    f"layouts: none of {sorted(self.layouts)} can be set in {language!r}; "
                    "add one, or set the share of the language to 0"
                )
        always = self._always_on_sheets()
        if self.flat_share < 1 and self.sheet_share < always - TOLERANCE:
            names = [n for n, share in self.layouts.items() if share > 0 and LAYOUTS[n].on_sheets]
            raise ValueError(
                f"sheet_share {self.sheet_share:g} cannot be reached: {', '.join(sorted(names))} "
                f"always lie on sheets and are {ceil(1000 * always - TOLERANCE) / 1000:g} of the "
                "pages; raise it to that, or give them smaller shares"
            )
        return self
