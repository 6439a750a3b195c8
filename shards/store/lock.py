"""One writer at a time: whoever works in a store says so in a file, again and again.

A store has no locks that all its kinds know, and what holds one may be killed or lose its machine.
So the file names its owner and changes every few seconds. Another who wants the store takes it
over at once where the owner was a process of this machine and is gone, and otherwise after it has
watched the file stand still for some time; clocks need not agree.
"""

import json
import logging
import os
import platform
import secrets
import threading
import time
from types import TracebackType
from typing import Self

from shards.errors import StoreError, UserError
from shards.store.base import Store
from shards.store.staging import alive

LOCK = "lock.json"
"""The name of its file."""

BEAT_S = 10.0
"""Seconds between two changes of the file (our choice: 8,640 small calls to a bucket a day)."""

MISSED = 4
"""Beats without a change after which an owner elsewhere is taken for dead (our choice)."""

BROKEN = (ValueError, KeyError, TypeError, OverflowError, RecursionError)
"""What reading a file raises that is none of ours."""

log = logging.getLogger(__name__)

_held = set[str]()


class Lock:
    """The store is this process's own within the block."""

    def __init__(self, store: Store, *, beat: float = BEAT_S) -> None:
        """Name the store, and the seconds between two signs of life."""
        self.store, self.beat, self.token = store, beat, secrets.token_hex(8)
        self._beats = 0
        self._lost, self._ended = threading.Event(), threading.Event()

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            UserError: when another process is at work in the store.
        """
        while not self.store.create(LOCK, self._text()):
            self._free()
        _held.add(self.token)
        self._thread = threading.Thread(target=self._show_life, name="lock", daemon=True)
        self._thread.start()
        return self

    def check(self) -> None:
        """See that nobody has taken the store over while this process did not get to say it lives.

        Raises:
            UserError: when somebody has.
        """
        if self._lost.is_set():
            raise UserError(
                f"{self.store} was taken over by another run while this one stood still; it is "
                "left to that one"
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the store to others."""
        self._ended.set()
        self._thread.join()
        _held.discard(self.token)
        try:
            if _token(self._read()) == self.token:
                self.store.delete(LOCK)
        except (OSError, StoreError):
            return  # the next one finds that this process is gone, or that the file stands still

    def _text(self) -> bytes:
        owner = {"node": platform.node(), "pid": os.getpid(), "token": self.token}
        return json.dumps(owner | {"beat": self._beats}).encode()

    def _read(self) -> bytes:
        try:
            return self.store.read(LOCK)
        except FileNotFoundError:
            return b""

    def _free(self) -> None:
        """Delete the file of an owner that is gone."""
        first = self._read()
        if first and not _gone(first):
            log.warning(
                "%s holds the lock of another process; watching for %.0f s whether it is at work",
                self.store,
                MISSED * self.beat,
            )
        until = time.monotonic() + MISSED * self.beat
        while first and not _gone(first) and time.monotonic() < until:
            time.sleep(self.beat / 4)
            held = self._read()
            if not held:
                return
            if held != first or _token(held) in _held:
                raise UserError(
                    f"{self.store} is in use by {_owner(held)}; wait until it ends or give another "
                    "--out"
                )
        if self._read() == first:
            self.store.delete(LOCK)

    def _show_life(self) -> None:
        while not self._ended.wait(self.beat):
            try:
                if _token(self._read()) != self.token:
                    self._lost.set()
                    return
                self._beats += 1
                self.store.replace(LOCK, self._text())
            except (OSError, StoreError):
                continue  # a full disk, or a bucket that did not answer: try at the next beat


def _token(text: bytes) -> str:
    try:
        return str(json.loads(text)["token"])
    except BROKEN:
        return ""


def _owner(text: bytes) -> str:
    """Say who holds a lock, as far as its file tells."""
    try:
        owner = json.loads(text)
        return f"process {owner['pid']} of {owner['node']}"
    except BROKEN:
        return f"another process, whose {LOCK} cannot be read"


def _gone(text: bytes) -> bool:
    """Is it of a process of this machine that lives no more?"""
    try:
        owner = json.loads(text)
        here, pid, token = owner["node"] == platform.node(), int(owner["pid"]), _token(text)
    except BROKEN:
        return False
    # A container gives its first process the same number each time.
    return here and (token not in _held if pid == os.getpid() else not alive(pid))
