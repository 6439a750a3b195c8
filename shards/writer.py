"""ShardWriter: samples in, one WebDataset tar and its sidecar out, the same bytes every time.

The order of events is what makes a job safe to kill: the tar is built under a temporary name,
flushed to disk, renamed, and only then is the sidecar created beside it. A tar without a sidecar
is unfinished work and will be written again; a sidecar is never overwritten, so of two processes
that make the same shard one commits it and the other finds that the bytes agree.
"""

import hashlib
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import reduce
from types import TracebackType
from typing import Any, Self

from shards.errors import ShardError, UserError
from shards.sample import Sample
from shards.sidecar import KEY, Dropped, Entry, Sidecar, read_sidecar, shard_name
from shards.skipped import Skipped, Skips
from shards.store import Where, open_store
from shards.store.commit import flush
from shards.store.staging import naming


class ShardWriter:
    """Write one shard; use it as a context manager.

    Nothing appears under the final name unless the block ends without an exception. Plain USTAR
    with zero times and owners, so the bytes depend on the samples alone.
    """

    def __init__(
        self,
        where: Where,
        shard: int,
        *,
        recipe: str,
        versions: dict[str, str] | None = None,
        tell: Callable[[int], None] | None = None,
    ) -> None:
        """Prepare shard number `shard` in a folder or bucket.

        `recipe` is the digest of the recipe that makes it; `versions` those of the libraries
        that shape pixels. `tell` is told how many samples the shard holds, after each one and
        after each image that is dropped.
        """
        self.store = open_store(where)
        self.shard = shard
        self.recipe = recipe
        self.versions = versions or {}
        self.tar = f"{shard_name(shard)}.tar"
        self.sidecar: Sidecar | None = None
        self._tell = tell
        self._temporary = self.store.staging(self.tar)
        self._entries: list[Entry] = []
        self._keys = set[str]()
        self._dropped: list[Dropped] = []
        self._skipped: tuple[Skipped, ...] = ()

    def __enter__(self) -> Self:
        """Open the temporary tar."""
        self._file = self._temporary.open("wb")
        self._offset = 0
        self._sha256 = hashlib.sha256()
        return self

    def write(self, sample: Sample) -> None:
        """Append one sample.

        Raises:
            UserError: when its key would be split by WebDataset readers, is in the shard already
                (they join neighbours of one key, or refuse them), or is too long for USTAR. Longer
                names need headers of GNU or pax, whose readers disagree. Also when its text is no
                UTF-8 or its metadata no JSON. Nothing of it is written then.
        """
        key = sample.key
        self._require_new(key)
        try:
            files = dict(sample.files())
            facts = {name: sample.meta[name] for name in _SUMMARY if name in sample.meta}
            self._put_sample(key, files, facts)
        except (TypeError, ValueError) as error:  # what JSON, UTF-8 or a sidecar does not hold
            reason = " ".join(str(error).split())[:LONGEST_REASON]
            raise UserError(f"sample {key!r} cannot be written: {reason}") from error

    def copy(self, entry: Entry, files: Mapping[str, bytes], *, key: str | None = None) -> None:
        """Append a sample of another shard as it is stored there, under another `key` if given.

        Raises:
            UserError: as `write`, for the key.
        """
        key = entry.key if key is None else key
        self._require_new(key)
        self._put_sample(key, files, entry.model_dump(include={*_SUMMARY}))

    def _require_new(self, key: str) -> None:
        if not re.fullmatch(KEY, key):
            raise UserError(
                f"sample key {key!r} must be non-empty, without '.', '/', '\\' and control "
                "characters"
            )
        if key in self._keys:
            raise UserError(
                f"sample key {key!r} is in {self.tar} already; give every sample its own"
            )

    def _put_sample(self, key: str, files: Mapping[str, bytes], facts: Mapping[str, Any]) -> None:
        """Append the files of a sample of which the sidecar shall say these facts."""
        longest = max(len(f"{key}.{ending}".encode()) for ending in files)
        entry = Entry(
            key=key,
            files=self._places(files),
            crc32=reduce(lambda crc, data: zlib.crc32(data, crc), files.values(), 0),
            **facts,
        )
        if longest > tarfile.LENGTH_NAME:
            raise UserError(
                f"sample key {key!r} gives a file name of {longest} bytes, a tar holds "
                f"{tarfile.LENGTH_NAME}; shorten it by {longest - tarfile.LENGTH_NAME}"
            )
        with naming(self._temporary):
            for ending, data in files.items():
                self._append(f"{key}.{ending}", data)
        self._keys.add(key)
        self._entries.append(entry)
        self._report()

    def _places(self, files: Mapping[str, bytes]) -> dict[str, tuple[int, int]]:
        """Return where the bytes of each file will begin, behind their header, and their number."""
        places: dict[str, tuple[int, int]] = {}
        at = self._offset
        for ending, data in files.items():
            places[ending] = at + tarfile.BLOCKSIZE, len(data)
            at += tarfile.BLOCKSIZE + len(data) + -len(data) % tarfile.BLOCKSIZE
        return places

    def extend(self, samples: Iterable[Sample]) -> None:
        """Append every sample."""
        for sample in samples:
            self.write(sample)

    def _report(self) -> None:
        if self._tell:
            self._tell(len(self._entries))

    def drop(
        self,
        source: str,
        reason: str,
        *,
        detail: str = "",
        scores: dict[str, float] | None = None,
    ) -> None:
        """Record that the image `source` was left out, and why."""
        self._dropped.append(
            Dropped(source=source, reason=reason, detail=detail, scores=scores or {})
        )
        self._report()

    def skip(self, skips: Skips) -> None:
        """Record what the source holds beside images; one shard does so for all."""
        self._skipped = skips.rows()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put tar and sidecar in place, or leave nothing behind."""
        with naming(self._temporary), ExitStack() as last:
            # Also when closing fails, as it does when buffered bytes meet a full disk.
            last.callback(self._temporary.unlink, missing_ok=True)
            last.callback(self._file.close)
            if error is None:
                self._commit()

    def _append(self, name: str, data: bytes) -> None:
        """Append one member.

        The standard library makes the header; its `addfile` would copy the bytes 16 kB at a time.
        """
        member = tarfile.TarInfo(name)
        member.size = len(data)
        header = member.tobuf(tarfile.USTAR_FORMAT)
        for part in (header, data, bytes(-len(data) % tarfile.BLOCKSIZE)):
            self._put(part)

    def _put(self, part: bytes) -> None:
        self._file.write(part)
        self._sha256.update(part)
        self._offset += len(part)

    def _commit(self) -> None:
        # A tar ends with two empty blocks and fills its last record.
        tail = 2 * tarfile.BLOCKSIZE
        self._put(bytes(tail + -(self._offset + tail) % tarfile.RECORDSIZE))
        self._file.flush()
        flush(self._file.fileno())
        self.sidecar = Sidecar.of(
            self._entries,
            self._dropped,
            self._skipped,
            tar=self.tar,
            shard=self.shard,
            sha256=self._sha256.hexdigest(),
            bytes=self._temporary.stat().st_size,
            recipe=self.recipe,
            versions=self.versions,
        )
        if self.store.exists(self.sidecar.name):
            self._agree()
            return
        self.store.put(self._temporary, self.tar)
        if not self.store.create(self.sidecar.name, self.sidecar.text().encode()):
            self._agree()

    def _agree(self) -> None:
        """Compare with the shard that another process has put in place meanwhile."""
        assert self.sidecar is not None
        other = read_sidecar(self.store, self.sidecar.name).sha256
        if other != self.sidecar.sha256:
            raise ShardError(
                f"{self.store}/{self.sidecar.name} was written meanwhile with sha256 "
                f"{other[:12]}, this process made {self.sidecar.sha256[:12]}: two versions of "
                "fonts or libraries are at work; compare `versions` in the sidecars, then run "
                "shards verify"
            )


LONGEST_REASON = 200
"""Characters that are shown of a reason given by a library (our choice)."""

_SUMMARY = (
    "width",
    "height",
    "language",
    "characters",
    "characters_by",
    "size_px",
    "scores",
)
"""Metadata of a sample that its sidecar entry repeats, so that tables need no tar."""
