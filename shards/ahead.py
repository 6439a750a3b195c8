"""Read-ahead: have the next few items under way while the first is being used."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(work: Callable[[Item], Result], items: Iterable[Item], window: int) -> Iterator[Result]:
    """Yield `work(item)` in order, with up to `window` items in the hands of as many threads.

    Unlike `Executor.map` it takes no more items than the window, so `items` may be endless and
    results do not pile up. A window of 0 works in the caller's own thread.
    """
    if not window:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(window, thread_name_prefix="ahead")
    waiting = iter(items)
    begun: deque[Future[Result]] = deque()
    try:
        begun.extend(pool.submit(work, item) for item in islice(waiting, window))
        while begun:
            result = begun.popleft().result()
            begun.extend(pool.submit(work, item) for item in islice(waiting, 1))
            yield result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def announced(
    announce: Callable[[Item], None], items: Iterable[Item], window: int
) -> Iterator[Item]:
    """Yield the items, each one announced `window` items before."""
    waiting = iter(items)
    begun = deque(islice(waiting, window))
    for item in begun:
        announce(item)
    for item in waiting:
        announce(item)
        begun.append(item)
        yield begun.popleft()
    yield from begun
