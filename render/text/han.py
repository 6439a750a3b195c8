"""Chinese characters: Traditional ones made from Simplified by OpenCC, in one standard a page.

Taiwan, Hong Kong and OpenCC itself write many Traditional characters differently: 裡, 裏 and 裏;
為, 為 and 爲; 說, 説 and 說.
"""

import re
from collections.abc import Callable, Collection
from functools import cache

import numpy as np

from render.plan import HanVariant
from render.text.breaks import encoded

HAN = re.compile(r"[㐀-鿿]+")

FOREIGN = 0.08
"""Share of Han outside GB 2312 from which a text is Traditional: there it is three tenths, in
Simplified prose below a hundredth."""


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
            singles = ((one, convert(one)) for one in text)
            changed = "".join(new if len(new) == 1 else one for one, new in singles)
        if all(code in self._drawable for code in np.flatnonzero(np.bincount(encoded(changed)))):
            return changed
        pairs = zip(text, changed, strict=True)
        return "".join(new if ord(new) in self._drawable else one for one, new in pairs)

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
    return sum(one not in gb2312() for one in han) > FOREIGN * len(han)


@cache
def gb2312() -> frozenset[str]:
    """Return the 6,763 Han of GB 2312, the Simplified standard."""
    pairs = bytes(byte for i in range(0xB0, 0xF8) for j in range(0xA1, 0xFF) for byte in (i, j))
    return frozenset(pairs.decode("gb2312", "ignore"))
