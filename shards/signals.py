"""Answering a signal of the operating system for as long as a block of code runs."""

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def answered(
    number: signal.Signals, answer: Callable[[int, FrameType | None], object]
) -> Generator[None, None, None]:
    """Call `answer` when the signal comes, and put back what was there before at the end.

    Only the main thread may set handlers; within any other this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, answer)
    try:
        yield
    finally:
        signal.signal(number, before)
