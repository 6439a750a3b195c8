"""Where a line may end: UAX #14, at the price of a table look-up.

uniseg implements the algorithm in full but takes about 80 us a character, more than all the rest
of a page. Its answer depends on the line-breaking class of each character only, so letters,
digits and Han are replaced by one representative each, the text is cut where a break is certain,
and the pieces, which now repeat all the time, are looked up.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate


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

# Between Han (LB31), and after a space that follows neither an opening bracket nor a quote and
# precedes nothing that clings to the left (LB18).
_CERTAIN = re.compile(r"(?<=一)(?=一)|(?<=[a0一.,;!?] )(?=[a0一])")


# No break ever falls inside letters or digits (LB25, LB28): two stand for any number of them.
_REPEATED = re.compile(r"aa(a+)|00(0+)")


@lru_cache(maxsize=65536)
def _inside(piece: str) -> tuple[int, ...]:
    """Return the breaks strictly inside a piece of representatives."""
    short = _REPEATED.sub(lambda match: match[0][:2], piece)
    ends = _reference(short)
    if len(short) == len(piece):
        return ends
    longer = [0] * (len(short) + 1)
    removed = 0
    for match in _REPEATED.finditer(piece):
        extra = match.end() - match.start() - 2
        longer[match.start() + 2 - removed] = extra
        removed += extra
    shifts = list(accumulate(longer))
    return tuple(end + shifts[end] for end in ends)


@lru_cache(maxsize=65536)
def _reference(piece: str) -> tuple[int, ...]:
    from uniseg.linebreak import line_break_boundaries

    return tuple(end for end in line_break_boundaries(piece) if 0 < end < len(piece))


def breaks(text: str) -> list[int]:
    """Return the ends of the parts that no line may split, rising, the last is `len(text)`.

    Equal to uniseg's `line_break_boundaries` without its 0, some 50 times faster.
    """
    if not text:
        return []
    skeleton = text.translate(_REPRESENTATIVES)
    ends: list[int] = []
    start = 0
    for end in [*(cut.start() for cut in _CERTAIN.finditer(skeleton)), len(text)]:
        ends.extend(start + inner for inner in _inside(skeleton[start:end]))
        ends.append(end)
        start = end
    return ends


def wrap(
    text: str, edges: Sequence[float], width: float, *, indent: float = 0.0
) -> list[tuple[int, int]]:
    """Fill lines greedily and return the (start, end) of each, outer spaces excluded.

    `edges` holds the pen position before each character and after the last, `width` and `indent`
    (of the first line) are in the same unit. A part wider than a line is split between
    characters; nothing else ever is.
    """
    ends = breaks(text)
    lines: list[tuple[int, int]] = []
    start = 0
    while start < len(text):
        room = edges[start] + width - (0.0 if lines else indent)
        limit = bisect_right(edges, room) - 1
        while limit < len(text) and text[limit] == " ":  # spaces may hang over the edge
            limit += 1
        end = ends[max(0, bisect_right(ends, limit) - 1)]
        if not start < end <= limit:
            end = max(start + 1, limit)
        stop = start + len(text[start:end].rstrip(" "))
        if stop > start:
            lines.append((start, stop))
        start = end
    return lines
