"""A job that goes wrong on purpose."""

import errno
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from pipelines.engine.jobs import Job
from pipelines.engine.signs import Tell, silently
from shards import ShardWriter, Sidecar, Store, UserError
from shards.outputs import PROGRESS
from tests.conftest import make_sample


class Unsendable(Exception):
    """An error that can be pickled but not read back."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


class FaultyJob(Job):
    """Four samples a shard; some shards fail or kill their process, `times` over.

    Each takes `pause` seconds. With `failing_node` all fail where the environment says NODE=bad,
    and elsewhere wait until three have. A disk is full where NODE is one of `full_nodes`. Each
    waits until so many `nodes` gave a sign of life.
    """

    shards: int = 8
    notes: Path
    failing: tuple[int, ...] = ()
    killing: tuple[int, ...] = ()
    mistaken: tuple[int, ...] = ()
    times: int = 100
    failing_node: bool = False
    pause: float = 0.0
    reads: Path | None = None
    full_nodes: tuple[str, ...] = ()
    nodes: int = 0

    def count(self) -> int:
        return self.shards

    def inputs(self) -> dict[str, str]:
        return {} if self.reads is None else {"reads": self.reads.read_text()}

    def identity(self) -> dict[str, Any]:
        """Faults shape no bytes, so an output can be continued without them."""
        return {"kind": "FaultyJob", "inputs": self.inputs()}

    def make_shard(self, index: int, out: Store, tell: Tell = silently) -> Sidecar:
        note = self.notes / f"{index}.{os.getpid()}.{os.urandom(4).hex()}"
        note.touch()
        if os.environ.get("NODE", "") in self.full_nodes:
            raise OSError(errno.ENOSPC, "No space left on device", "/scratch/.part.tmp")
        if self.failing_node:
            self._fail_or_wait(index)
        if len(list(self.notes.glob(f"{index}.*"))) <= self.times:
            if index in self.failing:
                raise Unsendable("wrong ", f"shard {index}")
            if index in self.killing:
                os.kill(os.getpid(), signal.SIGKILL)
            if index in self.mistaken:
                raise UserError(f"shard {index} cannot be made")
        self._wait_for_nodes(out)
        time.sleep(self.pause)
        with ShardWriter(out, index, recipe=self.digest, tell=tell) as writer:
            writer.extend(make_sample(i) for i in range(4 * index, 4 * index + 4))
        assert writer.sidecar is not None
        return writer.sidecar

    def _fail_or_wait(self, index: int) -> None:
        if os.environ.get("NODE") == "bad":
            (self.notes / f"bad.{index}").touch()
            raise OSError(errno.EIO, "Input/output error")
        deadline = time.monotonic() + 30
        while len(list(self.notes.glob("bad.*"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)

    def _wait_for_nodes(self, out: Store) -> None:
        deadline = time.monotonic() + 30
        while self.nodes and time.monotonic() < deadline:
            if len(json.loads(out.read(PROGRESS))["nodes"]) >= self.nodes:
                return
            time.sleep(0.05)
