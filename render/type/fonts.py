"""Fonts: the faces of a run, by language and by style, and how one of them is drawn."""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from render.plan import Font, Language
from render.type.glyphs import Face, FontInstance
from render.type.reading import read
from shards import UserError
from shards.embedded import Checksums, for_purpose
from shards.listing import all_below
from shards.skipped import readable

ENDINGS = frozenset({".ttf", ".otf", ".ttc", ".otc", ".woff", ".woff2"})

MIN_X_HEIGHT_PX = 2.2
"""Smallest x-height at which a Latin face is chosen (our choice: below it e, c and o are one)."""


class Fonts:
    """The faces of a run, by name and by language.

    `skipped` says why each other face is not; `known` are those of it that the embedded packages
    hold on purpose, of which no user needs to hear.
    """

    def __init__(
        self, faces: Sequence[Face], skipped: dict[str, str], known: Collection[str] = ()
    ) -> None:
        """Hold `faces`, each of another name; use `of`, `embedded` or `folder` to find them."""
        self.faces = {face.name: face for face in faces}
        self.skipped = skipped
        self.known = frozenset(known)
        self._instances: dict[Font, FontInstance] = {}
        self._groups: dict[tuple[Language, str], list[list[Face]]] = {}
        self._large: dict[tuple[str, int], list[list[Face]]] = {}
        self._order = [self.faces[name] for name in sorted(self.faces)]

    @classmethod
    def of(
        cls, folders: Sequence[Path], *, embedded: bool = True, cache: Path | None = None
    ) -> "Fonts":
        """Take the `embedded` fonts, unless that is False, and those of the folders.

        A name that a place before had already begins with the number of its folder, from 1.

        Raises:
            UserError: as `embedded` and `folder` do.
        """
        first = [cls.embedded(cache)] if embedded else []
        parts = [*((0, part) for part in first), *enumerate(map(cls.folder, folders), 1)]
        faces: dict[str, Face] = {}
        skipped: dict[str, str] = {}
        for number, part in parts:
            for name, face in part.faces.items():
                own = f"{number}/{name}" if name in faces else name
                faces[own] = replace(face, name=own)
            for name, reason in part.skipped.items():
                skipped[f"{number}/{name}" if name in skipped else name] = reason
        known = first[0].skipped if first else ()
        return cls([*faces.values()], skipped, known)

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
        return cls(read(files, skipped, known=True), skipped, skipped)

    @classmethod
    def folder(cls, root: Path) -> "Fonts":
        """Find every file below `root` whose name is that of a font.

        Raises:
            UserError: when `root` is no folder or holds no font file.
        """
        place = readable(str(root))
        if not root.is_dir():
            raise UserError(f"fonts: {place} is not a folder; give a folder of .ttf, .otf or .ttc")
        skipped: dict[str, str] = {}
        below = all_below(root, lambda skip: skipped.setdefault(*skip))
        files = sorted(
            ((name, path) for name, path, _ in below if path.suffix.lower() in ENDINGS),
            key=lambda file: file[1],
        )
        if not files:
            raise UserError(
                f"fonts: {place} holds no .ttf, .otf or .ttc file; give a folder that does"
            )
        return cls(read(files, skipped, known=False), skipped)

    def families(self, language: Language, style_class: str = "") -> list[list[Face]]:
        """Return the faces for `language`, design by design; of a `style_class` if any are.

        Lines of "mixed" are set in a Chinese face first; the Latin letters of a Chinese font are
        a last resort for English. Han are of one width in every face, so "mono" leaves Chinese all
        its designs, and only chooses inside those that have such a face.
        """
        key = (language, style_class)
        if key not in self._groups:
            wanted: Language = "zh" if language == "mixed" else language
            able = [face for face in self.faces.values() if wanted in face.languages]
            if wanted == "en":
                able = [face for face in able if not face.han] or able
            inside = style_class == "mono" and wanted != "en"
            if style_class and not inside:
                able = [face for face in able if style_class in face.style_class] or able
            else:  # handwriting is for notes
                able = [face for face in able if "hand" not in face.style_class] or able
            families: dict[str, list[Face]] = {}
            for face in able:
                families.setdefault(face.design, []).append(face)
            if inside:
                for design, faces in families.items():
                    mono = [face for face in faces if "mono" in face.style_class]
                    families[design] = mono or faces
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
