"""Signals are answered within a block, and as before after it."""

import signal
import threading

import pytest

from shards.signals import answered, asked_to_end, interrupted_at_once


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


def test_who_was_made_deaf_to_a_signal_stays_so():
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        with answered(signal.SIGUSR1, lambda number, frame: pytest.fail("it was answered")):
            signal.raise_signal(signal.SIGUSR1)
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_comes_at_once_and_is_noted(number):
    with interrupted_at_once() as asked:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert asked.by is number


@pytest.mark.parametrize(
    ("number", "ends"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_the_first_signal_is_noted_and_the_second_is_what_it_was(number, ends):
    before, seen = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}, []
    with answered(number, lambda *_: seen.append("before")), asked_to_end() as asked:
        assert asked.by is None
        signal.raise_signal(number)
        assert (asked.by, seen) == (number, [])
        signal.raise_signal(number)
        assert seen == ["before"]
    with pytest.raises(ends) as ended:
        asked.end()
    assert getattr(ended.value, "code", None) in (None, 143)
    assert {each: signal.getsignal(each) for each in before} == before
