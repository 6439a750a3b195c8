"""The sidecar: a JSON file beside each tar, written last, that means "this shard is done".

It carries what a reader, a report or a check needs without opening the tar: the checksum, where
each sample lies, what was dropped and why, and the digest of the recipe that made it.
"""

import json
import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt

from shards.errors import ShardError
from shards.settings import Settings
from shards.store import Store, Where, open_store

VERSION = 1
"""Version of the sidecar's layout; a reader refuses others."""

SIDECAR_NAME = re.compile(r"part-\d+\.json")
TAR_NAME = re.compile(r"part-\d+\.tar")

KEY = r"^[^./\\\x00-\x1f]+$"
"""What a sample may be called: WebDataset splits names at the first dot, a slash would lead out of
the folder that a sample is extracted to, and control characters would reach a terminal."""

Ending = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$")]


class Entry(Settings):
    """One sample inside a tar: where its files lie and what it is.

    `files` maps an ending to (offset, size) in bytes from the start of the tar. `size_px` is the
    smallest and largest em in pixels for rendered text.
    """

    key: str = Field(pattern=KEY)
    files: dict[Ending, tuple[NonNegativeInt, NonNegativeInt]]
    crc32: int
    width: int = 0
    height: int = 0
    language: str = ""
    characters: int = 0
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


class Sidecar(Settings):
    """What is known of one shard."""

    version: Literal[1] = VERSION
    tar: str = Field(pattern=r"^part-\d+\.tar$")
    shard: int
    sha256: str
    bytes: int
    recipe: str
    entries: tuple[Entry, ...]
    dropped: tuple[Dropped, ...] = ()
    versions: dict[str, str] = Field(default={})

    @property
    def name(self) -> str:
        """Return the name of the sidecar's own file."""
        return sidecar_name(self.shard)

    def drops(self) -> dict[str, int]:
        """Count the dropped images by reason, most frequent first."""
        counts: dict[str, int] = {}
        for drop in self.dropped:
            counts[drop.reason] = counts.get(drop.reason, 0) + 1
        return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


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
    return _parse(store, name, store.read(name))


def sidecars(where: Where) -> Iterator[Sidecar]:
    """Yield the sidecar of every finished shard, in order of shard index.

    Raises:
        UserError: when there is no such folder.
        ShardError: at the first broken sidecar.
    """
    store = open_store(where)
    names = sidecar_names(store)
    for name, data in zip(names, store.read_all(names), strict=True):
        yield _parse(store, name, data)


def sidecar_names(where: Where) -> list[str]:
    """List the files that are named as sidecars are, in order of shard index."""
    names = [name for name in open_store(where).names() if SIDECAR_NAME.fullmatch(name)]
    return sorted(names, key=lambda name: (len(name), name))


def _parse(store: Store, name: str, data: bytes) -> Sidecar:
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


def finished(where: Where) -> Iterator[Sidecar]:
    """Yield the sidecars of the shards that are whole, and make the others look unmade.

    A sidecar whose tar is missing or of another length promises what is not there: it is removed,
    so that the next run makes the shard again. Contents are not read; `shards verify` does that.

    Raises:
        ShardError: when a sidecar is broken.
    """
    store = open_store(where)
    sizes = store.sizes()  # one listing: asking for each of 100,000 tars would take minutes
    for sidecar in sidecars(store):
        if sizes.get(sidecar.tar) == sidecar.bytes:
            yield sidecar
        else:
            store.delete(sidecar.name)


def resolved_json(value: Settings) -> str:
    """Write settings readably for a person, with a final newline."""
    return json.dumps(value.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"
