"""Numbers of shards as a person reads and writes them: 7, 123-130 or 1,4-6, ends included."""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

from shards.errors import UserError


def runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Group ascending numbers into runs without gaps and yield the (first, last) of each."""
    ascending = list(numbers)
    starts = [i + 1 for i, (a, b) in enumerate(pairwise(ascending)) if b > a + 1]
    for start, end in zip([0, *starts], [*starts, len(ascending)], strict=True):
        if start < end:
            yield ascending[start], ascending[end - 1]


def write_numbers(numbers: Iterable[int], *, limit: int | None = None) -> str:
    """Write numbers as 1, 4-7, 9; after `limit` runs, that there are more."""
    texts = [str(a) if a == b else f"{a}-{b}" for a, b in runs(sorted(numbers))]
    more = limit is not None and len(texts) > limit
    return ", ".join(texts[:limit]) + (" and more" if more else "")


def parse_numbers(text: str, count: int) -> list[int]:
    """Read a choice of shards, as `7`, `123-130` or `1,4-6`.

    Returns:
        The indices in ascending order, each once.

    Raises:
        UserError: when it is not written so, or names a shard that a job of `count` has not.
    """
    chosen: set[int] = set()
    for part in text.split(","):
        ends = re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", part, re.ASCII)
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (1, 0)
        if first > last:
            raise UserError(f"--shards {text}: write it as 7, 123-130 or 1,4-6")
        if last >= count:
            raise UserError(
                f"--shards {text}: the recipe has {count} shards, 0 to {count - 1}; raise its "
                "`shards` for more"
            )
        chosen.update(range(first, last + 1))
    return sorted(chosen)
