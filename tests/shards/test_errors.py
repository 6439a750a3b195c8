"""The boundary around what other people made: what becomes a reason, and what is ours."""

import errno
import pickle

import pytest

from shards.errors import Unreadable, UnreadableImage, UserError, foreign


@pytest.mark.parametrize(
    "raised",
    [
        KeyError("MPO"),
        TypeError("'>=' not supported between bytes and int"),
        ImportError("No module named brotli"),
        RecursionError(),
        AssertionError(),
        OSError(errno.EIO, "Input/output error"),
        EOFError(),
    ],
    ids=repr,
)
def test_whatever_a_parser_raises_names_the_thing_and_the_reason(raised: Exception) -> None:
    with pytest.raises(Unreadable, match=r"^a\.ttf: no font that can be read$") as told:  # noqa: SIM117
        with foreign("a.ttf", "no font that can be read", Unreadable):
            raise raised
    assert told.value.__cause__ is raised
    assert pickle.loads(pickle.dumps(told.value)).reason == "no font that can be read"


@pytest.mark.parametrize(
    "raised",
    [
        UnreadableImage("a.png", "too large"),
        UserError("no such folder"),
        MemoryError(),
        KeyboardInterrupt(),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EMFILE, "Too many open files"),
    ],
    ids=repr,
)
def test_what_is_no_fault_of_the_thing_goes_through(raised: BaseException) -> None:
    with pytest.raises(type(raised)) as told:  # noqa: SIM117
        with foreign("a.png", "broken"):
            raise raised
    assert told.value is raised
