"""The compiled loop over neighbouring characters: the rules of UAX #14 for where a line may end.

They are those of revision 53 (Unicode 16), in the order in which uniseg 0.10 asks them and as it
reads them. A character is a word of 64 bits: the bit of its class, and what else a rule asks.
"""

import numpy as np
from numpy.typing import NDArray

from render.compiled import compiled, inner

CLASSES = (
    "BK", "CR", "LF", "CM", "NL", "SG", "WJ", "ZW", "GL", "SP", "ZWJ", "B2", "BA", "BB", "HY", "CB",
    "CL", "CP", "EX", "IN", "NS", "OP", "QU", "IS", "NU", "PO", "PR", "SY", "AI", "AK", "AL", "AP",
    "AS", "CJ", "EB", "EM", "H2", "H3", "HL", "ID", "JL", "JV", "JT", "RI", "SA", "VF", "VI", "XX",
)  # fmt: skip
"""The line breaking classes; the bit of each is its place here."""

TRAITS = ("EAST_ASIAN", "INITIAL", "FINAL", "CIRCLE", "HYPHEN", "UNASSIGNED_EMOJI")
"""What rules ask besides: wide, full or half width; category Pi or Pf (quotes); U+25CC; U+2010;
a code point kept for an emoji to come. Their bits follow those of the classes."""

BITS = {name: np.uint64(1 << place) for place, name in enumerate(CLASSES + TRAITS)}

NONE = np.uint64(0)
BK, CR, LF, NL = (BITS[name] for name in ("BK", "CR", "LF", "NL"))
CM, ZWJ, ZW, SP, WJ, GL = (BITS[name] for name in ("CM", "ZWJ", "ZW", "SP", "WJ", "GL"))
B2, BA, BB, HY, CB = (BITS[name] for name in ("B2", "BA", "BB", "HY", "CB"))
CL, CP, EX, IN, NS, OP, QU = (BITS[name] for name in ("CL", "CP", "EX", "IN", "NS", "OP", "QU"))
IS, NU, PO, PR, SY = (BITS[name] for name in ("IS", "NU", "PO", "PR", "SY"))
AL, HL, ID, EB, EM, RI = (BITS[name] for name in ("AL", "HL", "ID", "EB", "EM", "RI"))
AK, AP, AS, VF, VI = (BITS[name] for name in ("AK", "AP", "AS", "VF", "VI"))
JL, JV, JT, H2, H3 = (BITS[name] for name in ("JL", "JV", "JT", "H2", "H3"))
EAST_ASIAN, INITIAL, FINAL = (BITS[name] for name in ("EAST_ASIAN", "INITIAL", "FINAL"))
CIRCLE, HYPHEN, UNASSIGNED_EMOJI = (BITS[name] for name in ("CIRCLE", "HYPHEN", "UNASSIGNED_EMOJI"))

LINE_ENDS = BK | CR | LF | NL
MARKS = CM | ZWJ
LETTERS = AL | HL
HANGUL = JL | JV | JT | H2 | H3
IDEOGRAPHS = ID | EB | EM
STARTS = LINE_ENDS | OP | QU | GL | SP | ZW
"""What an opening quote stands after (LB15a)."""
STOPS = LINE_ENDS | SP | GL | WJ | CL | QU | CP | EX | IS | SY | ZW
"""What a closing quote stands before (LB15b)."""
WORD_STARTS = LINE_ENDS | SP | ZW | CB | GL
"""What a hyphen that belongs to the next word stands after (LB20a)."""

OPEN, NEVER, ALWAYS = 0, 1, 2


@compiled("u4[::1], u1[::1], u8[::1], b1[::1]")
def line_breaks(
    codes: NDArray[np.uint32],
    kinds: NDArray[np.uint8],
    bits: NDArray[np.uint64],
    ends: NDArray[np.bool_],
) -> bool:
    """Put in `ends` (n,) where a line may end after a character of `codes` (n,); the last may.

    `kinds` (0x110000,) says of each code point which of `bits` (256,) it has, 0 where that is not
    known yet: the answer is False when one of those is needed. `bits` are those of rule LB1.
    """
    n = len(codes)
    # Marks that belong to the character before them are left out (LB9); two more at either end.
    kept = np.empty(n + 4, np.uint64)
    places, ruled = np.empty(n + 4, np.int64), np.empty(n + 4, np.int64)
    for k in range(n + 4):
        kept[k] = NONE
    count, left, base, before_spaces = 2, NONE, NONE, NONE
    for at in range(n):
        kind = kinds[codes[at]]
        if kind == 0:
            return False
        right = bits[kind]
        rule = OPEN
        if left & BK:  # LB4 to LB8a
            rule = ALWAYS
        elif left & CR and right & LF:
            rule = NEVER
        elif left & (CR | LF | NL):
            rule = ALWAYS
        elif right & (LINE_ENDS | SP | ZW):
            rule = NEVER
        elif before_spaces & ZW:
            rule = ALWAYS
        elif left & ZWJ:
            rule = NEVER
        mark = (right & MARKS) != NONE
        if at > 0 and mark and not base & (LINE_ENDS | SP | ZW):
            ends[at - 1] = False
        else:
            kept[count] = AL if mark else right  # LB10
            places[count], ruled[count] = at, rule
            count += 1
        left = right
        if not mark:
            base = right
        if not right & SP:
            before_spaces = right
    flags = 0  # regional indicators in a row
    for k in range(3, count):
        flags = flags + 1 if kept[k - 1] & RI else 0
        rule = ruled[k]
        if rule == OPEN:
            last = places[k] == n - 1
            rule = ALWAYS if may_break(kept, k, last, flags) else NEVER
        ends[places[k] - 1] = rule == ALWAYS
    ends[n - 1] = True
    return True


