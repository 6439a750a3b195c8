"""From font files to faces: which can be used, and why the others are left out.

Two facts decide the design. A character that a face maps may still have no outline, or the box
that stands for "missing", so coverage is asked of the ink, not of the map alone. And a
collection's first face is often the Japanese one, so the face is chosen by its name.
"""

import mmap
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from render.plan import Language
from render.text.breaks import SPACE
from render.text.scripts import ASCII, HAN_OF
from render.type.glyphs import LARGEST_EM, Axis, Face, FontInstance
from render.type.tables import (
    Look,
    Tables,
    axes,
    characters,
    faces,
    family,
    look,
    own_checksum,
    packing,
    require_few_parts,
)
from shards import Unreadable
from shards.errors import foreign

REGIONS: dict[str, frozenset[Language]] = {
    **dict.fromkeys(("SC", "CN", "GB", "HANS"), frozenset[Language]({"zh"})),
    **dict.fromkeys(("TC", "TW", "HK", "HANT"), frozenset[Language]({"zh-hant"})),
    **dict.fromkeys(("JP", "JA", "J", "KR", "KO", "K"), frozenset[Language]()),
}
"""Words of a family name that say whose forms of Han a face holds; without one, it may hold both
(WenQuanYi), or belong to a country that the name does not tell."""

SAME_DESIGN = {
    "Source Han Sans": "Noto Sans",
    "Source Han": "Noto Sans",
    "Source Han Serif": "Noto Serif",
}
"""Designs that two publishers give out under names of their own ("Source Han" is its Mono)."""

WEIGHTS = (400.0, 300.0, 500.0, 700.0)
"""Weights chosen on a variable axis (our choice: 100 and 200 vanish at 5 to 8 px)."""

WIDTHS = (100.0, 85.0)
"""Widths chosen on a variable axis: plain and condensed, as newspapers and labels have it."""

LIGHTEST = 300
"""Static faces below this weight class are left out for the same reason."""

MONOSPACED, SCRIPT, HANDWRITTEN = 9, 10, 3
"""PANOSE: proportion "monospaced"; IBM family class "scripts"; PANOSE family "hand written"."""

HANDS = frozenset({"Caveat", "Kalam", "Indie Flower", "LXGW WenKai"})
"""Families of handwriting whose own tables do not say so."""

SAMPLED_HAN = 256
"""Han of a face that are looked at before it is trusted with the others (our choice)."""

TRIAL_PX = 32
"""Size at which outlines are compared: two letters that differ do so here (our choice)."""

MOST_ALIKE = 3
"""Most letters of ASCII, or most Han, of one outline: `I`, `l` and `|` may be, and capitals that
stand for small letters. Of the embedded faces none has even two."""

LEAST_ADVANCE_EM = 0.05
"""Least advance of a letter (our choice; the narrowest of the embedded faces is 0.085)."""

MOST_NAMED = 16
"""Most characters of ASCII that are named where a face lacks no more (our choice)."""

NOTHING = "covers neither ASCII nor the common Chinese characters"
BROKEN = "not a font that can be read"


def read(files: Sequence[tuple[str, Path]], skipped: dict[str, str], *, known: bool) -> list[Face]:
    """Return the usable faces of files, by name and path, and note the reason for each other one.

    Files that are `known` by their digest are not tried letter by letter.
    """
    usable: list[Face] = []
    for name, path in files:
        before = len(usable), len(skipped)
        try:
            with foreign(name, BROKEN, Unreadable):
                usable += _faces(name, path, skipped, known=known)
        except Unreadable as error:
            skipped[name] = error.reason
        if before == (len(usable), len(skipped)):
            skipped[name] = NOTHING
    return usable


def _faces(name: str, path: Path, skipped: dict[str, str], *, known: bool) -> Iterator[Face]:
    """Yield the usable faces of one file, of a regional collection the Chinese ones."""
    if not path.is_file():
        raise Unreadable(name, "not a file")
    if not path.stat().st_size:
        raise Unreadable(name, "empty")
    with path.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    packed = packing(data)
    if packed == "WOFF2":
        raise Unreadable(name, "WOFF2, a font packed for the web; convert it to TTF or OTF")
    tables = faces(data)
    families = [family(table) for table in tables]
    regional = any(map(_regions, families))
    checksum = 0 if known else zlib.crc32(data)
    for index, (table, of_family) in enumerate(zip(tables, families, strict=True)):
        key = f"{name}#{index}"
        try:
            if len(tables) > 1 and regional and not _regions(of_family):
                raise Unreadable(key, "another region's forms; the Chinese faces are used")
            with foreign(key, BROKEN, Unreadable):
                face = _face(key, path, index, of_family, table, checksum)
                if not known:
                    require_few_parts(table)
                yield _inked(face if known else _shown(face))
        except Unreadable as error:
            skipped[key] = error.reason


