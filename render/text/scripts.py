"""Scripts: the characters that a face must show to count as one for a language."""

from collections.abc import Mapping

from render.plan import Language

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
