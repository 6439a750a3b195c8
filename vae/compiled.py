"""How loops over the pixels of a map are compiled and spread over threads."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeVar, cast

import numba
import torch

from shards.caches import have_cache

have_cache()

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile with numba, which pyright cannot see through.

    Sums may be taken in another order, so that a row is added up in vectors; in a loop that writes
    nothing that order follows from the length of the row alone. NaN and infinity stay what they
    are.
    """
    loose = {"reassoc", "contract", "arcp", "nsz"}
    compile_ = numba.njit(cache=True, nogil=True, fastmath=loose, error_model="numpy")
    return cast(F, compile_(function))


def spread(kernel: Callable[..., None], blocks: int, *arrays: Any) -> None:
    """Call kernel(*arrays, first, last) until all blocks are done, on as many threads as torch has.

    The kernel lets go of the interpreter, as what `compiled` returns does.
    """
    threads = min(torch.get_num_threads(), blocks)
    if threads <= 1:
        kernel(*arrays, 0, blocks)
        return
    parts = pairwise(blocks * k // threads for k in range(threads + 1))
    for done in [_pool().submit(kernel, *arrays, *part) for part in parts]:
        done.result()


_pools: list[ThreadPoolExecutor] = []
# Threads do not live on in a forked process, such as a loader's.
os.register_at_fork(after_in_child=_pools.clear)


def _pool() -> ThreadPoolExecutor:
    if not _pools:
        _pools.append(ThreadPoolExecutor(os.cpu_count(), "pixels"))
    return _pools[0]
