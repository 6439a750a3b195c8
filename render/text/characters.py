"""Text without words, in which every common character is as frequent as any other.

A share of it in running text keeps a floor under the rare ones: of words and prose alone a backtick
or 祟 may be on none of a thousand pages.
"""

from collections import Counter
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from render.text.han import LONGEST_WORD
from render.text.scripts import ASCII, HAN
from render.text.sources import Prose, Words

ORDERS = 8
"""Orders in which the common Han are read as words of two, each character twice in each."""

LINES = 256
"""Passages of signs; each holds all of ASCII once."""

COMMON = 1e-4
"""Part of a text from which on a character needs no help: it is in hundreds of our pages."""

LONGEST_RUN = 8
"""Most signs without a space (our choice: a word of a common length)."""


def rare_han(drawable: Collection[int], texts: Collection[str]) -> Words | None:
    """Return words of two common Han (GB 2312, level 1) that are rare in `texts`, all alike.

    None where fonts draw no such Han, or none is rare.
    """
    held = Counter[str]()
    for text in texts:
        held.update(text)
    least = COMMON * held.total()
    rare = (code for code in HAN & {*drawable} if held[chr(code)] < max(1, least))
    common = np.array(sorted(rare), np.uint32)
    if not len(common):
        return None
    rng = np.random.default_rng(0)
    orders = [rng.permutation(common) for _ in range(ORDERS)]
    words = np.zeros((ORDERS * len(common), LONGEST_WORD + 1), np.uint32)
    words[:, 0] = np.concatenate(orders)
    words[:, 1] = np.concatenate([np.roll(order, -1) for order in orders])
    return Words(words, np.ones(len(words), np.int64))


def signs(drawable: Collection[int]) -> Prose | None:
    """Return runs of printable ASCII, all signs alike; None where fonts draw none of it."""
    common = np.array(sorted(ASCII & {*drawable}), np.uint32)
    if not len(common):
        return None
    rng = np.random.default_rng(0)
    return Prose([_line(rng, common) for _ in range(LINES)], " ")


def _line(rng: np.random.Generator, common: NDArray[np.uint32]) -> str:
    """Write every sign once, in runs."""
    text = "".join(map(chr, rng.permutation(common).tolist()))
    stops = np.cumsum(rng.integers(1, LONGEST_RUN + 1, len(text))).tolist()
    starts = [0, *(stop for stop in stops if stop < len(text))]
    return " ".join(text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True))
