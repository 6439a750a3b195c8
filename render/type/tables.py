"""What a font file says of itself: names, characters, weight and axes, from its small tables.

FreeType draws; these seven tables are read by us, as no more than a name or a number is needed of
each. A general parser makes an object of every glyph's name and every character, takes a second
for our 39 faces, and as long as a broken table asks it to. Here work and memory are bounded by
the length of the tables. Layouts are those of the OpenType specification 1.9 (Microsoft, 2022).
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from struct import calcsize, error, pack, unpack_from

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint32]

LARGEST_UNPACKED = 2**28
"""Most bytes that the tables of a packed font may take (our choice)."""

UNICODE_MAPS = ((3, 10), (0, 6), (0, 4), (3, 1), (0, 3), (0, 2), (0, 1), (0, 0))
"""(platform, encoding) of maps of Unicode, the best first."""

LAST_CODE = 0x10FFFF


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """The tables of one face of a file: (offset, length, length unpacked) by tag."""

    data: memoryview
    places: Mapping[bytes, tuple[int, int, int]]

    def __getitem__(self, tag: bytes) -> bytes:
        """Return a table, empty where there is none.

        Raises:
            ValueError, zlib.error: when it is packed and is not what its entry says.
        """
        offset, length, whole = self.places.get(tag, (0, 0, 0))
        table = bytes(self.data[offset : offset + length])
        if whole == length:
            return table
        table = zlib.decompressobj().decompress(table, whole + 1)
        if len(table) != whole:
            raise ValueError("a table of another length than its entry says")
        return table


def packing(data: memoryview) -> str:
    """Return how a font is packed for the web: WOFF, WOFF2, or not at all."""
    return {b"wOFF": "WOFF", b"wOF2": "WOFF2"}.get(bytes(data[:4]), "")


def faces(data: memoryview) -> list[Tables]:
    """Return the faces of a font, of a collection, or of a font packed as WOFF.

    Raises:
        ValueError, struct.error: when it is none of them.
    """
    kind = bytes(data[:4])
    if kind == b"ttcf":
        (count,) = unpack_from(">I", data, 8)
        offsets = unpack_from(f">{count}I", data, 12)
        if len({*offsets}) < count:
            raise ValueError("a collection that holds a face twice")
        return [_directory(data, offset) for offset in offsets]
    if kind == b"wOFF":
        (count,) = unpack_from(">H", data, 12)
        places = _places(data, 44, count, ">4s3I4x")
        if sum(whole for _, _, whole in places.values()) > LARGEST_UNPACKED:
            raise ValueError(f"tables of more than {LARGEST_UNPACKED:,} bytes")
        return [Tables(data, places)]
    if kind not in (b"\0\1\0\0", b"OTTO", b"true"):
        raise ValueError("no font")
    return [_directory(data, 0)]


def _directory(data: memoryview, start: int) -> Tables:
    (count,) = unpack_from(">H", data, start + 4)
    return Tables(data, _places(data, start + 12, count, ">4s4x2I"))


def _places(
    data: memoryview, start: int, count: int, layout: str
) -> dict[bytes, tuple[int, int, int]]:
    entries = (
        unpack_from(layout, data, start + calcsize(layout) * number) for number in range(count)
    )
    return {tag: (offset, length, (*rest, length)[0]) for tag, offset, length, *rest in entries}


def unpacked(data: memoryview) -> bytes:
    """Return a font packed as WOFF as a plain one.

    Raises:
        ValueError, struct.error, zlib.error: when a table is not what its entry says.
    """
    (tables,) = faces(data)
    held = {tag: tables[tag] for tag in sorted(tables.places)}
    offset = 12 + 16 * len(held)
    entries: list[bytes] = []
    for tag, table in held.items():
        entries.append(pack(">4s4x2I", tag, offset, len(table)))
        offset += len(table)
    return b"".join((bytes(data[4:8]), pack(">H6x", len(held)), *entries, *held.values()))


def glyph_count(tables: Tables) -> int:
    """Return how many glyphs the face holds."""
    return unpack_from(">4xH", tables[b"maxp"])[0]


def own_checksum(tables: Tables) -> int:
    """Return what the font says that its bytes add up to."""
    return unpack_from(">8xI", tables[b"head"])[0]


def family(tables: Tables) -> str:
    """Return the typographic family, so that the weights of a family count as one."""
    table = tables[b"name"]
    count, start = unpack_from(">2xHH", table)
    records = np.frombuffer(table, ">u2", 6 * count, 6).reshape(-1, 6)
    for wanted in (16, 1):
        name = ""
        for platform, _, language, _, length, offset in records[records[:, 3] == wanted].tolist():
            text = table[start + offset : start + offset + length]
            codec = "mac_roman" if platform == 1 else "utf-16-be"
            name = text.decode(codec, "replace").replace("\0", "").strip() or name
            if (platform, language) in ((1, 0), (3, 0x409)):
                break
        if name:
            return name
    return "unnamed"


@dataclass(frozen=True, slots=True)
class Look:
    """What a face says of its looks: table OS/2 (PANOSE and IBM's classes) and post.

    Where the table is missing or cut short, what a plain text face says.
    """

    weight_class: int = 400
    family_class: int = 0
    family_kind: int = 0
    proportion: int = 0
    fixed_pitch: bool = False


def look(tables: Tables) -> Look:
    """Return what a face says of its looks."""
    post = tables[b"post"]
    fixed = len(post) >= 16 and post[12:16] != bytes(4)
    try:
        weight, classes, kind, proportion = unpack_from(">4xH24xhB2xB", tables[b"OS/2"])
    except error:
        return Look(fixed_pitch=fixed)
    return Look(weight, classes >> 8, kind, proportion, fixed)


def axes(tables: Tables) -> list[tuple[str, float, float, float]]:
    """Return (tag, least, plain, largest) of each axis of a variable font.

    Raises:
        ValueError: when two axes have one tag, or the numbers of one are in no order.
    """
    table = tables[b"fvar"]
    if not table:
        return []
    start, count, size = unpack_from(">4xH2xHH", table)
    rows = [unpack_from(">4s3i", table, start + size * number) for number in range(count)]
    listed = [
        (tag.decode("latin-1"), low / 65536, plain / 65536, high / 65536)
        for tag, low, plain, high in rows
    ]
    if len({tag for tag, *_ in listed}) < count or any(
        not low <= plain <= high for _, low, plain, high in listed
    ):
        raise ValueError("axes that contradict each other")
    return listed


def characters(tables: Tables) -> tuple[Codes, Codes]:
    """Return the code points that a face maps, which rise, and its glyph of each, both (n,).

    Raises:
        ValueError, struct.error: when there is no map of Unicode that can be read.
    """
    table = tables[b"cmap"]
    (count,) = unpack_from(">2xH", table)
    records = [unpack_from(">HHI", table, 4 + 8 * number) for number in range(count)]
    starts = {(platform, encoding): start for platform, encoding, start in reversed(records)}
    start = next((starts[name] for name in UNICODE_MAPS if name in starts), None)
    if start is None:
        raise ValueError("no map of Unicode")
    codes, glyphs = _map(table[start:])
    whole = (glyphs > 0) & (glyphs < glyph_count(tables)) & (codes <= LAST_CODE)
    # Of two glyphs for a character the last counts.
    rising, places = np.unique(codes[whole][::-1], return_index=True)
    return rising.astype(np.uint32), glyphs[whole][::-1][places].astype(np.uint32)


MOST_PARTS, DEEPEST = 1000, 8
"""Most outlines that one glyph is made of, and how deep glyphs are made of glyphs (our choice)."""


def require_few_parts(tables: Tables) -> None:
    """Refuse glyphs made of glyphs over and over: FreeType draws n such levels in 2^n steps.

    Raises:
        ValueError, struct.error: when a glyph is made of too many.
    """
    if not tables[b"glyf"]:
        return
    made_of = _components(tables)
    counted: dict[int, int] = {}

    def parts(glyph: int, depth: int) -> int:
        if glyph not in made_of:
            return 1
        if glyph not in counted:
            counted[glyph] = MOST_PARTS + 1  # also what a circle counts
            if depth < DEEPEST:
                counted[glyph] = sum(parts(part, depth + 1) for part in made_of[glyph])
        return min(counted[glyph], MOST_PARTS + 1)

    if any(parts(glyph, 0) > MOST_PARTS for glyph in made_of):
        raise ValueError("a glyph made of too many others")


def _components(tables: Tables) -> dict[int, list[int]]:
    """Return the glyphs that are made of others, and of which."""
    outlines = tables[b"glyf"]
    (is_long,) = unpack_from(">50xh", tables[b"head"])
    loca, width = tables[b"loca"], 4 if is_long else 2
    starts = np.frombuffer(loca[: len(loca) // width * width], f">u{width}").astype(np.int64)
    starts = starts if is_long else 2 * starts
    made_of: dict[int, list[int]] = {}
    for glyph, (at, end) in enumerate(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)):
        if at >= end or not outlines[at : at + 1] or outlines[at] < 0x80:
            continue  # blank, or contours of its own
        at, parts, more = at + 10, list[int](), True
        while more and at + 4 <= len(outlines) and len(parts) <= MOST_PARTS:
            flags, part = unpack_from(">HH", outlines, at)
            parts.append(part)
            at += 8 if flags & 0x1 else 6
            at += 2 * bool(flags & 0x8) + 4 * bool(flags & 0x40) + 8 * bool(flags & 0x80)
            more = bool(flags & 0x20)
        made_of[glyph] = parts
    return made_of


Map = tuple[NDArray[np.int64], NDArray[np.int64]]


def _map(table: bytes) -> Map:
    (layout,) = unpack_from(">H", table)
    if layout == 4:
        return _segments(np.frombuffer(table[: len(table) & ~1], ">u2").astype(np.int64))
    if layout == 6:
        first, count = unpack_from(">6xHH", table)
        glyphs = np.frombuffer(table, ">u2", count, 10).astype(np.int64)
        return first + np.arange(count), glyphs
    if layout in (12, 13):
        (count,) = unpack_from(">12xI", table)
        groups = np.frombuffer(table, ">u4", 3 * count, 16).astype(np.int64).reshape(-1, 3)
        codes, group = _spread(groups[:, 0], groups[:, 1])
        glyphs = groups[group, 2]
        return codes, glyphs + (codes - groups[group, 0] if layout == 12 else 0)
    raise ValueError(f"a map of characters of format {layout}")


def _segments(words: NDArray[np.int64]) -> Map:
    """Read format 4: segments of codes, which add a delta or look into a list."""
    count = int(words[3]) // 2
    ends, starts, deltas, offsets = (
        words[7 : 7 + count],
        *words[8 + count :][: 3 * count].reshape(3, count),
    )
    listed = words[8 + 4 * count :]
    codes, segment = _spread(starts, ends)
    places = offsets[segment] // 2 + codes - starts[segment] + segment - count
    plain = offsets[segment] == 0
    held = ~plain & (places >= 0) & (places < len(listed))
    glyphs = np.zeros(len(codes), np.int64)
    glyphs[plain] = codes[plain] + deltas[segment[plain]]
    glyphs[held] = listed[places[held]]
    held &= glyphs > 0
    glyphs[held] += deltas[segment[held]]
    return codes, glyphs & 0xFFFF


def _spread(firsts: NDArray[np.int64], lasts: NDArray[np.int64]) -> Map:
    """Return each code from `firsts` (n,) to `lasts`, and which of the ranges it is from."""
    counts = np.maximum(lasts - firsts + 1, 0)
    total = int(counts.sum())
    if total > LAST_CODE + 1:
        raise ValueError("more characters than there are")
    group = np.repeat(np.arange(len(counts)), counts)
    return np.arange(total) - (np.cumsum(counts) - counts)[group] + firsts[group], group
