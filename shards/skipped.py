"""Skipped: what a source holds and does not give, counted by reason and the first of each by name.

A source is a folder, a list or a tar that other people filled. Nothing in it is passed over in
silence: neither a broken link nor a caption beside its image.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from pydantic import Field, PositiveInt

from shards.settings import Settings

NAMED = 8
"""Names kept of each reason (our choice: enough to find the others by)."""

MAX_REASONS = 64
"""Different reasons that are told apart (our choice: folders have few kinds of files)."""

OTHER = "of other kinds"
"""The reason of what would be one too many, or has no ending to be counted by."""


class Skip(NamedTuple):
    """A thing that is not given, and why, in a phrase that many things share."""

    name: str
    reason: str


class Skipped(Settings):
    """How many things were skipped for one reason, and the names of the first of them."""

    reason: str
    count: PositiveInt
    names: tuple[str, ...] = Field(max_length=NAMED)


class Skips:
    """What was skipped so far; bounded, whatever a source holds."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.counts = Counter[str]()
        self._names: dict[str, list[str]] = {}

    def add(self, skip: Skip) -> None:
        """Count a thing."""
        self.count(skip.reason, 1, [skip.name])

    def merge(self, others: "Skips") -> None:
        """Count what others have counted."""
        for reason, count in others.counts.items():
            self.count(reason, count, others._names[reason])

    def count(self, reason: str, count: int, names: Sequence[str]) -> None:
        """Count things of one reason, of which the first have these names."""
        if reason not in self.counts and len(self.counts) >= MAX_REASONS:
            reason = OTHER
        self.counts[reason] += count
        held = self._names.setdefault(reason, [])
        held += names[: NAMED - len(held)]

    def extend(self, skips: Iterable[Skip]) -> None:
        """Count every thing."""
        for skip in skips:
            self.add(skip)

    def rows(self) -> tuple[Skipped, ...]:
        """Return the reasons, the most frequent first."""
        return tuple(
            Skipped(reason=reason, count=self.counts[reason], names=tuple(self._names[reason]))
            for reason in by_count(self.counts)
        )


def by_count(counts: Mapping[str, int]) -> dict[str, int]:
    """Return counts, the most frequent reason first."""
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def skipped_in_words(counts: Mapping[str, int]) -> str:
    """Write counts by reason for a person: `120 .json, 3 .heic`."""
    return ", ".join(f"{count:,} {reason}" for reason, count in by_count(counts).items())


def by_ending(name: str) -> Skip:
    """Skip a file that is no image by its name: it is counted by its ending, in small letters."""
    ending = PurePosixPath(name).suffix.lower()
    return Skip(name, ending if re.fullmatch(r"\.[a-z0-9_]{1,10}", ending) else OTHER)


def is_hidden(name: str) -> bool:
    """Say whether a part of a name begins with a dot, as `.cache/a.jpg` and macOS's `._a.jpg`."""
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))


def readable(name: str | bytes) -> str:
    """Return the name of a file as text, which JSON can hold; bytes that are no UTF-8 escaped.

    Names are bytes to a file system and to a tar. Only text goes into sidecars and reports; what
    opens the file again is its path or its place.
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")