def _face(key: str, path: Path, index: int, of_family: str, table: Tables, checksum: int) -> Face:
    """Return what the tables of a face promise.

    Raises:
        Unreadable: when that is of no use here.
    """
    codes, glyphs = characters(table)
    looks = look(table)
    listed = tuple(_axes(table))
    if not any(axis.tag == "wght" for axis in listed) and looks.weight_class < LIGHTEST:
        thin = f"too thin for small text (weight class {looks.weight_class})"
    else:
        thin = ""
    languages = _languages(codes, of_family)
    face = Face(
        name=key,
        path=path,
        index=index,
        family=of_family,
        design=_design(of_family, han=bool(languages & HAN_OF.keys())),
        languages=languages,
        style_class=_style_class(looks, of_family),
        region=_region(of_family),
        codes=codes,
        glyphs=glyphs,
        x_height_em=0.0,
        axes=listed,
        checksum=own_checksum(table) ^ checksum,
    )
    if not face.languages or thin:
        raise Unreadable(key, thin if face.languages else _lacking(codes))
    return face


def _languages(codes: NDArray[np.uint32], of_family: str) -> frozenset[Language]:
    """Return the languages whose characters are all, or nearly all, among `codes`."""
    mapped = {*codes.tolist()} - {SPACE}
    languages: set[Language] = {"en"} if mapped >= ASCII else set()
    regions = _regions(of_family)
    for language, common in HAN_OF.items():
        known = regions is None or language in regions
        if known and len(mapped & common) >= 0.95 * len(common):
            languages.add(language)
    return frozenset(languages)


def _lacking(codes: NDArray[np.uint32]) -> str:
    """Say why a face is of no language, by what it nearly covers."""
    lacking = sorted(ASCII - {*codes.tolist()})
    if len(lacking) <= MOST_NAMED:
        return f"lacks {' '.join(map(chr, lacking))} of printable ASCII"
    for language, common in HAN_OF.items():
        held = len(common & {*codes.tolist()})
        if held >= 0.5 * len(common):
            kind = "Traditional Chinese" if language == "zh-hant" else "Chinese"
            return f"has {held:,} of the {len(common):,} common {kind} characters, below 95 %"
    return NOTHING


def _shown(face: Face) -> Face:
    """Return a face without the characters that it maps and does not show.

    Those are letters of one and the same outline, and letters that do not advance, so that all of
    a line would stand on one spot.

    Raises:
        Unreadable: when too few are left.
    """
    kept, reason = np.ones(len(face.codes), np.bool_), ""
    probes = _probes(face)
    for coordinates in product(*(axis.values for axis in face.axes)):
        font = FontInstance(face, coordinates)
        if not _advancing(font, probes).all():
            all_slots = np.arange(len(face.codes), dtype=np.int32)
            kept &= _advancing(font, all_slots) | (face.codes == SPACE)
            reason = reason or "letters without an advance, or one beyond all bounds"
    font = FontInstance(face, tuple(axis.values[0] for axis in face.axes))
    boxes = _shared(_outlines(font, probes))
    if boxes:
        all_slots = np.arange(len(face.codes), dtype=np.int32)
        alike = [outline in boxes for outline in _outlines(font, all_slots)]
        kept &= ~np.array(alike, np.bool_)
        reason = reason or f"draws one box for {sum(alike):,} characters"
    if face.han:
        _ = font.has_vertical_forms  # HarfBuzz reads other tables than FreeType
    if not reason:
        return face
    codes, glyphs = face.codes[kept], face.glyphs[kept]
    languages = _languages(codes, face.family)
    if not languages:
        raise Unreadable(face.name, reason)
    return replace(face, codes=codes, glyphs=glyphs, languages=languages)


