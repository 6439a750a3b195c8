"""Broken samples that others stood in for: written down by name, and too many stop the run."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

from shards import UserError
from vae.data.batch import Batch, Replaced
from vae.training.ranks import Ranks
from vae.training.record import DROPPED, Record

LIMIT = 0.01
"""Share of what was drawn that may be broken (our choice: a damaged shard of a hundred)."""

BEGINNING = 1000
"""Samples over which the share is taken while fewer were drawn (our choice: one broken sample
among the first hundred says little)."""


class Dropped:
    """Broken samples of a run, over all ranks: `count` of them, and those not yet written down.

    `too_small` counts the images of streams without an index that did not hold a crop, since the
    process began; they are no fault and not named.
    """

    def __init__(self, count: int = 0) -> None:
        """Go on after `count` broken samples."""
        self.count, self.too_small = count, 0
        self._new: list[tuple[int, Replaced]] = []
        self._new_small = 0

    @classmethod
    def resumed(cls, ranks: Ranks, record: Record) -> Self:
        """Go on after those that rank 0 has on record."""
        count = ranks.gather(record.count(DROPPED))[0]
        assert isinstance(count, int), "each rank gives a number"
        return cls(count)

    def noting(self, n: int, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the micro-batches of the step at `n`, taking down what was left out of them."""
        for batch in batches:
            self._new += [(n, sample) for sample in batch.replaced]
            self._new_small += batch.too_small
            yield batch

    def rows(self, gather: Callable[[object], list[Any]]) -> list[dict[str, Any]]:
        """Return a row for each since the last time, of all ranks, in order of n.

        `gather` returns what every rank gives it, in their order; all ranks must call this.
        """
        ranks = gather((self._new, self._new_small))
        self._new, self._new_small = [], 0
        new = [noted for rank, _ in ranks for noted in rank]
        new.sort(key=lambda noted: noted[0])  # ranks follow each other inside a step
        self.count += len(new)
        self.too_small += sum(small for _, small in ranks)
        return [{"n": n, **sample._asdict()} for n, sample in new]

    def settle(self, ranks: Ranks, record: Record, n: int) -> None:
        """Write down those of all ranks since the last time, and stop a run with too many.

        Raises:
            UserError: with their number, after `n` samples.
        """
        for row in self.rows(ranks.gather):
            record.append(DROPPED, row)
        self.check(n)

    def check(self, n: int) -> None:
        """Stop a run of which `n` samples were drawn when more than LIMIT of them were broken.

        Raises:
            UserError: with their number.
        """
        if self.count > LIMIT * max(n, BEGINNING):
            raise UserError(
                f"{self.count:,} of {n:,} samples drawn are broken, more than {LIMIT:.0%}; "
                "dropped.jsonl names them: look with nonpareil shards verify, filter or remake "
                "them, then run the same command again"
            )
