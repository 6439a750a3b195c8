"""How the inner loops are compiled.

Integers wherever pixels are made, so that every machine makes the same bytes. numba compiles each
function once per machine and keeps the result beside its file (or in the user's cache folder).
What a block calls puts its results in place: handing an array to Python costs more than filling it.
Letters: n characters, m rows of an atlas, l lines, h/w pixels, i/j cells of light.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile with numba, which pyright cannot see through; no fastmath: sums keep their order."""
    return cast(F, numba.njit(cache=True, nogil=True)(function))
