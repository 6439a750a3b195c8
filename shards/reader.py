"""ShardReader: random access to the samples of finished shards.

The sidecars say where each file lies, so a sample is one or two positional reads away and
"sample i" is the same on every worker. Only shards with a sidecar exist for a reader.
"""

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from types import TracebackType
from typing import Self

from shards.errors import ShardError, UserError
from shards.sample import Sample
from shards.sidecar import Entry, Sidecar, sidecars
from shards.store import Ranges, Where, open_store


class ShardReader:
    """The samples of every finished shard in a folder, numbered from 0."""

    def __init__(self, where: Where) -> None:
        """Read the sidecars of a folder or bucket.

        Raises:
            UserError: when the folder is missing or holds no finished shard.
            ShardError: when a sidecar is broken.
        """
        self.store = open_store(where)
        self.shards: tuple[Sidecar, ...] = tuple(sidecars(self.store))
        if not self.shards:
            raise UserError(
                f"{self.store} holds no finished shard (part-*.tar with its part-*.json); "
                "give the --out folder of a render or filter run"
            )
        self._ends = list(accumulate(len(sidecar.entries) for sidecar in self.shards))
        self._open: dict[int, Ranges] = {}

    def __len__(self) -> int:
        """Count the samples."""
        return self._ends[-1]

    def __iter__(self) -> Iterator[Sample]:
        """Read every sample in order."""
        return (self[i] for i in range(len(self)))

    def entry(self, i: int) -> tuple[int, Entry]:
        """Return (position of the shard in `shards`, entry) of sample `i`."""
        if not 0 <= i < len(self):
            raise IndexError(f"sample {i} of {len(self)}")
        position = bisect_right(self._ends, i)
        first = self._ends[position - 1] if position else 0
        return position, self.shards[position].entries[i - first]

    def find(self, key: str) -> int:
        """Return the number of the sample with this key.

        Raises:
            UserError: when there is none.
        """
        for i in range(len(self)):
            if self.entry(i)[1].key == key:
                return i
        raise UserError(f"no sample {key!r} in {self.store}; list them with shards ls --keys")

    def __getitem__(self, i: int) -> Sample:
        """Read sample `i`.

        Raises:
            ShardError: when the tar is missing or shorter than its sidecar says.
        """
        position, entry = self.entry(i)
        tar = self._tar(position)
        files: dict[str, bytes] = {}
        for ending, (offset, size) in entry.files.items():
            # Asked first, so that a false sidecar cannot make us allocate what is not there.
            if offset + size > tar.size:
                name = f"{self.store}/{self.shards[position].tar}"
                raise ShardError(f"{name} ends inside sample {entry.key}; remake this shard")
            files[ending] = tar.read(offset, size)
        return Sample.of_files(entry.key, files)

    def _tar(self, position: int) -> Ranges:
        if position not in self._open:
            name = self.shards[position].tar
            try:
                self._open[position] = self.store.open(name)
            except OSError as error:
                raise ShardError(
                    f"{self.store}/{name} has a sidecar but cannot be opened; remake this shard"
                ) from error
        return self._open[position]

    def close(self) -> None:
        """Close the open tars."""
        for tar in self._open.values():
            tar.close()
        self._open.clear()

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the open tars."""
        self.close()
