"""Break opportunities, where a line may end: UAX #14, at the price of a few table look-ups.

uniseg implements the algorithm in full but takes about 80 us a character, more than all the rest
of a page. For most neighbours the answer is the same in every context, so a table of pairs gives
it for whole arrays. What the table leaves open is cut out between two certain breaks and asked of
uniseg; its answer depends on classes of characters only, so letters, digits and Han are replaced
by one representative each, and the pieces, which now repeat all the time, are remembered.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from render.text.kernels import ALWAYS, NEVER, OPEN, certain_breaks

SPACE = 0x20

_GROUPS = {
    "a": "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "0": "0123456789",
    "一": "".join(map(chr, range(0x4E00, 0xA000))),
    "_": " ",
    "~": "",  # a space that stands after anything but a space, an opening mark or a quote
    ",": ".,:;",
    "。": "、。，．）》」』】〉",
    "！": "!?！？",
    "：": "：；",
    "…": "…",
    "（": "（《「『【〈",
}
"""Characters of the same line-breaking class; those of no group are never in a certain pair."""

_TABLE = """
   a 0 一 _ ~ , 。 ！ ： … （
a  - - ÷  - - - -  -  -  - ÷
0  - - ÷  - - - -  -  -  - ÷
一 ÷ ÷ ÷  - - - -  -  -  - ÷
~  ÷ ÷ ÷  ? ? ? ?  ?  ?  ? ÷
,  - - ÷  - - - -  -  -  - ÷
。 ÷ ÷ ÷  - - - -  -  -  - ÷
！ ÷ ÷ ÷  - - - -  -  -  - ÷
： ÷ ÷ ÷  - - - -  -  -  - ÷
… ÷ ÷ ÷  - - - -  -  -  - ÷
（ - - -  - - - -  -  -  - -
"""
"""Break (÷) or none (-) between a left and a right neighbour, whatever is around them (?: open)."""


def _kinds() -> NDArray[np.uint8]:
    """Return the group of each code point below 0x10000, from 1; 0 for none."""
    kinds = np.zeros(0x10000, np.uint8)
    for number, characters in enumerate(_GROUPS.values(), 1):
        kinds[[ord(character) for character in characters]] = number
    return kinds


def _pairs() -> NDArray[np.uint8]:
    """Return what the table says of (left, right), flat, sixteen to a row."""
    numbers = {name: number for number, name in enumerate(_GROUPS, 1)}
    pairs = np.full((16, 16), OPEN, np.uint8)
    head, *rows = (line.split() for line in _TABLE.strip().splitlines())
    for left, *marks in rows:
        for right, mark in zip(head, marks, strict=True):
            pairs[numbers[left], numbers[right]] = {"?": OPEN, "-": NEVER, "÷": ALWAYS}[mark]
    return pairs.ravel()


_KINDS = _kinds()
_PAIRS = _pairs()
_BEFORE_TAME = np.array([False, *(name not in "_~（" for name in _GROUPS)])
_WILD, _TAME = (list(_GROUPS).index(name) + 1 for name in "_~")


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """Characters and their break opportunities. Both arrays may be shared: read only.

    `codes` (n,) are Unicode code points. `breaks` (n,) is True where a line may end after the
    character (UAX #14); the last is always True.
    """

    codes: NDArray[np.uint32]
    breaks: NDArray[np.bool_]

    @staticmethod
    @lru_cache(maxsize=8192)
    def of(string: str) -> "Text":
        """Take a short string; repeated ones are remembered."""
        return Text(encoded(string), break_opportunities(string))

    @property
    def string(self) -> str:
        """Return the characters as a string."""
        return decoded(self.codes)


def encoded(string: str) -> NDArray[np.uint32]:
    """Return the code points of a string, (n,), read only."""
    return np.frombuffer(string.encode("utf-32-le"), np.uint32)


def decoded(codes: NDArray[np.uint32]) -> str:
    """Return the string of code points (n,)."""
    return codes.tobytes().decode("utf-32-le")


def break_opportunities(string: str) -> NDArray[np.bool_]:
    """Return (n,) True where a line may end after the character; the last is always True.

    Equal to uniseg's `line_break_boundaries`, hundreds of times faster on prose.
    """
    breaks = np.ones(len(string), np.bool_)
    if len(string) < 2:
        return breaks
    unclear = np.empty(len(string), np.int32)
    count = certain_breaks(
        encoded(string), _KINDS, _PAIRS, _BEFORE_TAME, _WILD, _TAME, breaks, unclear
    )
    if count:
        cuts = np.flatnonzero(breaks) + 1
        pieces = sorted(set(np.searchsorted(cuts, unclear[:count], side="right").tolist()))
        bounds = [0, *cuts.tolist()]
        inner = [
            bounds[piece] + end - 1
            for piece in pieces
            for end in _inside(
                string[bounds[piece] : bounds[piece + 1]].translate(_REPRESENTATIVES)
            )
        ]
        breaks[inner] = True
    return breaks


class _Representatives(dict[int, str]):
    """A table for str.translate: characters of one class become the same character."""

    def __missing__(self, code: int) -> str:
        if 0x4E00 <= code <= 0x9FFF:
            kind = "一"
        elif 0x30 <= code <= 0x39:
            kind = "0"
        elif 0x41 <= code <= 0x5A or 0x61 <= code <= 0x7A:
            kind = "a"
        else:
            kind = chr(code)
        self[code] = kind
        return kind


_REPRESENTATIVES = _Representatives()

# No break ever falls inside letters or digits (LB25, LB28): two stand for any number of them.
_REPEATED = re.compile(r"aa(a+)|00(0+)")


@lru_cache(maxsize=65536)
def _inside(piece: str) -> tuple[int, ...]:
    """Return the breaks strictly inside a piece of representatives."""
    short = _REPEATED.sub(lambda match: match[0][:2], piece)
    breaks = _reference(short)
    if len(short) == len(piece):
        return breaks
    longer = [0] * (len(short) + 1)
    removed = 0
    for match in _REPEATED.finditer(piece):
        extra = match.end() - match.start() - 2
        longer[match.start() + 2 - removed] = extra
        removed += extra
    shifts = list(accumulate(longer))
    return tuple(end + shifts[end] for end in breaks)


@lru_cache(maxsize=65536)
def _reference(piece: str) -> tuple[int, ...]:
    from uniseg.linebreak import line_break_boundaries

    return tuple(end for end in line_break_boundaries(piece) if 0 < end < len(piece))
