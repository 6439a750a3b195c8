"""Tally: what shards hold together, in a few numbers that can be added up and sent."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from operator import iadd
from typing import Any, Self

from shards.sidecar import UNREADABLE, Summary


@dataclass(slots=True)
class Tally:
    """Sums over shards; `bytes` are those of the tars.

    Reasons for dropping an image are counted in `drops`, except that unreadable ones are known by
    name: several shards of pages may meet the same broken photograph, which counts once. Filtered
    images lie in one shard each, so their number costs no memory.
    """

    shards: int = 0
    samples: int = 0
    bytes: int = 0
    characters: int = 0
    drops: Counter[str] = field(default_factory=Counter[str])
    unreadable: set[str] = field(default_factory=set[str])

    @classmethod
    def of(cls, summary: Summary) -> Self:
        """Count one shard."""
        sums = summary.sums
        return cls(
            shards=1,
            samples=sums.samples,
            bytes=summary.bytes,
            characters=sums.characters,
            drops=Counter(sums.dropped),
            unreadable=set(sums.unreadable),
        )

    @classmethod
    def over(cls, summaries: Iterable[Summary]) -> Self:
        """Count many shards, holding one summary at a time."""
        return reduce(iadd, map(cls.of, summaries), cls())

    def __iadd__(self, other: "Tally") -> Self:
        """Add the shards of another tally."""
        self.shards += other.shards
        self.samples += other.samples
        self.bytes += other.bytes
        self.characters += other.characters
        self.drops += other.drops
        self.unreadable |= other.unreadable
        return self

    def dropped(self) -> dict[str, int]:
        """Count the dropped images by reason, most frequent first."""
        counts = self.drops + Counter({UNREADABLE: len(self.unreadable)})
        return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))

    def row(self) -> dict[str, Any]:
        """Return the sums as JSON can hold them."""
        return {
            "shards": self.shards,
            "samples": self.samples,
            "bytes": self.bytes,
            "characters": self.characters,
            "dropped": self.dropped(),
        }
