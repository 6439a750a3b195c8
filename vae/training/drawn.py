"""Which samples a run has drawn so far, as one digest that two runs can compare.

It is a chain of SHA-256 over the micro-batches in the order of the steps: each link covers the one
before and the ids of the samples that were really loaded. So it does not depend on how many ranks
share the work, nor on where the run was stopped.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import cast

from vae.training.batch import Batch
from vae.training.ranks import Ranks


class Drawn:
    """The digest, and what this rank has drawn since it was last taken."""

    def __init__(self, digest: str = "") -> None:
        """Go on from the digest of a checkpoint; an empty one begins."""
        self.digest = digest
        self._links: list[tuple[int, int, bytes]] = []

    def note(self, n: int, m: int, keys: Sequence[str]) -> None:
        """Take the ids ("STREAM/KEY") of the samples of micro-batch m of the step at n."""
        self._links.append((n, m, hashlib.sha256("\n".join(keys).encode()).digest()))

    def noting(self, n: int, batches: Iterable[Batch], first: int = 0) -> Iterator[Batch]:
        """Yield the micro-batches of the step at `n`, from number `first` on, and note them."""
        for m, batch in enumerate(batches, first):
            self.note(n, m, batch.keys)
            yield batch

    def take(self, ranks: Ranks) -> str:
        """Return the digest of all that all ranks have drawn; all of them call this together."""
        parts = cast(list[list[tuple[int, int, bytes]]], ranks.gather(self._links))
        for _, _, link in sorted(chain.from_iterable(parts)):
            self.digest = hashlib.sha256(self.digest.encode() + link).hexdigest()
        self._links = []
        return self.digest
