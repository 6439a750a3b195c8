"""Totals: what shards hold together, in a few numbers that can be added up and sent."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from shards.sidecar import UNREADABLE, Summary
from shards.skipped import by_count, skipped_in_words


@dataclass(slots=True)
class Totals:
    """Sums over shards; `bytes` are those of the tars.

    `dropped` counts by reason the images that were left out, in every shard that met one.
    `unreadable` holds the names of the files that could not be opened: several shards of pages may
    meet the same broken photograph, which is then dropped as often and unreadable once. `skipped`
    counts by reason what lies beside images where they come from.
    """

    shards: int = 0
    samples: int = 0
    bytes: int = 0
    characters: int = 0
    dropped: Counter[str] = field(default_factory=Counter[str])
    unreadable: set[str] = field(default_factory=set[str])
    skipped: Counter[str] = field(default_factory=Counter[str])

    @classmethod
    def of(cls, summaries: Iterable[Summary]) -> Self:
        """Add up shards, holding one summary at a time."""
        totals = cls()
        for summary in summaries:
            totals.add(summary)
        return totals

    def add(self, summary: Summary) -> None:
        """Count one shard."""
        sums = summary.sums
        self.shards += 1
        self.samples += sums.samples
        self.bytes += summary.bytes
        self.characters += sums.characters
        if sums.dropped:
            self.dropped.update(sums.dropped)
        if sums.unreadable:
            self.dropped[UNREADABLE] += len(sums.unreadable)
            self.unreadable.update(sums.unreadable)
        if sums.skipped:
            self.skipped.update(sums.skipped)

    def __iadd__(self, other: "Totals") -> Self:
        """Add the shards of other totals."""
        self.shards += other.shards
        self.samples += other.samples
        self.bytes += other.bytes
        self.characters += other.characters
        self.dropped.update(other.dropped)
        self.unreadable |= other.unreadable
        self.skipped.update(other.skipped)
        return self

    def reasons(self) -> dict[str, int]:
        """Return `dropped`, the most frequent reason first."""
        return by_count(self.dropped)

    def row(self) -> dict[str, Any]:
        """Return the sums as JSON can hold them."""
        return {
            "shards": self.shards,
            "samples": self.samples,
            "bytes": self.bytes,
            "characters": self.characters,
            "dropped": self.reasons(),
            "unreadable": len(self.unreadable),
            "skipped": by_count(self.skipped),
        }


def in_words(row: Mapping[str, Any]) -> str:
    """Write a `Totals.row` for a person."""
    dropped: dict[str, int] = row["dropped"]
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in dropped.items())
    skipped: dict[str, int] = row.get("skipped", {})
    beside = (
        f", {sum(skipped.values()):,} left out ({skipped_in_words(skipped)})" if skipped else ""
    )
    return (
        f"{row['shards']:,} shards, {row['samples']:,} samples, {row['bytes'] / 1e6:,.1f} MB, "
        f"{sum(dropped.values()):,} dropped{f' ({reasons})' if reasons else ''}, "
        f"{row['unreadable']:,} unreadable{beside}"
    )
