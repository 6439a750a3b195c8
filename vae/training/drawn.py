"""Which samples a run has drawn so far, as one digest that two runs can compare.

It is a chain of SHA-256 over the micro-batches in the order of the steps: each link covers the one
before and the ids of the samples that were really loaded. So it does not depend on how many ranks
share the work, nor on where the run was stopped.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from vae.data.batch import Batch
from vae.training.ranks import Ranks


class Drawn:
    """The digest, and what this rank has drawn since it was last taken."""

    def __init__(self, digest: str = "") -> None:
        """Go on from the digest of a checkpoint; an empty one begins."""
        self.digest = digest
        self._links: list[tuple[int, int, bytes]] = []

    def note(self, n: int, m: int, keys: Sequence[str]) -> None:
        """Take the ids ("STREAM/KEY") of the samples of this rank's micro-batch m of a step."""
        self._links.append((n, m, hashlib.sha256("\n".join(keys).encode()).digest()))

    def noting(self, n: int, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield this rank's micro-batches of the step at `n`, in order, and note them."""
        for m, batch in enumerate(batches):
            self.note(n, m, batch.keys)
            yield batch

    def take(self, ranks: Ranks) -> str:
        """Return the digest of all that all ranks have drawn; all of them call this together."""
        parts = cast(list[list[tuple[int, int, bytes]]], ranks.gather(self._links))
        # A rank's part of a step is contiguous, so the ranks in order give the step's list.
        links = [(n, rank, m, link) for rank, part in enumerate(parts) for n, m, link in part]
        for *_, link in sorted(links):
            self.digest = hashlib.sha256(self.digest.encode() + link).hexdigest()
        self._links = []
        return self.digest
