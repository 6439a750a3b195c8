"""The compiled loop over neighbouring characters: where a line may end, and where that is open."""

import numpy as np
from numpy.typing import NDArray

from render.compiled import compiled

OPEN, NEVER, ALWAYS = 0, 1, 2
"""What the table of pairs says of a break: to be found out, none, one."""


@compiled
def certain_breaks(
    codes: NDArray[np.uint32],
    kinds: NDArray[np.uint8],
    pairs: NDArray[np.uint8],
    before_tame: NDArray[np.bool_],
    wild: int,
    tame: int,
    ends: NDArray[np.bool_],
    unclear: NDArray[np.int32],
) -> int:
    """Put in `ends` (n,) where the tables of `breaks.py` let a line end after a character, or not.

    A space, of the kind `wild`, is `tame` after one of the kinds `before_tame`. The places that
    the tables leave open are put in `unclear` (n,); their number is returned.
    """
    count, last = 0, np.uint32(len(kinds) - 1)  # the last kind is none, as of all above
    before = left = np.int64(kinds[min(codes[0], last)])
    for at in range(len(codes) - 1):
        right = kind = np.int64(kinds[min(codes[at + 1], last)])
        if kind == wild and before_tame[before]:
            right = np.int64(tame)
        answer = pairs[16 * left + right]
        ends[at] = answer == ALWAYS
        if answer == OPEN:
            unclear[count] = at
            count += 1
        before, left = kind, right
    return count
