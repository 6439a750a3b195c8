"""Chinese: Traditional characters made from Simplified ones, and a list of words with counts.

Taiwan, Hong Kong and OpenCC itself write many Traditional characters differently: 裡, 裏 and 裏;
為, 為 and 爲; 說, 説 and 說.
"""

import re
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from render.plan import HanVariant
from render.text.breaks import SPACE, encoded
from shards.embedded import Checksums, package

HAN = re.compile(r"[㐀-鿿]+")

FOREIGN = 0.08
"""Share of Han outside GB 2312 from which a text is Traditional: there it is three tenths, in
Simplified prose below a hundredth."""

LONGEST_WORD = 4
"""Characters in the longest word taken from the list; the longer ones are names and sayings."""


class Traditional:
    """Turns Chinese text into one standard of Traditional Chinese, character for character.

    Traditional text that holds no form which the standard replaces stays as it is, and so does a
    character whose other form no font draws.
    """

    def __init__(self, variant: HanVariant, drawable: Collection[int]) -> None:
        """Convert to the standard `variant`; `drawable` are the code points that fonts have."""
        self._variant: HanVariant = variant
        self._drawable = drawable

    def __call__(self, text: str) -> str:
        """Return text of the same length."""
        convert = (
            self._between_standards if _is_traditional(text) else from_simplified(self._variant)
        )
        changed = convert(text)
        if len(changed) != len(text):
            singles = ((old, convert(old)) for old in text)
            changed = "".join(new if len(new) == 1 else old for old, new in singles)
        if all(code in self._drawable for code in np.flatnonzero(np.bincount(encoded(changed)))):
            return changed
        pairs = zip(text, changed, strict=True)
        return "".join(new if ord(new) in self._drawable else old for old, new in pairs)

    def _between_standards(self, text: str) -> str:
        """Convert Traditional text of any standard, by way of OpenCC's own."""
        if self._variant == "t":
            return _opencc("hk2t")(_opencc("tw2t")(text))
        convert = _opencc(f"t2{self._variant}")
        if convert(text) == text:
            return text
        return convert(_opencc("hk2t")(_opencc("tw2t")(text)))


def from_simplified(variant: HanVariant) -> Callable[[str], str]:
    """Return OpenCC's conversion from Simplified Chinese to a standard of Traditional Chinese."""
    return _opencc(f"s2{variant}")


@cache
def _opencc(name: str) -> Callable[[str], str]:
    # Imported here: only Traditional Chinese needs it.
    import opencc

    return opencc.OpenCC(name).convert


def _is_traditional(text: str) -> bool:
    han = "".join(HAN.findall(text[:1000]))  # which tells
    return sum(character not in gb2312() for character in han) > FOREIGN * len(han)


@cache
def gb2312() -> frozenset[str]:
    """Return the 6,763 Han of GB 2312, the Simplified standard."""
    pairs = bytes(byte for i in range(0xB0, 0xF8) for j in range(0xA1, 0xFF) for byte in (i, j))
    return frozenset(pairs.decode("gb2312", "ignore"))


def word_list(cache: Path | None = None) -> bytes | None:
    """Return jieba's word list, lines of "word count tag" in UTF-8; None without jieba.

    Raises:
        UserError: when it is not the one we know; `cache` as for `Fonts.embedded`.
    """
    checksums = Checksums(cache)
    paths = package("jieba").paths(checksums)
    if not paths:
        return None
    checksums.save()
    return paths[0].read_bytes()


def word_counts(
    listed: bytes, drawable: Collection[int]
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Return the words of a list, (n, LONGEST_WORD + 1), 0 after the end of each, and their counts.

    Words of Simplified characters only: the list has Traditional ones among them.
    """
    codes = encoded(listed.decode("utf-8"))
    starts = np.append(0, np.flatnonzero(codes == 0x0A) + 1)
    words = codes.take(starts[:, None] + np.arange(LONGEST_WORD + 1), mode="clip")
    lengths = (words == SPACE).argmax(axis=1)  # 0 for the longer ones
    words[np.arange(LONGEST_WORD + 1) >= lengths[:, None]] = 0
    allowed = np.zeros(0x10000, np.bool_)
    allowed[[0, *(code for code in map(ord, gb2312()) if code in drawable)]] = True
    good = (lengths > 0) & allowed.take(words, mode="clip").all(axis=1)
    words, at = words[good], (starts + lengths + 1)[good]
    counts = np.zeros(len(at), np.int64)
    more = np.ones(len(at), np.bool_)
    for place in range(9):
        digits = codes.take(at + place, mode="clip") - np.uint32(0x30)  # a space wraps around
        more &= digits < 10
        counts = np.where(more, 10 * counts + digits, counts)
    return words[counts > 0], counts[counts > 0]
