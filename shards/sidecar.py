"""The sidecar: a JSON file beside each tar, written last, that means "this shard is done".

It carries what a reader, a report or a check needs without opening the tar: the checksum, where
each sample lies, what was dropped and why, and the digest of the recipe that made it.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from shards.errors import ShardError
from shards.settings import Settings
from shards.skipped import Skipped
from shards.store import Store

VERSION = 2
"""Version of the sidecar's layout; a reader refuses others."""

UNREADABLE = "unreadable"
"""The reason under which a file that cannot be opened is dropped."""

TAIL_BYTES = 4096
"""What is read of a sidecar for its summary (our choice: seven times the 565 bytes of rendered
pages; names of unreadable files make it longer, and then all of the sidecar is read)."""

SIDECAR_NAME = re.compile(r"part-\d+\.json")
TAR_NAME = re.compile(r"part-\d+\.tar")

KEY = r"^[^./\\\x00-\x1f]+$"
"""What a sample may be called: WebDataset splits names at the first dot, a slash would lead out of
the folder that a sample is extracted to, and control characters would reach a terminal."""

TarName = Annotated[str, Field(pattern=r"^part-\d+\.tar$")]
Ending = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$")]


class Entry(Settings):
    """One sample inside a tar: where its files lie and what it is.

    `files` maps an ending to (offset, size) in bytes from the start of the tar. `size_px` is the
    smallest and largest em in pixels for rendered text. `characters_by` counts its characters by
    kind and name, as `{"ground": {"bare": 812}}`.
    """

    key: str = Field(pattern=KEY)
    files: dict[Ending, tuple[NonNegativeInt, NonNegativeInt]]
    crc32: int
    width: int = 0
    height: int = 0
    language: str = ""
    characters: int = 0
    characters_by: dict[str, dict[str, NonNegativeInt]] = Field(default={})
    size_px: tuple[float, float] | None = None
    scores: dict[str, float] = Field(default={})


class Dropped(Settings):
    """An image that was not kept: its name in the source, the filter's reason, its scores.

    `detail` says more where the reason alone does not, as for files that cannot be opened.
    """

    source: str
    reason: str
    detail: str = ""
    scores: dict[str, float] = Field(default={})


class Sums(Settings):
    """What the samples and the dropped images of one shard add up to, as its sidecar holds it.

    Reasons are counted in `dropped`, except that unreadable files are named: several shards of
    pages may meet the same broken photograph. `skipped` counts what the source holds beside images.
    `Totals` add these up.
    """

    samples: NonNegativeInt
    characters: NonNegativeInt
    dropped: dict[str, NonNegativeInt]
    unreadable: tuple[str, ...]
    skipped: dict[str, PositiveInt] = Field(default={})

    @classmethod
    def of(
        cls, entries: Sequence[Entry], dropped: Sequence[Dropped], skipped: Sequence[Skipped]
    ) -> Self:
        """Add up one shard."""
        return cls(
            samples=len(entries),
            characters=sum(entry.characters for entry in entries),
            dropped=Counter(drop.reason for drop in dropped if drop.reason != UNREADABLE),
            unreadable=tuple(
                sorted({drop.source for drop in dropped if drop.reason == UNREADABLE})
            ),
            skipped={skip.reason: skip.count for skip in skipped},
        )


class Summary(Settings):
    """What is known of one shard besides its samples: the end of its sidecar.

    The tar of a `foreign` shard was written by others, and the sidecar later.
    """

    version: Literal[2] = VERSION
    tar: TarName
    shard: int
    sha256: str
    bytes: int
    recipe: str
    versions: dict[str, str] = Field(default={})
    foreign: bool = False
    sums: Sums

    @property
    def name(self) -> str:
        """Return the name of the sidecar's own file."""
        return sidecar_name(self.shard)


