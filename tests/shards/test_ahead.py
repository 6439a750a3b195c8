"""Read-ahead keeps order, takes no more than its window, and ends when nobody reads."""

import threading
from itertools import count, islice

import pytest

from shards.ahead import ahead, announced


@pytest.mark.parametrize("window", [0, 1, 5, 50])
def test_results_come_in_order(window):
    assert list(ahead(lambda i: i * i, range(20), window)) == [i * i for i in range(20)]
    assert list(ahead(str, [], window)) == []


@pytest.mark.parametrize("window", [1, 7])
def test_no_more_items_are_taken_than_the_window(window):
    taken = []
    items = (taken.append(i) or i for i in count())
    assert list(islice(ahead(lambda i: i, items, window), 10)) == list(range(10))
    assert len(taken) <= 10 + window


def test_an_error_comes_at_its_place_and_ends_the_threads():
    def work(i):
        if i == 3:
            raise ValueError("three")
        return i

    found = ahead(work, count(), 4)
    assert list(islice(found, 3)) == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(found)
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("window", [1, 3, 30])
def test_items_are_announced_before_they_come(window):
    told = []
    for at, item in enumerate(announced(told.append, range(20), window)):
        assert item == at
        assert told == list(range(min(20, at + window + 1)))
