"""The digest of what a run has drawn does not depend on how it was run."""

import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from vae.training.drawn import Drawn
from vae.training.ranks import ALONE, Ranks

KEYS = st.lists(st.text("ab/", max_size=3), min_size=1, max_size=3)
STEPS = st.lists(st.lists(KEYS, min_size=4, max_size=4), max_size=5)


class Together(Ranks):
    """One of some threads that gather as ranks do."""

    def __init__(self, rank, given, barrier):
        super().__init__()
        self.rank, self.world, self.given, self.meet = rank, len(given), given, barrier

    def gather(self, value):
        self.given[self.rank] = value
        self.meet.wait()
        return [*self.given]


def digest(steps, world, stop):
    """Draw on `world` ranks, taking the digest after `stop` steps and at the end."""
    given, barrier, digests = [None] * world, threading.Barrier(world), [None] * world

    def work(rank):
        ranks, drawn = Together(rank, given, barrier), Drawn()
        for number, micro_batches in enumerate(steps):
            if number == stop:
                drawn = Drawn(drawn.take(ranks))
                barrier.wait()
            for m, at in enumerate(ranks.part(len(micro_batches))):
                drawn.note(number, m, micro_batches[at])
        digests[rank] = drawn.take(ranks)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({*digests}) == 1
    return digests[0]


@settings(max_examples=30)
@given(STEPS, st.integers(0, 5))
def test_ranks_and_stops_change_nothing(steps, stop):
    assert len({digest(steps, world, stop) for world in (1, 2, 4)}) == 1


@given(STEPS, STEPS)
def test_other_samples_or_another_order_give_another_digest(a, b):
    assert (digest(a, 1, 0) == digest(b, 1, 0)) == (a == b)


def test_nothing_drawn_is_the_digest_of_before():
    assert Drawn("x").take(ALONE) == "x"
