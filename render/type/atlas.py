"""The atlas: every glyph drawn once per size, then only copied.

A strike (FreeType's word) is one font at one size, hinting and direction. It fills as pages ask
for glyphs, and `Atlas.save` puts what is new into a folder, from where every process of the
machine maps it read-only. What is drawn never depends on what was there before.
"""

import mmap
import os
import zlib
from collections import OrderedDict
from functools import cache, cached_property
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from struct import Struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from render.plan import Hinting
from render.text.breaks import SPACE
from render.type.glyphs import PHASES, FontInstance
from shards import digest
from shards.skipped import readable

UNSEEN: Final = -2
BLANK: Final = -1
"""No ink: spaces, glyphs that the face lacks, and those that show nothing at this size."""

VERSION = 3
"""Version of the files; part of their name, so others are never read."""

BYTES = 256 * 2**20
"""Private memory that strikes may take before the oldest are forgotten (our choice)."""

_HEADER = Struct("<3qQ")
"""Lengths of the table, the rows and the masks, and the CRC of all of them."""


class Strike:
    """The glyphs of one font at one size: `masks` (bytes), and `rows` (m, 5) that cut them.

    A row is (offset, width, height, left, top); left and top are px from the pen, y downwards.
    `table` has the row of each glyph of the face in its first phase; the other phases follow.
    """

    def __init__(
        self, font: FontInstance, size_px: int, hinting: Hinting, *, vertical: bool = False
    ) -> None:
        """Start empty. Han and vertical text stand on whole pixels, so they have one phase."""
        self.font = font
        self.size_px = size_px
        self.hinting: Hinting = hinting
        self.vertical = vertical
        self.phases = 1 if vertical or font.face.han else PHASES
        self.grown = False
        self.table = np.full(len(font.face.codes), UNSEEN, np.int32)
        space = font.face.slots(np.array([SPACE], np.uint32))[0]
        if space >= 0:
            self.table[space] = BLANK
        self.rows = np.zeros((0, 5), np.int32)
        self.masks = np.zeros(0, np.uint8)
        self._used = 0
        self._mapped = False

    @cached_property
    def x_height_px(self) -> int | None:
        """Return the height of an x, px, None where the face shows none at this size."""
        row = int(self.find(self.font.face.slots(np.array([ord("x")], np.uint32)))[0])
        return int(self.rows[row, 2]) if row >= 0 else None

    @property
    def private(self) -> int:
        """Return the bytes that this process alone holds: 0 for a strike mapped from a file."""
        if self._mapped:
            return 0
        return self.table.nbytes + self.rows.nbytes + self.masks.nbytes

    def fill(self, codes: NDArray[np.uint32]) -> int:
        """Draw every one of `codes` that the face has, in every phase; return their number."""
        slots = self.font.face.slots(codes)
        slots = slots[slots >= 0]
        self.find(slots)
        return len(slots) * self.phases

    def find(self, slots: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the row of each glyph in its first phase, (n,); draw what is new in all phases.

        `slots` are places among the glyphs of the face, -1 for none. Without ink a row is BLANK.
        """
        row_numbers = np.where(slots >= 0, self.table[slots], BLANK)
        if (row_numbers == UNSEEN).any():
            self._draw(np.unique(slots[row_numbers == UNSEEN]))
            row_numbers = np.where(slots >= 0, self.table[slots], BLANK)
        return row_numbers

    def _draw(self, slots: NDArray[np.int32]) -> None:
        """Draw glyphs in every phase.

        One that is blank in some phase counts as blank in all, so that a character never comes
        or goes with the place of its pen.
        """
        glyphs, moves = self._glyphs(slots)
        poses = [(None, phase * 64 // PHASES, 0) for phase in range(self.phases)]
        each = (glyph for glyph in glyphs for _ in poses)
        masks, rows = self.font.draw(each, self.size_px, self.hinting, cycle(poses))
        rows[:, 3:] += np.repeat(moves, self.phases, axis=0)
        inked = np.logical_and.reduce(rows[:, 1].reshape(-1, self.phases) > 0, axis=1)
        rows = rows[np.repeat(inked, self.phases)]
        rows[:, 0] += self._used
        self._add(slots, inked, rows, masks)
        self.grown = True

    def _add(
        self,
        slots: NDArray[np.int32],
        inked: NDArray[np.bool_],
        rows: NDArray[np.int32],
        masks: NDArray[np.uint8],
    ) -> None:
        """Add glyphs: the rows of those that are `inked`, whose masks follow those there are.

        The room for masks is doubled, so that growing costs no more than drawing.
        """
        firsts = np.full(len(slots), BLANK, np.int32)
        firsts[inked] = np.arange(len(self.rows), len(self.rows) + len(rows), self.phases)
        if self._mapped:
            self.table = self.table.copy()
        self.table[slots] = firsts
        self.rows = np.concatenate([self.rows, rows])
        needed = self._used + len(masks)
        if needed > len(self.masks) or self._mapped:
            room = np.zeros(max(needed, 2 * self._used, 4096), np.uint8)
            room[: self._used] = self.masks[: self._used]
            self.masks = room
        self.masks[self._used : needed] = masks
        self._used, self._mapped = needed, False

    def _glyphs(self, slots: NDArray[np.int32]) -> tuple[list[int], NDArray[np.int32]]:
        """Return the font's glyphs and how far each is moved from its pen, in whole px."""
        if not self.vertical:
            return self.font.face.glyphs[slots].tolist(), np.zeros((len(slots), 2), np.int32)
        forms = [self.font.vertical_form(slot) for slot in slots.tolist()]
        scale = self.size_px / self.font.units_per_em
        moves = [(round(right * scale), -round(up * scale)) for _, right, up, _ in forms]
        return [glyph for glyph, *_ in forms], np.array(moves, np.int32)

    @property
    def name(self) -> str:
        """Name the file of this strike: a digest of its font, then what makes it this one."""
        return f"{_digest(self.font)}-{self.size_px}px-{self.hinting}{'-v' * self.vertical}"

    def write(self, path: Path) -> None:
        """Write everything to a temporary name, then put it in place."""
        masks = self.masks[: self._used].tobytes()
        body = self.table.tobytes() + self.rows.tobytes() + masks
        sizes = (len(self.table), len(self.rows), self._used)
        header = _HEADER.pack(*sizes, zlib.crc32(body))
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            temporary.write_bytes(header + body)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def map(self, path: Path) -> bool:
        """Use the glyphs in `path`, mapped read-only; False when it is missing or not whole."""
        try:
            with open(path, "rb", 0) as file:  # noqa: PTH123 - Path.open costs as much as mapping
                head = file.read(_HEADER.size)
                # Nothing is ever written there, but arrays that are read only are of another type
                # to the compiled loops, for which they would be compiled once more.
                data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        except (OSError, ValueError):
            return False
        if len(head) < _HEADER.size:
            return False
        table, rows, masks, crc = _HEADER.unpack(head)
        body = data[_HEADER.size :]
        if table != len(self.table) or len(body) != 4 * table + 20 * rows + masks:
            return False
        if zlib.crc32(body) != crc:
            return False
        self.table = np.frombuffer(body, np.int32, table)
        self.rows = np.frombuffer(body, np.int32, 5 * rows, 4 * table).reshape(-1, 5)
        self.masks = np.frombuffer(body, np.uint8, masks, 4 * table + 20 * rows)
        self._used, self._mapped, self.grown = masks, True, False
        return True

    def absorb(self, path: Path) -> None:
        """Add the glyphs that another process has put into `path` since we mapped it."""
        other = Strike(self.font, self.size_px, self.hinting, vertical=self.vertical)
        if not other.map(path):
            return
        news = np.flatnonzero((self.table == UNSEEN) & (other.table != UNSEEN)).astype(np.int32)
        if not len(news):
            return
        firsts = other.table[news]
        inked = firsts >= 0
        rows = other.rows[(firsts[inked, None] + np.arange(self.phases)).ravel()]
        pieces = [other.masks[o : o + w * h] for o, w, h in rows[:, :3].tolist()]
        lengths = rows[:, 1] * rows[:, 2]
        rows[:, 0] = self._used + np.cumsum(lengths) - lengths
        self._add(news, inked, rows, np.concatenate([np.zeros(0, np.uint8), *pieces]))


@cache
def _libraries() -> tuple[str, ...]:
    return version("freetype-py"), version("uharfbuzz")


@cache
def _digest(font: FontInstance) -> str:
    """Digest everything that the glyphs of a font depend on, and the layout of the files."""
    face = font.face
    return digest(
        {
            "version": VERSION,
            "libraries": _libraries(),
            "face": [readable(face.path.name), face.index, face.checksum, len(face.codes)],
            "design": list(font.coordinates),
        }
    )[:32]


class Atlas:
    """The strikes of one process, shared with others through `folder` where one is given."""

    def __init__(self, folder: Path | None = None) -> None:
        """Use `folder`, made when missing; None keeps everything in this process."""
        self.folder = folder
        self._strikes: OrderedDict[tuple[FontInstance, int, Hinting, bool], Strike] = OrderedDict()

    def strike(
        self, font: FontInstance, size_px: int, hinting: Hinting, *, vertical: bool = False
    ) -> Strike:
        """Return a strike, from memory, from the folder, or new."""
        key = (font, size_px, hinting, vertical)
        strike = self._strikes.get(key)
        if strike is None:
            strike = self._strikes[key] = Strike(font, size_px, hinting, vertical=vertical)
            if self.folder is not None:
                strike.map(self.folder / strike.name)
        return strike

    def save(self) -> None:
        """Share what was drawn since the last time, and keep private memory bounded.

        A folder that cannot be written costs speed, never a page.
        """
        if self.folder is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                for strike in self._strikes.values():
                    if strike.grown:
                        path = self.folder / strike.name
                        strike.absorb(path)
                        strike.write(path)
                        strike.map(path)
            except OSError:
                self.folder = None
        held = sum(strike.private for strike in self._strikes.values())
        while held > BYTES and len(self._strikes) > 1:
            held -= self._strikes.popitem(last=False)[1].private
