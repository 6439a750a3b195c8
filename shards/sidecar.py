"""The sidecar: a JSON file beside each tar, written last, that means "this shard is done".

It carries what a reader, a report or a check needs without opening the tar: the checksum, where
each sample lies, what was dropped and why, and the digest of the recipe that made it.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeInt, ValidationError

from shards.errors import ShardError
from shards.settings import Settings

VERSION = 1
"""Version of the sidecar's layout; a reader refuses others."""


class Entry(Settings):
    """One sample inside a tar: where its files lie and what it is.

    `files` maps an ending to (offset, size) in bytes from the start of the tar. `size_px` is the
    smallest and largest em in pixels for rendered text.
    """

    key: str
    files: dict[str, tuple[NonNegativeInt, NonNegativeInt]]
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

    def drops(self) -> dict[str, int]:
        """Count the dropped images by reason, most frequent first."""
        counts: dict[str, int] = {}
        for drop in self.dropped:
            counts[drop.reason] = counts.get(drop.reason, 0) + 1
        return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def shard_name(index: int) -> str:
    """Name shard `index` without ending: part-000123."""
    return f"part-{index:06d}"


def read_sidecar(path: Path) -> Sidecar:
    """Read one sidecar.

    Raises:
        ShardError: when the file is not a sidecar of this version.
    """
    try:
        return Sidecar.model_validate_json(path.read_bytes())
    except (OSError, ValidationError, ValueError) as error:
        raise ShardError(
            f"{path} is not a sidecar of version {VERSION}; delete it and its tar, then run the "
            "same command again to remake the shard"
        ) from error


def sidecars(folder: Path) -> Iterator[tuple[Path, Sidecar]]:
    """Yield (path, sidecar) of every finished shard in `folder`, in order of shard index."""
    for path in sorted(folder.glob("part-*.json")):
        yield path, read_sidecar(path)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Write `text` to a temporary name in the same folder, then put it in place.

    A reader sees the whole file or none, also after a crash.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def resolved_json(value: Settings) -> str:
    """Write settings readably for a person, with a final newline."""
    return json.dumps(value.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"
