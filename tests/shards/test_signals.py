"""Signals are answered within a block, and as before after it."""

import signal
import threading

import pytest

from shards.signals import answered


def test_a_signal_is_answered_within_the_block_alone():
    before, seen = signal.getsignal(signal.SIGUSR1), []

    def fail():
        with answered(signal.SIGUSR1, lambda number, frame: seen.append(number)):
            signal.raise_signal(signal.SIGUSR1)
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert seen == [signal.SIGUSR1]
    assert signal.getsignal(signal.SIGUSR1) == before


def test_another_thread_changes_nothing():
    inside = []

    def work():
        with answered(signal.SIGUSR1, lambda number, frame: None):
            inside.append(signal.getsignal(signal.SIGUSR1))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [signal.getsignal(signal.SIGUSR1)]
