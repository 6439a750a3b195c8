"""Choice: which samples, by an SQL condition on the table of samples, at random, or the first.

Sidecars are read one after the other and forgotten, so a choice from a billion samples needs no
more memory than one from a thousand; a random one needs 8 bytes for each sample to choose from.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pydantic import Field, PositiveInt

from shards.dataset import Dataset
from shards.derive.table import COLUMNS, draw, table_of
from shards.errors import UserError
from shards.settings import Settings
from shards.sidecar import Entry, Sidecar

if TYPE_CHECKING:
    pass

BATCH = 8192
"""Samples that SQL is asked about at once (our choice: a question takes a millisecond)."""

LOCKED = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "lock_configuration": "true",
}
"""A condition sees the table and nothing else: no files, no network, no extensions."""


ROW = "_row"
"""The column of a sample's number in a batch."""


class Choice(Settings):
    """Which samples to take, in their order.

    Those for which the SQL condition `where` holds (all, if it is empty), of them `sample` at
    random by `seed`, of these the first `limit`.
    """

    where: str = ""
    sample: PositiveInt | None = None
    limit: PositiveInt | None = None
    seed: int = Field(default=0, ge=0, lt=2**64)

    @property
    def takes_all(self) -> bool:
        """Whether no sample is left out."""
        return not self.where and self.sample is None and self.limit is None


class Chosen(NamedTuple):
    """Samples of one shard: the number of its dataset, and places among the shard's entries."""

    dataset: int
    sidecar: Sidecar
    places: Sequence[int]

    @property
    def entries(self) -> list[Entry]:
        """Return the entries at these places."""
        return [self.sidecar.entries[place] for place in self.places]


def chosen(datasets: Sequence[Dataset], choice: Choice) -> Iterator[Chosen]:
    """Yield what is chosen of whole shards, shard by shard; at least one sample of each.

    Raises:
        UserError: when the condition is none, or SQL is not installed.
        ShardError: at the first sidecar that is broken.
    """
    condition = Condition(choice.where, choice.seed) if choice.where else None
    matching = _matching(datasets, condition)
    if choice.sample is not None:
        draws = array("Q")
        for part in matching:
            draws.extend(draw(entry.key, choice.seed) for entry in part.entries)
        matching = _matching(datasets, condition)
        if len(draws) > choice.sample:
            last = int(
                np.partition(np.frombuffer(draws, np.uint64), choice.sample - 1)[choice.sample - 1]
            )
            matching = _first(_drawn(matching, choice.seed, last), choice.sample)
    yield from matching if choice.limit is None else _first(matching, choice.limit)


def _matching(datasets: Sequence[Dataset], condition: "Condition | None") -> Iterator[Chosen]:
    for number, dataset in enumerate(datasets):
        whole = (sidecar for sidecar in dataset.sidecars() if not dataset.damage(sidecar))
        for sidecars in _batches(whole):
            places = condition.holds(sidecars) if condition else map(_all, sidecars)
            for sidecar, held in zip(sidecars, places, strict=True):
                if held:
                    yield Chosen(number, sidecar, held)


def _all(sidecar: Sidecar) -> Sequence[int]:
    return range(len(sidecar.entries))


def _batches(sidecars: Iterable[Sidecar]) -> Iterator[list[Sidecar]]:
    """Yield sidecars together until they have BATCH samples; the first alone, to be quick."""
    batch: list[Sidecar] = []
    samples = BATCH
    for sidecar in sidecars:
        batch.append(sidecar)
        samples += len(sidecar.entries)
        if samples >= BATCH:
            yield batch
            batch, samples = [], 0
    if batch:
        yield batch


def _drawn(chosen: Iterable[Chosen], seed: int, last: int) -> Iterator[Chosen]:
    """Keep the samples whose draw is at most `last`."""
    for part in chosen:
        entries = part.sidecar.entries
        places = [place for place in part.places if draw(entries[place].key, seed) <= last]
        if places:
            yield part._replace(places=places)


def _first(chosen: Iterable[Chosen], count: int) -> Iterator[Chosen]:
    """Keep the first `count` samples."""
    for part in chosen:
        kept = part.places[:count]
        yield part._replace(places=kept)
        count -= len(kept)
        if not count:
            return


class Condition:
    """An SQL condition on COLUMNS, as it stands behind WHERE; DuckDB's dialect."""

    def __init__(self, text: str, seed: int) -> None:
        """Understand `text`; `seed` is that of the column `draw`.

        Raises:
            UserError: when it is no condition, or DuckDB is not installed.
        """
        try:
            import duckdb
        except ImportError as error:
            raise UserError("--where needs DuckDB: pip install nonpareil[sql]") from error
        self.text, self.seed = text, seed
        self._connection = duckdb.connect(config=dict(LOCKED))
        self._errors = duckdb.Error
        self._rows(())

    def holds(self, sidecars: Sequence[Sidecar]) -> list[list[int]]:
        """Return the places of the entries of each sidecar for which it holds, ascending.

        Raises:
            UserError: when it cannot be said of one.
        """
        ends = np.cumsum([len(sidecar.entries) for sidecar in sidecars])
        rows = self._rows([(sidecar, entry) for sidecar in sidecars for entry in sidecar.entries])
        parts = np.split(rows, np.searchsorted(rows, ends[:-1]))
        starts = [0, *ends[:-1].tolist()]
        return [(part - start).tolist() for part, start in zip(parts, starts, strict=True)]

    def _rows(self, samples: Sequence[tuple[Sidecar, Entry]]) -> np.ndarray:
        """Return the numbers of the samples for which it holds, ascending."""
        table = table_of(samples, self.seed)
        table = table.append_column(ROW, [list(range(len(samples)))])
        try:
            kept = self._connection.from_arrow(table).filter(self.text).project(ROW)
            return np.sort(kept.fetchnumpy()[ROW])
        except self._errors as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"--where {self.text}: {reason}; the columns are {', '.join(COLUMNS)}"
            ) from error