def _probes(face: Face) -> NDArray[np.int32]:
    """Return the slots of ASCII and of Han from all over the face."""
    han = np.flatnonzero((face.codes >= 0x4E00) & (face.codes <= 0x9FFF)).astype(np.int32)
    ascii_slots = face.slots(np.array(sorted(ASCII), np.uint32))
    places = np.linspace(0, max(0, len(han) - 1), min(SAMPLED_HAN, len(han))).astype(np.int64)
    return np.concatenate([ascii_slots[ascii_slots >= 0], han[places]])


def _advancing(font: FontInstance, slots: NDArray[np.int32]) -> NDArray[np.bool_]:
    advances = font.advances(slots)
    return (advances >= LEAST_ADVANCE_EM) & (advances <= LARGEST_EM)


def _outlines(font: FontInstance, slots: NDArray[np.int32]) -> Iterator[bytes]:
    """Yield what each glyph looks like; nothing for a blank one."""
    for start in range(0, len(slots), 1024):
        part = font.face.glyphs[slots[start : start + 1024]].tolist()
        masks, rows = font.draw(part, TRIAL_PX, "none")
        for row in rows:
            offset, size = int(row[0]), int(row[1] * row[2])
            yield row[1:].tobytes() + masks[offset : offset + size].tobytes() if size else b""


def _shared(outlines: Iterator[bytes]) -> set[bytes]:
    """Return the outlines that more characters share than are alike in any writing."""
    return {outline for outline, n in Counter(outlines).items() if outline and n > MOST_ALIKE}


def _inked(face: Face) -> Face:
    """Refuse a face whose letters are mapped but blank; measure the x-height of the others."""
    trial = FontInstance(face, tuple(axis.values[0] for axis in face.axes))
    probes = ("xaeonE05" if "en" in face.languages else "") + ("一的" if face.han else "")
    slots = face.slots(np.array([ord(probe) for probe in probes], np.uint32))
    _, rows = trial.draw(face.glyphs[slots].tolist(), 64, "none")
    for probe, row in zip(probes, rows, strict=True):
        if not row[1]:
            raise Unreadable(face.name, f"maps {probe!r} but draws nothing for it")
    return replace(face, x_height_em=int(rows[0, 2]) / 64 if probes[0] == "x" else 0.0)


def _axes(table: Tables) -> Iterator[Axis]:
    """Yield the axes of a variable font; those of no use for variety stay at their default."""
    for tag, least, plain, largest in axes(table):
        choices: Sequence[float] = {"wght": WEIGHTS, "wdth": WIDTHS}.get(tag, ())
        yield Axis(tag, tuple(v for v in choices if least <= v <= largest) or (plain,))


def _style_class(looks: Look, of_family: str) -> frozenset[str]:
    """Return which of "mono" and "hand" a face is."""
    style_class = set[str]()
    told = looks.fixed_pitch or (looks.family_kind == 2 and looks.proportion == MONOSPACED)
    if told or "MONO" in _words(of_family):  # WenQuanYi's says so by its name alone
        style_class.add("mono")
    by_class = looks.family_class == SCRIPT or looks.family_kind == HANDWRITTEN
    if by_class or of_family in HANDS:
        style_class.add("hand")
    return frozenset(style_class)


def _words(of_family: str) -> list[str]:
    return of_family.upper().replace("-", " ").split()


def _region(of_family: str) -> str:
    """Return the language tag that selects the forms which the family's name promises."""
    for word in _words(of_family):
        if REGIONS.get(word):
            return (
                "zh-hk" if word == "HK" else "zh-hant" if "zh-hant" in REGIONS[word] else "zh-hans"
            )
    return ""


def _design(of_family: str, *, han: bool) -> str:
    """Return the family without the words for a region, or for Latin letters of one width.

    Han are of one width everywhere: the files of such a family draw the same ones.
    """
    if not han:
        return of_family
    name = " ".join(
        word
        for word in of_family.replace("-", " ").split()
        if word.upper() not in REGIONS and word.upper() not in {"CJK", "MONO"}
    )
    return SAME_DESIGN.get(name, name) or of_family


def _regions(of_family: str) -> frozenset[Language] | None:
    """Return the languages whose forms of Han the family's name promises, None without a word."""
    return next((REGIONS[word] for word in _words(of_family) if word in REGIONS), None)
