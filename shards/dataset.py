"""Dataset: the shards of a folder or bucket, and the state of each as far as sidecars tell.

Whether a shard is finished is decided here alone, so that a plan, a run, a manifest, a report and
a trainer say the same. Bytes are not read: `shards verify` does that.
"""

from collections.abc import Iterator
from functools import cached_property, partial
from itertools import pairwise
from typing import NamedTuple

from shards.errors import ShardError, UserError
from shards.outputs import NOTE, owner
from shards.sidecar import (
    TAIL_BYTES,
    TAR_NAME,
    Entry,
    Sidecar,
    Summary,
    read_sidecar,
    shard_number,
    sidecar_names,
    sidecar_of,
    summary_of,
)
from shards.store import MAX_BYTES, RandomAccessFile, Where, open_store
from shards.totals import Totals, in_words


class Damage(NamedTuple):
    """What is wrong with a shard: `kind` in one word, and how it shows."""

    kind: str
    fault: str


class Dataset:
    """A folder or bucket as it was listed once; what is read later is held against that.

    A shard is in one of four states:

    whole     its sidecar speaks for a tar of the right length: `whole`
    damaged   its sidecar is broken, or speaks for a tar that is missing or cut, or for another
              recipe than the folder's recipe.json: `damage`, `examine`
    foreign   a tar without a sidecar, unfinished or made by others: `foreign`, `unfinished`
    absent    nothing of it is there: `absent`
    """

    def __init__(self, where: Where) -> None:
        """List it, in one go: asking for each of 100,000 tars would take minutes.

        Raises:
            UserError: when there is no such folder.
        """
        self.store = open_store(where)
        self.sizes = self.store.sizes()
        self.names = sidecar_names(self.sizes)

    def summaries(self) -> Iterator[Summary]:
        """Yield the end of each sidecar, in order of shard index; nothing else of it is read.

        Raises:
            ShardError: at the first that is broken.
        """
        tails = self.store.read_tails(self.names, TAIL_BYTES, self.sizes)
        return map(partial(summary_of, self.store), self.names, tails)

    def sidecars(self) -> Iterator[Sidecar]:
        """Yield every sidecar, in order of shard index.

        Raises:
            ShardError: at the first that is broken.
        """
        data = self.store.read_all(self.names)
        return map(partial(sidecar_of, self.store), self.names, data)

    def damage(self, summary: Summary) -> Damage | None:
        """Say what is wrong with the shard of a sidecar, or None: it is whole."""
        size = self.sizes.get(summary.tar)
        if size is None:
            return Damage("tar", "missing tar")
        if size != summary.bytes:
            return Damage("size", f"{size:,} bytes instead of {summary.bytes:,}")
        if self.recipe and summary.recipe != self.recipe:
            return Damage("recipe", f"made by another recipe, {summary.recipe[:12]}")
        return None

    @cached_property
    def recipe(self) -> str:
        """The digest of the recipe that all of it is to be made by; empty where nothing tells.

        A node of a cluster that has other inputs under the same path makes shards of another.
        """
        return owner(self.store) if NOTE in self.sizes else ""

    def whole(self) -> Iterator[Summary]:
        """Yield the end of the sidecar of every whole shard, in order of shard index.

        Raises:
            ShardError: at the first sidecar that is broken.
        """
        return (summary for summary in self.summaries() if not self.damage(summary))

    def totals(self) -> Totals:
        """Add up the whole shards.

        Raises:
            ShardError: at the first sidecar that is broken.
        """
        return Totals.of(self.whole())

    def examine(self, name: str) -> tuple[Sidecar | None, Damage | None]:
        """Read one sidecar, and say what is wrong with its shard."""
        try:
            sidecar = read_sidecar(self.store, name)
        except (ShardError, FileNotFoundError):  # it may be gone since it was listed
            return None, Damage("sidecar", "broken sidecar")
        except OSError as error:
            return None, Damage("unreadable", f"cannot be read: {error.strerror or error}")
        return sidecar, self.damage(sidecar)

    @cached_property
    def unfinished(self) -> list[str]:
        """Our tars without a sidecar, which a run makes again, in order of shard index."""
        tars = (name for name in self.foreign if TAR_NAME.fullmatch(name))
        return sorted(tars, key=shard_number)

    @cached_property
    def foreign(self) -> list[str]:
        """All tars that no sidecar speaks for."""
        tars = (name for name in self.sizes if name.endswith(".tar"))
        return [name for name in tars if f"{name.removesuffix('.tar')}.json" not in self.sizes]

    @cached_property
    def numbers(self) -> list[int]:
        """The shards of which something is there, in order."""
        return sorted({shard_number(name) for name in (*self.names, *self.unfinished)})

    def absent(self) -> Iterator[int]:
        """Yield the shards below the last of which nothing is there; they may be billions."""
        return (n for a, b in pairwise([-1, *self.numbers]) for n in range(a + 1, b))

    def nothing(self) -> UserError:
        """Make the error of a folder or bucket without a finished shard, or without a sample."""
        totals = self.totals()
        if totals.shards:
            return UserError(
                f"{self.store} holds no sample: {in_words(totals.row())}; ask less of the images, "
                "or give others"
            )
        if self.foreign:
            return UserError(
                f"{self.store} holds no finished shard, but tars without sidecar "
                f"({len(self.foreign):,}); if others made them, nonpareil shards index writes those"
            )
        return UserError(
            f"{self.store} holds no finished shard (part-*.tar with its part-*.json); give the "
            "--out folder of a render or filter run"
        )


def read_files(tar: RandomAccessFile, entry: Entry) -> dict[str, bytes]:
    """Read the files of one sample, by ending, all at once.

    Raises:
        ShardError: when they are larger than an image may be, or than the tar.
    """
    start = min((offset for offset, _ in entry.files.values()), default=0)
    length = max((offset + size for offset, size in entry.files.values()), default=0) - start
    if length > MAX_BYTES:
        raise ShardError(f"sample {entry.key} is larger than {MAX_BYTES:,} bytes")
    data = tar.read(start, length)
    if len(data) < length:
        raise ShardError(
            f"the tar ends inside sample {entry.key}; nonpareil shards verify says more"
        )
    return {
        ending: data[offset - start : offset - start + size]
        for ending, (offset, size) in entry.files.items()
    }
