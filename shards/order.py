"""Order: which sample is drawn when, without storing it.

Every epoch is a keyed permutation of all samples, computed draw by draw, so it takes no memory
and no time to enter at any place. A position in training is one integer, the number of draws made
by all ranks together, and says nothing about how many ranks there were.
"""

from collections.abc import Iterator
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards.errors import UserError

Draws = NDArray[np.int64]
Numbers = Any
"""An int, or an array of np.uint64: the arithmetic below is the same for both."""

ROUNDS = 8
"""Feistel rounds (our choice: with eight, every order of four samples is as likely as the others;
with six it is not)."""

BLOCK = 1024
"""Draws computed at once while iterating: 0.2 us each instead of 10 us alone (our choice)."""

_WORD = 2**64 - 1


class Order:
    """An endless sequence of sample numbers in which every epoch holds each sample once.

    Draw `d` belongs to epoch `d // samples`. Which sample it is depends on `seed`, `samples` and
    `d` alone.
    """

    def __init__(self, samples: int, seed: int) -> None:
        """Shuffle `samples` samples (1 to 2^62) by `seed` (any integer from 0 to 2^64 - 1).

        Raises:
            UserError: when either lies outside its range.
        """
        if not 1 <= samples <= 2**62:
            raise UserError(f"an order of {samples} samples; give 1 to 2^62")
        if not 0 <= seed <= _WORD:
            raise UserError(f"seed {seed} of an order; give 0 to 2^64 - 1")
        self.samples, self.seed = samples, seed
        # The smallest grid of nearly square shape that holds all samples: at most one walk in
        # sqrt(samples) leaves them.
        self._rows = isqrt(samples - 1) + 1
        self._columns = -(-samples // self._rows)

    def __getitem__(self, draw: int) -> int:
        """Return the number of the sample that draw `draw` (from 0) takes.

        Raises:
            IndexError: when `draw` is negative.
        """
        if draw < 0:
            raise IndexError(f"draw {draw} of an order; the first is 0")
        epoch, place = divmod(draw, self.samples)
        key = _mixed(self._key() + epoch)
        while True:  # cycle-walking: a permutation of the grid becomes one of the samples
            place = self._permuted(place, key)
            if place < self.samples:
                return place

    def many(self, draws: Draws) -> Draws:
        """Return the sample number of each draw, shape (n,) as given; the same as one by one."""
        epochs, places = np.divmod(draws.astype(np.uint64), np.uint64(self.samples))
        keys = _mixed(epochs + np.uint64(self._key()))
        places = self._permuted(places, keys)
        while len(outside := np.flatnonzero(places >= self.samples)):
            places[outside] = self._permuted(places[outside], keys[outside])
        return places.astype(np.int64)

    def slice(self, start: int = 0, *, rank: int = 0, world: int = 1) -> Iterator[int]:
        """Yield, without end, what one rank of `world` draws from position `start` on.

        Rank r takes draws start + r, start + r + world, and so on: together the ranks take every
        draw once, so that a run may stop and go on with another number of ranks.

        Raises:
            UserError: when `start` is negative or there is no such rank.
        """
        if start < 0 or not 0 <= rank < world:
            raise UserError(
                f"rank {rank} of {world} from draw {start}; ranks count from 0, draws too"
            )
        return self._slice(start + rank, world)

    def _slice(self, draw: int, world: int) -> Iterator[int]:
        steps = np.arange(BLOCK, dtype=np.int64) * world
        while True:
            yield from self.many(draw + steps).tolist()
            draw += BLOCK * world

    def _key(self) -> int:
        return _mixed(self.seed)

    def _permuted(self, place: Numbers, key: Numbers) -> Numbers:
        """Permute the grid by Feistel rounds with modular addition.

        Every round shifts each row by an amount that hangs on the row alone, or each column by one
        that hangs on the column, so it can be undone whatever the amounts are (Black and Rogaway,
        "Ciphers with Arbitrary Finite Domains", CT-RSA 2002).
        """
        rows, columns = self._rows, self._columns
        row, column = place // columns, place % columns
        for turn in range(0, ROUNDS, 2):
            column = (column + _mixed(row ^ _mixed(key + turn)) % columns) % columns
            row = (row + _mixed(column ^ _mixed(key + turn + 1)) % rows) % rows
        return row * columns + column


def _mixed(x: Numbers) -> Numbers:
    """Scatter 64 bits: the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    x = (x + 0x9E3779B97F4A7C15) & _WORD
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _WORD
    return x ^ (x >> 31)
