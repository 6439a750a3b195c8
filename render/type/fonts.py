"""Fonts: which faces there are, what each can draw, and why the others are left out.

Two facts decide the design. A character that a face maps may still have no outline, so coverage
is asked of the ink, not of the map alone. And a collection's first face is often the Japanese
one, so the face is chosen by its name. fontTools reads names, maps and axes, at the start only.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from fontTools.ttLib import TTCollection, TTFont, TTLibError

from render.plan import Font, Language
from render.text.breaks import SPACE
from render.type.glyphs import Axis, Face, FontInstance
from shards import UserError
from shards.embedded import Checksums, for_purpose

ENDINGS = frozenset({".ttf", ".otf", ".ttc"})

ASCII = frozenset(range(0x21, 0x7F))
"""A face of the Latin script maps all of printable ASCII."""

HAN = frozenset(
    ord(bytes((row, cell)).decode("gb2312"))
    for row in range(0xB0, 0xD8)
    for cell in range(0xA1, 0xFF if row < 0xD7 else 0xFA)
)
"""The 3,755 commonest characters, level 1 of GB2312; a face of the Han script maps 95 %."""

PUNCTUATION = frozenset(map(ord, "‘’“”–—…•·©°£€、。《》「」『』【】！（），：；？％"))
"""Marks that prose in our languages uses beside ASCII."""

HAN_TRADITIONAL = frozenset(
    ord(bytes((row, cell)).decode("big5"))
    for row in range(0xA4, 0xC6)
    for cell in (*range(0x40, 0x7F), *range(0xA1, 0xFF))
)
"""The 5,401 commonest characters in Traditional forms, level 1 of Big5."""

HAN_OF: Mapping[Language, frozenset[int]] = {"zh": HAN, "zh-hant": HAN_TRADITIONAL}
"""The common Han of each language that has its own."""

REGIONS: dict[str, frozenset[Language]] = {
    **dict.fromkeys(("SC", "CN", "GB", "HANS"), frozenset[Language]({"zh"})),
    **dict.fromkeys(("TC", "TW", "HK", "HANT"), frozenset[Language]({"zh-hant"})),
    **dict.fromkeys(("JP", "JA", "J", "KR", "KO", "K"), frozenset[Language]()),
}
"""Words of a family name that say whose forms of Han a face holds; without one, it may hold both
(WenQuanYi), or belong to a country that the name does not tell."""

WEIGHTS = (400.0, 300.0, 500.0, 700.0)
"""Weights chosen on a variable axis (our choice: 100 and 200 vanish at 5 to 8 px)."""

WIDTHS = (100.0, 85.0)
"""Widths chosen on a variable axis: plain and condensed, as newspapers and labels have it."""

LIGHTEST = 300
"""Static faces below this weight class are left out for the same reason."""

MIN_X_HEIGHT_PX = 2.2
"""Smallest x-height at which a Latin face is chosen (our choice: below it e, c and o are one)."""

MONOSPACED, SCRIPT, HANDWRITTEN = 9, 10, 3
"""PANOSE: proportion "monospaced"; IBM family class "scripts"; PANOSE family "hand written"."""

HANDS = frozenset({"Caveat", "Kalam", "Indie Flower", "LXGW WenKai"})
"""Families of handwriting whose own tables do not say so."""


class Fonts:
    """The faces of a run, by name and by language. `skipped` says why each other face is not."""

    def __init__(self, faces: Sequence[Face], skipped: dict[str, str]) -> None:
        """Hold `faces`; use `embedded` or `folder` to find them."""
        self.faces = {face.name: face for face in faces}
        self.skipped = skipped
        self._instances: dict[Font, FontInstance] = {}
        self._groups: dict[tuple[Language, str], list[list[Face]]] = {}
        self._large: dict[tuple[str, int], list[list[Face]]] = {}
        self._order = [self.faces[name] for name in sorted(self.faces)]

    @classmethod
    def embedded(cls, cache: Path | None = None) -> "Fonts":
        """Find the fonts inside the wheels we depend on, without importing them.

        `cache` is a folder that remembers which files this machine has compared with the table.

        Raises:
            UserError: when a file is not the one we know.
        """
        files: list[tuple[str, Path]] = []
        skipped: dict[str, str] = {}
        checksums = Checksums(cache)
        for package in for_purpose("fonts"):
            paths = package.paths(checksums)
            files += [(path.name, path) for path in paths]
            if not paths:
                skipped[package.module] = "package is not installed"
        checksums.save()
        return cls(*_read(files, skipped))

    @classmethod
    def folder(cls, root: Path) -> "Fonts":
        """Find every .ttf, .otf and .ttc file below `root`.

        Raises:
            UserError: when `root` is no folder or holds no font file.
        """
        if not root.is_dir():
            raise UserError(f"fonts: {root} is not a folder; give a folder of .ttf, .otf or .ttc")
        files = [
            (path.relative_to(root).as_posix(), path)
            for path in sorted(root.rglob("*"))
            if path.suffix.lower() in ENDINGS and path.is_file()
        ]
        if not files:
            raise UserError(
                f"fonts: {root} holds no .ttf, .otf or .ttc file; give a folder that does"
            )
        return cls(*_read(files, {}))

    def families(self, language: Language, style_class: str = "") -> list[list[Face]]:
        """Return the faces for `language`, family by family; of a `style_class` if any are.

        Lines of "mixed" are set in a Chinese face first; the Latin letters of a Chinese font are
        a last resort for English.
        """
        key = (language, style_class)
        if key not in self._groups:
            wanted: Language = "zh" if language == "mixed" else language
            able = [face for face in self.faces.values() if wanted in face.languages]
            if wanted == "en":
                able = [face for face in able if not face.han] or able
            if style_class:
                able = [face for face in able if style_class in face.style_class] or able
            else:  # handwriting is for notes
                able = [face for face in able if "hand" not in face.style_class] or able
            families: dict[str, list[Face]] = {}
            for face in able:
                families.setdefault(face.family, []).append(face)
            self._groups[key] = list(families.values())
        return self._groups[key]

    def require(self, language: Language, where: str) -> None:
        """Check that there is a face for `language`; `where` names the folder in the message.

        Raises:
            UserError: naming what was skipped and why.
        """
        scripts = {
            "en": "the Latin alphabet",
            "zh": "Chinese",
            "zh-hant": "Traditional Chinese",
            "mixed": "Chinese",
        }
        if not self.families(language):
            reasons = "; ".join(f"{name}: {why}" for name, why in list(self.skipped.items())[:3])
            raise UserError(
                f"fonts: no face in {where} covers {scripts[language]}, which language "
                f"{language!r} needs{f' ({reasons})' if reasons else ''}; add a font or set its "
                "share to 0"
            )

    def draw(
        self,
        rng: np.random.Generator,
        language: Language,
        size_px: int,
        *,
        style_class: str = "",
        vertical: bool = False,
    ) -> FontInstance:
        """Draw a font that can be read at `size_px`: every family, then every face, alike.

        With `vertical` only faces that have forms for it, where there are any.
        """
        families = self.families(language, style_class)
        if language == "en":
            families = self._legible(families, style_class, size_px)
        if vertical:
            able = [[f for f in family if self.plain(f).has_vertical_forms] for family in families]
            families = [family for family in able if family] or families
        family = families[int(rng.random() * len(families))]
        face = family[int(rng.random() * len(family))]
        coordinates = tuple(axis.values[int(rng.random() * len(axis.values))] for axis in face.axes)
        return self.instance(Font(face.name, coordinates))

    def _legible(
        self, families: list[list[Face]], style_class: str, size_px: int
    ) -> list[list[Face]]:
        """Return the faces whose x-height is large enough at `size_px`, at least the largest."""
        if (style_class, size_px) not in self._large:
            largest = max(face.x_height_em for family in families for face in family)
            least = min(MIN_X_HEIGHT_PX / size_px, largest)
            kept = [[face for face in family if face.x_height_em >= least] for family in families]
            self._large[style_class, size_px] = [family for family in kept if family]
        return self._large[style_class, size_px]

    def instances(self, languages: Sequence[Language]) -> list[FontInstance]:
        """Return every font that `draw` can return for these languages."""
        style_classes = ("", "mono", "hand")
        groups = [
            self.families(language, style_class)
            for language in languages
            for style_class in style_classes
        ]
        faces = {face.name: face for families in groups for family in families for face in family}
        return [
            self.instance(Font(name, coordinates))
            for name, face in sorted(faces.items())
            for coordinates in product(*(axis.values for axis in face.axes))
        ]

    def plain(self, face: Face) -> FontInstance:
        """Return a face at the plain values of its axes."""
        return self.instance(Font(face.name, tuple(axis.values[0] for axis in face.axes)))

    def instance(self, name: Font) -> FontInstance:
        """Return the font that a plan names, the same object every time.

        Raises:
            UserError: when its face is not here.
        """
        font = self._instances.get(name)
        if font is None:
            face = self.faces.get(name.face)
            if face is None:
                raise UserError(f"fonts: the plan needs {name.face}, which is not here; add it")
            if len(name.design) != len(face.axes):
                raise UserError(
                    f"fonts: the plan sets {len(name.design)} axes of {name.face}, "
                    f"which has {len(face.axes)}; use the same fonts"
                )
            font = self._instances[name] = FontInstance(face, name.design)
        return font

    def holders(self, code: int) -> Iterator[FontInstance]:
        """Yield every font, in the order of names, whose face maps `code`."""
        codes = np.array([code], np.uint32)
        return (self.plain(face) for face in self._order if face.slots(codes)[0] >= 0)

    def characters(self) -> frozenset[int]:
        """Return the code points that at least one face maps."""
        codes = [face.codes for face in self.faces.values()]
        return frozenset(np.unique(np.concatenate(codes)).tolist()) if codes else frozenset()

    def fingerprint(self) -> str:
        """Digest the names and contents (the font's own checksum) of the faces in use."""
        state = hashlib.sha256()
        for name in sorted(self.faces):
            face = self.faces[name]
            state.update(f"{name}\0{face.path.stat().st_size}\0{face.checksum}\n".encode())
        return state.hexdigest()


def _read(
    files: Sequence[tuple[str, Path]], skipped: dict[str, str]
) -> tuple[list[Face], dict[str, str]]:
    faces: list[Face] = []
    for name, path in files:
        readable = list(_faces(name, path, skipped))
        if not readable and not any(key.startswith(name) for key in skipped):
            skipped[name] = "covers neither ASCII nor the common Chinese characters"
        faces += readable
    return faces, skipped


def _faces(name: str, path: Path, skipped: dict[str, str]) -> Iterator[Face]:
    """Yield the usable faces of one file and note the reason for each other one."""
    with path.open("rb") as file:
        try:
            if path.suffix.lower() == ".ttc":
                tables: list[Any] = list(TTCollection(file, lazy=True).fonts)
            else:
                tables = [TTFont(file, lazy=True)]
        except (TTLibError, OSError, ValueError, AssertionError) as error:
            skipped[name] = f"not a font that can be read ({error})"
            return
        yield from _chosen(name, path, tables, skipped)


def _chosen(name: str, path: Path, tables: list[Any], skipped: dict[str, str]) -> Iterator[Face]:
    """Yield the usable faces of an open file: of a regional collection the Chinese ones."""
    try:
        families = [_family(table) for table in tables]
        for table in tables:
            # Names of glyphs are of no use here, and reading them takes most of a second.
            table.setGlyphOrder(_Numbers(range(table["maxp"].numGlyphs)))
    except (TTLibError, ValueError, AssertionError, KeyError) as error:
        skipped[name] = f"not a font that can be read ({error})"
        return
    regional = any(_regions(family) for family in families)
    for index, (table, family) in enumerate(zip(tables, families, strict=True)):
        key = f"{name}#{index}"
        if len(tables) > 1 and regional and not _regions(family):
            skipped[key] = "another region's forms; the Chinese faces are used"
            continue
        reason, face = _face(key, path, index, family, table)
        if face is None:
            skipped[key] = reason
        else:
            yield face


class _Numbers(list[int]):
    """A glyph order in which the name of a glyph is its number."""


def _face(key: str, path: Path, index: int, family: str, table: Any) -> tuple[str, Face | None]:
    """Return ("", face), or the reason why it cannot be used."""
    try:
        cmap = table.getBestCmap() or {}
        codes = np.array(sorted(cmap), np.uint32)
        characters = cmap.keys() - {SPACE}
        languages: set[Language] = set()
        if characters >= ASCII:
            languages.add("en")
        regions = _regions(family)
        for language, common in HAN_OF.items():
            known = regions is None or language in regions
            if known and len(characters & common) >= 0.95 * len(common):
                languages.add(language)
        if not languages:
            return "covers neither ASCII nor the common Chinese characters", None
        axes = tuple(_axes(table))
        weight_class = table["OS/2"].usWeightClass
        if not any(axis.tag == "wght" for axis in axes) and weight_class < LIGHTEST:
            return f"too thin for small text (weight class {weight_class})", None
        face = Face(
            name=key,
            path=path,
            index=index,
            family=family,
            languages=frozenset(languages),
            style_class=_style_class(table, family),
            region=_region(family),
            codes=codes,
            glyphs=np.array([cmap[code] for code in codes.tolist()], np.uint32),
            x_height_em=0.0,
            axes=axes,
            checksum=int(table["head"].checkSumAdjustment),
        )
        return _inked(face)
    except (TTLibError, OSError, ValueError, KeyError, AttributeError, UserError) as error:
        return f"not a font that can be read ({error})", None


def _inked(face: Face) -> tuple[str, Face | None]:
    """Refuse a face whose letters are mapped but blank; measure the x-height of the others."""
    trial = FontInstance(face, tuple(axis.values[0] for axis in face.axes))
    probes = ("xaeonE05" if "en" in face.languages else "") + ("一的" if face.han else "")
    slots = face.slots(np.array([ord(probe) for probe in probes], np.uint32))
    _, rows = trial.draw(face.glyphs[slots].tolist(), [(0, 0)] * len(probes), 64, "none")
    for probe, row in zip(probes, rows, strict=True):
        if not row[1]:
            return f"maps {probe!r} but draws nothing for it", None
    return "", replace(face, x_height_em=int(rows[0, 2]) / 64 if probes[0] == "x" else 0.0)


def _axes(table: Any) -> Iterator[Axis]:
    """Yield the axes of a variable font; those of no use for variety stay at their default."""
    for axis in table["fvar"].axes if "fvar" in table else []:
        choices = {"wght": WEIGHTS, "wdth": WIDTHS}.get(axis.axisTag, ())
        values = tuple(v for v in choices if axis.minValue <= v <= axis.maxValue)
        yield Axis(axis.axisTag, values or (float(axis.defaultValue),))


def _style_class(table: Any, family: str) -> frozenset[str]:
    """Return which of "mono" and "hand" a face is."""
    panose, style_class = table["OS/2"].panose, set[str]()
    if table["post"].isFixedPitch or (panose.bFamilyType == 2 and panose.bProportion == MONOSPACED):
        style_class.add("mono")
    by_class = table["OS/2"].sFamilyClass >> 8 == SCRIPT or panose.bFamilyType == HANDWRITTEN
    if by_class or family in HANDS:
        style_class.add("hand")
    return frozenset(style_class)


def _family(table: Any) -> str:
    """Return the typographic family, so that the weights of a family count as one."""
    names = table["name"]
    return names.getDebugName(16) or names.getDebugName(1) or "unnamed"


def _region(family: str) -> str:
    """Return the language tag that selects the forms which the family's name promises."""
    for word in family.upper().replace("-", " ").split():
        if REGIONS.get(word):
            return (
                "zh-hk" if word == "HK" else "zh-hant" if "zh-hant" in REGIONS[word] else "zh-hans"
            )
    return ""


def _regions(family: str) -> frozenset[Language] | None:
    """Return the languages whose forms of Han the family's name promises, None without a word."""
    for word in family.upper().replace("-", " ").split():
        if word in REGIONS:
            return REGIONS[word]
    return None
