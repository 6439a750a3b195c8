"""How the inner loops are compiled.

Integers wherever pixels are made, so that every machine makes the same bytes. numba compiles each
function once per machine and keeps the result beside its file (or in the user's cache folder).
What a block calls puts its results in place: handing an array to Python costs more than filling it.
Letters: n characters, m rows of an atlas, l lines, h/w pixels, i/j cells of light.
"""

import gc
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

from shards.caches import have_cache

have_cache()

F = TypeVar("F", bound=Callable[..., Any])

KERNELS: dict[Any, tuple[Any, ...]] = {}
"""What Python calls, with the types of its arguments."""

_TYPES: dict[str, Any] = dict(vars(numba.types))


def compiled(arguments: str, **names: Any) -> Callable[[F], F]:
    """Compile with numba, which pyright cannot see through; no fastmath: sums keep their order.

    `arguments` are the types in numba's notation: of others a loop is compiled once more, which
    takes longer than thousands of pages. `names` are types that it has no name for.
    """

    def compile_later(function: F) -> F:
        kernel = inner(function)
        KERNELS[kernel] = _types(arguments, **names)
        return kernel

    return compile_later


def inner(function: F) -> F:
    """Compile what other compiled loops call, with them."""
    options: dict[str, Any] = {"cache": True, "nogil": True, "no_cfunc_wrapper": True}
    return cast(F, numba.njit(**options)(function))


def named_tuple(fields: str, kind: type) -> Any:
    """Return the type of a named tuple of these types."""
    return numba.types.NamedTuple(_types(fields), kind)


def _types(arguments: str, **names: Any) -> tuple[Any, ...]:
    return eval(f"({arguments},)", _TYPES | names)


@cache
def make_ready() -> None:
    """Compile every loop, or read it from the cache: at most once a machine, many at a time.

    Processes that start together share the work: each compiles what no other has begun, and
    then waits for the rest, which it finds in the cache.
    """
    collecting = gc.isenabled()
    gc.disable()  # numba makes millions of objects and little garbage: a seventh of the time
    try:
        waiting = [kernel for kernel in KERNELS if not _compile(kernel, wait=False)]
        for kernel in waiting:
            _compile(kernel, wait=True)
    finally:
        if collecting:
            gc.enable()


def _compile(kernel: Any, *, wait: bool) -> bool:
    """Compile a loop; False when another process does so and we do not `wait` for it."""
    if kernel.signatures:
        return True
    with _held(Path(kernel.stats.cache_path), kernel.__qualname__, wait=wait) as held:
        if held:
            kernel.compile(KERNELS[kernel])
    return held


@contextmanager
def _held(folder: Path, name: str, *, wait: bool) -> Generator[bool]:
    """Hold the lock of a name among the processes of a machine; True too where none can be had."""
    try:
        import fcntl

        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / f"{name}.lock").open("w")
    except (ImportError, OSError):
        yield True  # both compile it, and the last one to finish is kept
        return
    with ExitStack() as stack:
        stack.enter_context(file)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        except OSError:
            pass  # a file system without locks
        yield True
