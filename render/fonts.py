"""Fonts: which faces there are, what each can draw, and why the others are left out.

Two facts decide the design. A character that a face maps may still have no outline, so coverage
is asked of the ink, not of the map alone. And a collection's first face is often the Japanese
one, so the face is chosen by its name. fontTools reads names, maps and axes, at the start only.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import numpy as np

from render.glyphs import Face, Pen, Type, pen
from render.plan import Language
from shards import UserError

EMBEDDED = {
    "manimgx_fonts_cjk": "*.ttc",
    "paperang_p2_fonts_cjk": "fonts/*.ttc",
    "justmytype_western_core": "fonts/ofl/**/*.ttf",
    "fontpkg_eb_garamond": "files/*.ttf",
    "fontpkg_crimson_pro": "files/*.ttf",
    "fontpkg_arvo": "files/*.ttf",
    "fontpkg_ibm_plex_mono": "files/*.ttf",
    "fontpkg_caveat": "files/*.ttf",
    "fontpkg_kalam": "files/*.ttf",
    "fontpkg_indie_flower": "files/*.ttf",
}
"""Where the fonts lie inside the wheels we depend on (all OFL or Apache-2.0)."""

ENDINGS = frozenset({".ttf", ".otf", ".ttc"})

SYMBOLS = ("NotoSansSymbols2", "STIXTwoMath")
"""Embedded files that hold letters but are not for prose."""

ASCII = frozenset(range(0x21, 0x7F))
"""A face of the Latin script maps all of printable ASCII."""

HAN = frozenset(
    ord(bytes((row, cell)).decode("gb2312"))
    for row in range(0xB0, 0xD8)
    for cell in range(0xA1, 0xFF if row < 0xD7 else 0xFA)
)
"""The 3,755 commonest characters, level 1 of GB2312; a face of the Han script maps 95 %."""

SIMPLIFIED = frozenset({"SC", "CN", "GB", "HANS"})
ELSEWHERE = frozenset({"JP", "JA", "J", "KR", "KO", "K"})
"""Words of a family name that say whose forms of Han a face holds."""

WEIGHTS = (300, 400, 500, 700)
"""Weights chosen on a variable axis (our choice: 100 and 200 vanish at 5 to 8 px)."""

LIGHTEST = 300
"""Static faces below this weight class are left out for the same reason."""

MIN_X_HEIGHT_PX = 2.2
"""Smallest x-height at which a Latin face is chosen (our choice: below it e, c and o are one)."""

CASE = 10
"""Faces with weights in a case of type, which neighbouring pages share (see Renderer)."""


class Fonts:
    """The faces of a run, by name and by language. `skipped` says why each other face is not."""

    def __init__(self, faces: Sequence[Face], skipped: dict[str, str]) -> None:
        """Hold `faces`; use `embedded` or `folder` to find them."""
        self.faces = {face.name: face for face in faces}
        self.skipped = skipped
        self._families = {language: self._grouped(language) for language in get_args(Language)}

    @classmethod
    def embedded(cls) -> "Fonts":
        """Find the fonts inside the wheels we depend on, without importing them."""
        files: list[tuple[str, Path]] = []
        skipped: dict[str, str] = {}
        for package, pattern in EMBEDDED.items():
            spec = find_spec(package)
            if spec is None or not spec.submodule_search_locations:
                skipped[package] = "package is not installed"
                continue
            found = sorted(Path(spec.submodule_search_locations[0]).glob(pattern))
            files += [(path.name, path) for path in found if not path.name.startswith(SYMBOLS)]
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

    def _grouped(self, language: Language) -> list[list[Face]]:
        able = [face for face in self.faces.values() if language in face.languages]
        if language == "en":  # the Latin letters of a Chinese font are a last resort
            able = [face for face in able if "zh" not in face.languages] or able
        families: dict[str, list[Face]] = {}
        for face in able:
            families.setdefault(face.family, []).append(face)
        return list(families.values())

    def require(self, language: Language, where: str) -> None:
        """Check that there is a face for `language`; `where` names the folder in the message.

        Raises:
            UserError: naming what was skipped and why.
        """
        if not self._families[language]:
            script = "the Latin alphabet" if language == "en" else "Chinese"
            reasons = "; ".join(f"{name}: {why}" for name, why in list(self.skipped.items())[:3])
            raise UserError(
                f"fonts: no face in {where} covers {script}, which language {language!r} needs"
                f"{f' ({reasons})' if reasons else ''}; add a font or set its share to 0"
            )

    def case(self, rng: np.random.Generator, language: Language) -> tuple[Type, ...]:
        """Draw CASE faces with their weights, every family equally likely."""
        families = self._families[language]
        types: list[Type] = []
        for _ in range(CASE if families else 0):
            family = families[rng.integers(len(families))]
            face = family[rng.integers(len(family))]
            types.append((face, _drawn(rng, face.weights)))
        return tuple(types)

    def substitute(self, character: str, size_px: int) -> Type | None:
        """Return the first face, in the order of names, that shows `character` at `size_px`."""
        for name in sorted(self.faces):
            face = self.faces[name]
            weight = _regular(face.weights)
            if ord(character) in face.characters and pen(face, weight, size_px).glyph(character):
                return face, weight
        return None

    def characters(self) -> frozenset[int]:
        """Return the code points that at least one face maps."""
        return frozenset[int]().union(*(face.characters for face in self.faces.values()))

    def fingerprint(self) -> str:
        """Digest the names and file sizes of the faces in use."""
        state = hashlib.sha256()
        for name in sorted(self.faces):
            state.update(f"{name}\0{self.faces[name].path.stat().st_size}\n".encode())
        return state.hexdigest()


def legible(types: Sequence[Type], language: Language, size_px: int) -> Sequence[Type]:
    """Return those of `types` whose x-height is large enough at `size_px`, at least the largest."""
    if language != "en":
        return types
    least = min(MIN_X_HEIGHT_PX / size_px, max(face.x_height_em for face, _ in types))
    return [pair for pair in types if pair[0].x_height_em >= least]


def _drawn(rng: np.random.Generator, weights: tuple[int, ...]) -> int | None:
    return weights[rng.integers(len(weights))] if weights else None


def _regular(weights: tuple[int, ...]) -> int | None:
    return min(weights, key=lambda weight: abs(weight - 400)) if weights else None


def _read(
    files: Sequence[tuple[str, Path]], skipped: dict[str, str]
) -> tuple[list[Face], dict[str, str]]:
    faces: list[Face] = []
    for name, path in files:
        found = list(_faces(name, path, skipped))
        if not found and not any(key.startswith(name) for key in skipped):
            skipped[name] = "covers neither ASCII nor the common Chinese characters"
        faces += found
    return faces, skipped


def _faces(name: str, path: Path, skipped: dict[str, str]) -> Iterator[Face]:
    """Yield the usable faces of one file and note the reason for each other one."""
    from fontTools.ttLib import TTCollection, TTFont, TTLibError

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
    """Yield the usable faces of an open file: of a regional collection the simplified ones."""
    try:
        families = [_family(table) for table in tables]
        for table in tables:
            # Names of glyphs are of no use here, and reading them takes most of a second.
            table.setGlyphOrder([f"glyph{i}" for i in range(table["maxp"].numGlyphs)])
    except (ValueError, AssertionError, KeyError) as error:
        skipped[name] = f"not a font that can be read ({error})"
        return
    regional = any(_words(family) & SIMPLIFIED for family in families)
    for index, (table, family) in enumerate(zip(tables, families, strict=True)):
        key = f"{name}#{index}"
        if len(tables) > 1 and regional and not _words(family) & SIMPLIFIED:
            skipped[key] = "another region's forms; the simplified Chinese face is used"
            continue
        reason, face = _face(key, path, index, family, table)
        if face is None:
            skipped[key] = reason
        else:
            yield face


def _face(key: str, path: Path, index: int, family: str, table: Any) -> tuple[str, Face | None]:
    """Return ("", face), or the reason why it cannot be used."""
    try:
        cmap = table.getBestCmap() or {}
        axes = [(a.axisTag, a.defaultValue, a.minValue, a.maxValue) for a in _axes(table)]
        weight_class = table["OS/2"].usWeightClass
        characters = frozenset(cmap) - {0x20}
        languages: set[Language] = set()
        if characters >= ASCII:
            languages.add("en")
        if len(characters & HAN) >= 0.95 * len(HAN) and not _words(family) & ELSEWHERE:
            languages.add("zh")
        if not languages:
            return "covers neither ASCII nor the common Chinese characters", None
        if not any(tag == "wght" for tag, *_ in axes) and weight_class < LIGHTEST:
            return f"too thin for small text (weight class {weight_class})", None
        weights = tuple(
            weight
            for weight in WEIGHTS
            for tag, _, low, high in axes
            if tag == "wght" and low <= weight <= high
        )
        face = Face(
            name=key,
            path=path,
            index=index,
            family=family,
            languages=frozenset(languages),
            characters=characters,
            x_height_em=0.0,
            axes=tuple((tag, default) for tag, default, *_ in axes),
            weights=weights,
        )
        return _inked(face)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        return f"not a font that can be read ({error})", None


def _inked(face: Face) -> tuple[str, Face | None]:
    """Refuse a face whose letters are mapped but blank; measure the x-height of the others."""
    trial = Pen(face, _regular(face.weights), 64)
    probes = ("aeonE05" if "en" in face.languages else "") + (
        "的一国" if "zh" in face.languages else ""
    )
    blank = [character for character in probes if trial.glyph(character) is None]
    if blank:
        return f"maps {blank[0]!r} but draws nothing for it", None
    x = trial.glyph("x")
    return "", replace(face, x_height_em=x.mask.shape[0] / 64 if x else 0.0)


def _axes(table: Any) -> list[Any]:
    return table["fvar"].axes if "fvar" in table else []


def _family(table: Any) -> str:
    """Return the typographic family, so that the weights of a family count as one."""
    names = table["name"]
    return names.getDebugName(16) or names.getDebugName(1) or "unnamed"


def _words(family: str) -> frozenset[str]:
    return frozenset(family.upper().replace("-", " ").split())