@inner
def may_break(kept: NDArray[np.uint64], k: int, last: bool, flags: int) -> bool:
    """Say whether a line may end before character `k` of `kept`: rules LB11 to LB31.

    `last` says whether it is the last of the text, `flags` how many regional indicators stand
    before it in a row.
    """
    left, right, following = kept[k - 1], kept[k], kept[k + 1]
    if (left | right) & WJ or left & GL:  # LB11, LB12
        return False
    if right & GL and not left & (SP | BA | HY):  # LB12a
        return False
    if right & (CL | CP | EX | SY):  # LB13
        return False
    b = k - 1
    while kept[b] & SP:
        b -= 1
    base = kept[b]
    if base & OP:  # LB14
        return False
    if base & INITIAL and ((base & QU and kept[b - 1] & STARTS) or b == 2):  # LB15a
        return False
    if right & FINAL and right & QU and (following & STOPS or last):  # LB15b
        return False
    if right & IS:  # LB15c, LB15d
        return (left & SP and following & NU) != NONE
    if (base & (CL | CP) and right & NS) or (base & B2 and right & B2):  # LB16, LB17
        return False
    if left & SP:  # LB18
        return True
    return not joined(kept, k, last, flags)


@inner
def joined(kept: NDArray[np.uint64], k: int, last: bool, flags: int) -> bool:
    """Say whether rules from LB19 on keep characters `k` - 1 and `k` together, as `may_break`."""
    left, right, following = kept[k - 1], kept[k], kept[k + 1]
    earlier = kept[k - 2]
    if right & QU and (
        not right & INITIAL or not left & EAST_ASIAN or not following & EAST_ASIAN or last
    ):  # LB19, LB19a
        return True
    if left & QU and (
        not left & FINAL or not right & EAST_ASIAN or not earlier & EAST_ASIAN
    ):  # the same
        return True
    if (left | right) & CB:  # LB20
        return False
    hyphen = left & (HY | BA)
    if hyphen and right & AL and (left & (HY | HYPHEN)) and (earlier & WORD_STARTS or k == 3):
        return True  # LB20a
    if right & (BA | HY | NS) or left & BB:  # LB21
        return True
    if hyphen and earlier & HL and not right & HL:  # LB21a
        return True
    if (left & SY and right & HL) or right & IN:  # LB21b, LB22
        return True
    if (left & LETTERS and right & NU) or (left & NU and right & LETTERS):  # LB23
        return True
    if (left & PR and right & IDEOGRAPHS) or (left & IDEOGRAPHS and right & PO):  # LB23a
        return True
    if (left & (PR | PO) and right & LETTERS) or (left & LETTERS and right & (PR | PO)):  # LB24
        return True
    if right & (PO | PR | NU):  # LB25
        if right & NU and left & (PO | PR | HY | IS):
            return True
        b = k - 1
        if right & (PO | PR) and left & (CL | CP):
            b -= 1
        while kept[b] & (SY | IS):
            b -= 1
        if kept[b] & NU:
            return True
    if (
        left & (PO | PR)
        and right & OP
        and (following & NU or (following & IS and kept[k + 2] & NU))
    ):
        return True
    if left & JL and right & (JL | JV | H2 | H3):  # LB26
        return True
    if (left & (JV | H2) and right & (JV | JT)) or (left & (JT | H3) and right & JT):
        return True
    if (left & HANGUL and right & PO) or (left & PR and right & HANGUL):  # LB27
        return True
    if left & (LETTERS | IS) and right & LETTERS:  # LB28, LB29
        return True
    if joined_aksaras(earlier, left, right, following):  # LB28a
        return True
    if left & (LETTERS | NU) and right & OP and not right & EAST_ASIAN:  # LB30
        return True
    if left & CP and not left & EAST_ASIAN and right & (LETTERS | NU):
        return True
    if right & RI and flags % 2 == 1:  # LB30a
        return True
    return (right & EM and left & (EB | UNASSIGNED_EMOJI)) != NONE  # LB30b


@inner
def joined_aksaras(
    earlier: np.uint64, left: np.uint64, right: np.uint64, following: np.uint64
) -> bool:
    """Say whether rule LB28a keeps `left` and `right` together as parts of a Brahmic syllable."""
    bases = AK | AS | CIRCLE
    if left & AP:
        return (right & bases) != NONE
    if left & bases and (right & (VF | VI) or (right & bases and following & VF)):
        return True
    return (earlier & bases and left & VI and right & (AK | CIRCLE)) != NONE