class Sidecar(Summary):
    """What is known of one shard.

    `skipped` is what a source holds beside images. The first shard tells it for the whole source.
    """

    entries: tuple[Entry, ...]
    dropped: tuple[Dropped, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    @classmethod
    def of(
        cls,
        entries: Sequence[Entry],
        dropped: Sequence[Dropped] = (),
        skipped: Sequence[Skipped] = (),
        **rest: Any,
    ) -> Self:
        """Take what is in a shard, add it up, and the rest of the summary as it is."""
        return cls(
            entries=tuple(entries),
            dropped=tuple(dropped),
            skipped=tuple(skipped),
            sums=Sums.of(entries, dropped, skipped),
            **rest,
        )

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.sums != Sums.of(self.entries, self.dropped, self.skipped):
            raise ValueError("its sums are not those of its entries")
        return self

    def text(self) -> str:
        """Write it readably for a person, the summary last.

        A resumed run reads the last bytes only: a file that was cut has lost them. Where nothing
        was skipped or counted, and of a tar of ours, nothing is said of that.
        """
        rest = self.model_dump(mode="json")
        samples = {name: rest.pop(name) for name in ("entries", "dropped", "skipped")}
        if not self.skipped:
            del samples["skipped"], rest["sums"]["skipped"]
        if not self.foreign:
            del rest["foreign"]
        for entry in samples["entries"]:
            if not entry["characters_by"]:
                del entry["characters_by"]
        return json.dumps(samples | rest, indent=1, ensure_ascii=False) + "\n"


def shard_name(index: int) -> str:
    """Name shard `index` without ending: part-000123."""
    return f"part-{index:06d}"


def shard_number(name: str) -> int:
    """Return the index of the shard that a tar or sidecar is named after."""
    return int(name.removeprefix("part-").partition(".")[0])


def sidecar_name(index: int) -> str:
    """Name the sidecar of shard `index`: part-000123.json."""
    return f"{shard_name(index)}.json"


def read_sidecar(store: Store, name: str) -> Sidecar:
    """Read one sidecar.

    Raises:
        ShardError: when the file is not a sidecar of this version, or one of another shard.
    """
    return sidecar_of(store, name, store.read(name))


def sidecar_names(names: Iterable[str]) -> list[str]:
    """Return the names that are those of sidecars, in order of shard index."""
    ours = (name for name in names if SIDECAR_NAME.fullmatch(name))
    return sorted(ours, key=lambda name: (len(name), name))


def sidecar_of(store: Store, name: str, data: bytes) -> Sidecar:
    """Understand the bytes of a sidecar.

    Raises:
        ShardError: when they are not a sidecar of this version, or one of another shard.
    """
    try:
        sidecar = Sidecar.model_validate_json(data)
    except ValueError as error:
        raise not_a_sidecar(store, name) from error
    require_own(store, name, sidecar.shard, sidecar.tar)
    return sidecar


def not_a_sidecar(store: Store, name: str) -> ShardError:
    """Make the error of a file that cannot be understood."""
    return ShardError(
        f"{store}/{name} is not a sidecar of version {VERSION}; delete it and its tar, then "
        "run the same command again to remake the shard"
    )


def require_own(store: Store, name: str, shard: int, tar: str) -> None:
    """Check that the sidecar `name` is the one of the shard and the tar that it tells of.

    Raises:
        ShardError: when it was copied or renamed.
    """
    if name != sidecar_name(shard) or tar != f"{shard_name(shard)}.tar":
        raise ShardError(
            f"{store}/{name} is not a sidecar of its own tar: it says that it is shard {shard} in "
            f"{tar}; delete it, then run the same command again to remake the shard"
        )


_FIRST = b'\n "version": '
"""What the summary begins with, inside a sidecar as `Sidecar.text` writes it."""


def summary_of(store: Store, name: str, tail: bytes) -> Summary:
    """Understand the last TAIL_BYTES of a sidecar, or read all of it when that is not enough.

    Raises:
        ShardError: when they are not the end of a sidecar of this version, or of another shard's.
    """
    _, first, rest = tail.rpartition(_FIRST)
    if not first:
        return read_sidecar(store, name)
    try:
        summary = Summary.model_validate_json(b'{"version": ' + rest)
    except ValueError as error:
        raise not_a_sidecar(store, name) from error
    require_own(store, name, summary.shard, summary.tar)
    return summary
