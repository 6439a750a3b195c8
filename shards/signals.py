"""Answering signals of the operating system for as long as a block of code runs."""

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
"""Exit codes after Ctrl-C and after a polite kill, as shells have them."""


@contextmanager
def answered(
    number: signal.Signals, answer: Callable[[int, FrameType | None], object]
) -> Generator[None, None, None]:
    """Call `answer` when the signal comes, and put back what was there before at the end.

    Only the main thread may set handlers; within any other this does nothing. Nor does it where
    whoever started this process made it deaf to the signal, as a shell does with SIGINT for what
    it starts in the background.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(number) is signal.SIG_IGN:
        yield
        return
    before = signal.signal(number, answer)
    try:
        yield
    finally:
        signal.signal(number, before)


class Asked:
    """Whether this process was asked to end, and by which signal."""

    by: signal.Signals | None = None

    def end(self) -> None:
        """End as asked; whoever was not asked itself ends as if terminated.

        Raises:
            KeyboardInterrupt: after SIGINT.
            SystemExit: with code 143 after SIGTERM. Not 0: a scheduler would take that for done.
        """
        if self.by is signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(TERMINATED)


@contextmanager
def interrupted_at_once() -> Generator[Asked, None, None]:
    """Raise KeyboardInterrupt wherever a SIGINT or SIGTERM comes within the block, and note it.

    What is raised inside a destructor or a callback Python only prints, and forgets: so whoever
    works in a loop looks at the note as well.
    """
    asked = Asked()

    def interrupt(number: int, frame: FrameType | None) -> None:
        asked.by = signal.Signals(number)
        signal.default_int_handler(number, frame)

    with answered(signal.SIGINT, interrupt), answered(signal.SIGTERM, interrupt):
        yield asked


@contextmanager
def asked_to_end(asked: Asked | None = None) -> Generator[Asked, None, None]:
    """Note the first SIGINT or SIGTERM within the block instead of ending where it comes.

    A second one does what it did before. Only the main thread gets signals; who works in another
    may be asked by way of the `asked` that it gave.
    """
    asked = Asked() if asked is None else asked
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        asked.by = signal.Signals(number)
        for each, answer in before.items():
            signal.signal(each, answer)

    with answered(signal.SIGINT, note), answered(signal.SIGTERM, note):
        yield asked
