"""Break opportunities, where a line may end: UAX #14 in one compiled loop.

uniseg implements the algorithm in full but takes about 80 us a character, more than all the rest
of a page. Here it gives the classes of characters, each asked once; the rules are in `kernels.py`.
"""

import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from render.plan import TextSource
from render.text.kernels import BITS, line_breaks

SPACE = 0x20


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """Characters and their break opportunities. Both arrays may be shared: read only.

    `codes` (n,) are Unicode code points. `breaks` (n,) is True where a line may end after the
    character (UAX #14); the last is always True. `source` says where they come from.
    """

    codes: NDArray[np.uint32]
    breaks: NDArray[np.bool_]
    source: TextSource = "facts"

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
    """Return the code points of a string, (n,)."""
    # Not of bytes: for arrays that are read only the loops would be compiled once more.
    return np.frombuffer(bytearray(string, "utf-32-le"), np.uint32)


def decoded(codes: NDArray[np.uint32]) -> str:
    """Return the string of code points (n,)."""
    return codes.tobytes().decode("utf-32-le")


def break_opportunities(string: str) -> NDArray[np.bool_]:
    """Return (n,) True where a line may end after the character; the last is always True.

    Equal to the `line_break_boundaries` of uniseg 0.10, a thousand times as fast.
    """
    if len(string) < 2:
        return np.ones(len(string), np.bool_)
    breaks, codes = np.empty(len(string), np.bool_), encoded(string)
    while not line_breaks(codes, _KINDS, _BITS, breaks):
        for code in np.unique(codes[_KINDS[codes] == 0]).tolist():
            _KINDS[code] = _kind(_asked(chr(code)))
    return breaks


_KINDS = np.zeros(0x110000, np.uint8)
"""What is known of each code point: its kind, 0 where it was not asked for yet."""

_BITS = np.zeros(256, np.uint64)
"""The bits of each kind, as the rules ask them."""


@cache
def _kind(bits: int) -> int:
    """Number the characters of these bits; there are about eighty such kinds."""
    number = int(np.count_nonzero(_BITS)) + 1
    _BITS[number] = bits
    return number


def _asked(character: str) -> int:
    """Return the bits of a character, its class resolved by rule LB1."""
    from uniseg.emoji import extended_pictographic
    from uniseg.linebreak import line_break

    name, category = line_break(character).name, unicodedata.category(character)
    if name == "SA" and category in ("Mn", "Mc"):
        name = "CM"
    name = {"AI": "AL", "SG": "AL", "XX": "AL", "SA": "AL", "CJ": "NS"}.get(name, name)
    traits = {
        "EAST_ASIAN": unicodedata.east_asian_width(character) in "FWH",
        "INITIAL": category == "Pi",
        "FINAL": category == "Pf",
        "CIRCLE": character == "\N{DOTTED CIRCLE}",
        "HYPHEN": character == "\N{HYPHEN}",
        "UNASSIGNED_EMOJI": category == "Cn" and extended_pictographic(character),
    }
    asked = [name, *(trait for trait, has in traits.items() if has)]
    return sum(int(BITS[each]) for each in asked)
