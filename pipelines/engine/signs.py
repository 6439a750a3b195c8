"""Signs of life: what workers tell the driver while a shard is under way.

A worker sends a datagram when it begins a shard, and then at most one a second, after a sample.
Datagrams cost a worker microseconds, wait for nobody, and leave nothing behind when it is killed; a
queue that processes share would be locked for ever. One that is lost, or that a firewall keeps
back, is only missed in the display. They carry a token, so that nobody else is listened to.
"""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

BEAT_S = 1.0
"""Seconds between two signs of a worker, at least."""

SILENT_S = 60.0
"""A worker without a sign for so long is not counted as alive (our choice: no sample takes it)."""

LARGEST = 1024
"""Bytes that are read of a datagram; ours have about 150."""

Tell = Callable[[int], None]
"""Told how many samples a shard holds so far."""


def silently(samples: int) -> None:
    """Tell nobody."""


class Address(NamedTuple):
    """Where workers send their signs."""

    host: str
    port: int
    token: str


class Beat:
    """The signs of one worker while it makes one shard; a context, to be told of samples."""

    def __init__(self, address: Address, node: str, shard: int) -> None:
        """Give the first sign."""
        self._address, self._shard = address, shard
        self._from = [address.token, node, os.getpid(), shard]
        self._socket = socket.socket(_family(address.host), socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._sent = -BEAT_S
        self(0)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __call__(self, samples: int) -> None:
        """Give a sign, unless the last one is fresh."""
        now = time.monotonic()
        if now - self._sent < BEAT_S:
            return
        self._sent = now
        with suppress(OSError):  # whoever listened may be gone, or have no time
            text = json.dumps([*self._from, samples]).encode()
            self._socket.sendto(text, (self._address.host, self._address.port))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Fall silent."""
        self._socket.close()


class Sign(NamedTuple):
    """The latest sign of a shard under way; `at` is the time by `time.monotonic`."""

    node: str
    pid: int
    samples: int
    at: float


class Signs:
    """What the driver knows of the shards under way; used by several threads."""

    def __init__(self) -> None:
        """Hear nothing yet."""
        self.seen: dict[str, float] = {}
        """The time of the last sign of each node, by `time.time`."""
        self._token, self._lock = secrets.token_hex(8), threading.Lock()
        self._socket: socket.socket | None = None
        self._latest: dict[int, Sign] = {}

    def listen(self, host: str = "127.0.0.1") -> Address:
        """Listen at an address of this machine, until `close`."""
        self.close()
        self._socket = socket.socket(_family(host), socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self._socket.setblocking(False)
        return Address(host, self._socket.getsockname()[1], self._token)

    def end(self, shard: int) -> None:
        """Forget a shard that is under way no longer."""
        with self._lock:
            self._hear()
            self._latest.pop(shard, None)

    def under_way(self) -> list[Sign]:
        """Return the latest sign of each shard whose worker is not silent."""
        with self._lock:
            self._hear()
            since = time.monotonic() - SILENT_S
            return [sign for sign in self._latest.values() if sign.at > since]

    def silent(self) -> dict[str, float]:
        """Return the nodes that have a shard and gave no sign for long, with the seconds."""
        with self._lock:
            now, nodes = time.time(), {sign.node for sign in self._latest.values()}
            seconds = {node: now - self.seen[node] for node in sorted(nodes)}
            return {node: passed for node, passed in seconds.items() if passed > SILENT_S}

    def close(self) -> None:
        """Listen no longer, and forget what was under way."""
        with self._lock:
            self._latest.clear()
            if self._socket:
                self._socket.close()
                self._socket = None

    def _hear(self) -> None:
        while self._socket:
            try:
                data = self._socket.recv(LARGEST)
            except OSError:  # there is none, mostly
                return
            with suppress(ValueError, TypeError):
                token, node, pid, shard, samples = json.loads(data)
                if token == self._token:
                    self._latest[shard] = Sign(node, pid, samples, time.monotonic())
                    self.seen[node] = time.time()


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
