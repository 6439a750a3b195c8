"""Tally: what shards hold together, in a few numbers that can be added up and sent."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from operator import iadd
from typing import Any, Self

from shards import Sidecar


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
    def of(cls, sidecar: Sidecar) -> Self:
        """Count one shard."""
        named = {drop.source for drop in sidecar.dropped if drop.reason == UNREADABLE}
        others = Counter(drop.reason for drop in sidecar.dropped if drop.reason != UNREADABLE)
        return cls(
            shards=1,
            samples=len(sidecar.entries),
            bytes=sidecar.bytes,
            characters=sum(entry.characters for entry in sidecar.entries),
            drops=others,
            unreadable=named,
        )

    @classmethod
    def over(cls, sidecars: Iterable[Sidecar]) -> Self:
        """Count many shards, holding one sidecar at a time."""
        return reduce(iadd, map(cls.of, sidecars), cls())

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


UNREADABLE = "unreadable"
"""The reason under which a file that cannot be opened is dropped."""
