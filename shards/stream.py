"""Stream: the endless shuffled samples of one rank, and where it stands in a few integers."""

from collections.abc import Iterator, Mapping
from typing import Self

from shards.errors import ShardError, UserError
from shards.order import Order
from shards.reader import WINDOW, ShardReader
from shards.sample import Sample

TRIES = 64
"""Samples tried for one draw before broken ones stop the run (our choice: half of them may be)."""

STATE = {"seed", "samples", "fingerprint", "draws"}
"""What a state holds, all integers: `fingerprint` is that of the index of the samples."""


class Stream(Iterator[Sample]):
    """What one rank of `world` reads: its share of every epoch, in an order that `seed` shuffles.

    The ranks together read each sample once an epoch; as epochs follow each other without a seam,
    every rank reads equally many and none is dropped. The state is the same on all ranks that have
    read as many, does not depend on how many there are, and another number of ranks goes on from
    it.

    Where the reader's `on_error` is skip, a broken sample's place is taken by the one its draw has
    an epoch later: had it been left out instead, this rank would be ahead of the others.
    """

    def __init__(
        self,
        reader: ShardReader,
        seed: int,
        *,
        rank: int = 0,
        world: int = 1,
        draws: int = 0,
        window: int = WINDOW,
    ) -> None:
        """Begin after `draws` draws of all ranks together.

        `window` samples are under way ahead of the one in use, as in `ShardReader.read`.

        Raises:
            UserError: when there is no such rank.
        """
        self.reader, self.rank, self.world, self.draws = reader, rank, world, draws
        self.order = Order(len(reader), seed)
        numbers = self.order.slice(draws, rank=rank, world=world)
        self._outcomes = reader.outcomes(numbers, window=window)

    @classmethod
    def restore(
        cls,
        reader: ShardReader,
        state: Mapping[str, int],
        *,
        rank: int = 0,
        world: int = 1,
        window: int = WINDOW,
    ) -> Self:
        """Go on where `state` was taken, at once, with any number of ranks.

        Raises:
            UserError: when the state is none of a stream, or of other samples than the reader's.
        """
        if set(state) != STATE:
            raise UserError(
                f"a stream's state holds {', '.join(sorted(STATE))}; given was "
                f"{', '.join(sorted(state)) or 'nothing'}"
            )
        stream = cls(
            reader, state["seed"], rank=rank, world=world, draws=state["draws"], window=window
        )
        if stream.state() != state:
            raise UserError(
                f"the state is of other samples ({state['samples']:,}) than those of "
                f"{reader.name} ({len(reader):,}); resume with the same shards or begin anew"
            )
        return stream

    def state(self) -> dict[str, int]:
        """Return what `restore` needs: the draws of all ranks so far, and of what they are."""
        return {
            "seed": self.order.seed,
            "samples": self.order.samples,
            "fingerprint": self.reader.index.fingerprint,
            "draws": self.draws,
        }

    def __next__(self) -> Sample:
        """Read the next sample.

        Raises:
            ShardError: when it cannot be read, unless `on_error` is skip; then when TRIES others
                cannot be read either.
        """
        sample = next(self._outcomes) or self._another()
        self.draws += self.world
        return sample

    def _another(self) -> Sample:
        draw = self.draws + self.rank
        for later in range(1, TRIES):
            sample = self.reader.get(self.order[draw + later * self.order.samples])
            if sample is not None:
                return sample
        raise ShardError(
            f"{self.reader.name}: {TRIES} samples drawn in a row cannot be read, the last "
            f"because {next(reversed(self.reader.skipped.values()))}"
        )
