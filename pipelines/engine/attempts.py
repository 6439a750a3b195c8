"""One attempt at a shard: what a worker does, what can come of it, and what is tried again.

What a user can mend (`UserError`, a full disk) stops a run at once; any other error costs the shard
one of its attempts, and then its place.
"""

import platform
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import cache
from typing import Self

from pipelines.engine.cluster import Needs, lacks
from pipelines.engine.jobs import Job, unpack
from pipelines.engine.nodes import Nodes
from pipelines.engine.quarantine import Failure
from pipelines.engine.signs import Address, Beat, Signs, Tell
from shards import ShardError, Sidecar, Store, StoreError, UserError, open_store
from shards.console import FULL_DISK
from shards.outputs import NOTE, differing
from shards.sidecar import read_sidecar, sidecar_name
from shards.text import read_table
from shards.totals import Totals

TASKS_PER_SLOT = 2
"""Shard tasks in flight for each worker slot: one running, one ready to start."""

ATTEMPTS = 3
"""How often a shard may fail by an error of its own before it is quarantined."""

SYSTEM_RETRIES = 20
"""How often a shard may be started again after it lost its worker or node."""

HERE = platform.node()
"""The name of this machine as a node."""

Packed = tuple[type[Job], str]


@dataclass(frozen=True, slots=True)
class Made:
    """What the driver keeps of a finished shard: not its sidecar, which grows with the samples.

    `seconds` is the wall time that its worker took; 0 where it was there `already`.
    """

    shard: int
    sha256: str
    versions: dict[str, str]
    totals: Totals
    seconds: float = 0.0
    already: bool = False

    @classmethod
    def of(cls, sidecar: Sidecar, *, seconds: float = 0.0, already: bool = False) -> Self:
        """Keep it of a sidecar."""
        totals = Totals.of([sidecar])
        return cls(sidecar.shard, sidecar.sha256, sidecar.versions, totals, seconds, already)


@dataclass(frozen=True, slots=True)
class Failed:
    """One attempt that failed, as text, since not every exception survives being sent."""

    error: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Lost:
    """One attempt that ended with its worker or node, as on a spot machine that was taken away."""


Outcomes = Generator[tuple[int, Made | Failed | Lost], None, None]


@dataclass
class Queue:
    """The shards still to make, how often each has failed or lost its worker, nodes and signs."""

    waiting: deque[int]
    faults: Counter[int] = field(default_factory=Counter[int])
    losses: Counter[int] = field(default_factory=Counter[int])
    nodes: Nodes = field(default_factory=Nodes)
    signs: Signs = field(default_factory=Signs)

    def judge(self, shard: int, outcome: Failed | Lost) -> Failure | None:
        """Put a shard back at the end, or return why it is given up."""
        if isinstance(outcome, Lost):
            self.losses[shard] += 1
            spent = self.losses[shard] > SYSTEM_RETRIES
            error, trace = f"its worker died {self.losses[shard]} times{_MEMORY}", ""
        else:
            self.faults[shard] += 1
            spent = self.faults[shard] >= ATTEMPTS
            error, trace = outcome.error, outcome.traceback
        if not spent:
            self.waiting.append(shard)
            return None
        attempts = self.losses[shard] + self.faults[shard]
        return Failure(shard=shard, attempts=attempts, error=error, traceback=trace)


_MEMORY = ", as one that needs more memory than there is"


class Unfit(UserError):
    """This machine cannot work on a run: what it lacks, or has otherwise than the driver."""


def make(packed: Packed, index: int, out: str, address: Address, node: str = HERE) -> Made | Failed:
    """Make one shard inside a worker; the job's heavy state stays warm in the process.

    Signs of life go to `address`, in the name of `node`.

    Raises:
        Unfit: when this machine cannot work on the run; nothing was done.
        UserError, OSError: as `attempt` does.
    """
    with Beat(address, node, index) as beat:
        return attempt(lambda: fit(*packed, out), index, open_store(out), beat)


@cache
def fit(kind: type[Job], text: str, out: str) -> Job:
    """Return a packed job once it is sure that this machine would make the driver's shards.

    It sees the `recipe.json` that the driver left in the output, and its own recipe on its own
    inputs has the digest that stands there: else its shards would be foreign to all others.

    Raises:
        Unfit: when it does not.
        StoreError: when a bucket does not answer.
    """
    try:
        if lack := lacks(Needs({out: NOTE})):
            raise Unfit(lack)
        job = unpack(kind, text)
        held = read_table(open_store(out), NOTE, "put back what it held")
        if held.get("digest") != job.digest:
            raise Unfit(f"its recipe or inputs differ ({differing(held, job.identity())})")
    except (Unfit, StoreError):
        raise
    except (UserError, OSError) as error:
        raise Unfit(str(error)) from error
    return job


def attempt(ready: Callable[[], Job], index: int, out: Store, tell: Tell) -> Made | Failed:
    """Make a shard; return its error as a fault unless it is one that a user can mend.

    A shard that another run has finished meanwhile is not made: two runs at work in one output
    would else draw everything twice. A store that does not answer may do so later: that is a fault
    like others.

    Raises:
        UserError: as the shard, or `ready`, which returns its job, raised it.
        OSError: when the disk is full.
    """
    start = time.monotonic()
    try:
        job = ready()
        if made := made_already(job, index, out):
            return made
        sidecar = job.make_shard(index, out, tell)
    except Exception as error:
        if isinstance(error, UserError) and not isinstance(error, StoreError):
            raise
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            raise
        return Failed(f"{type(error).__name__}: {error}", traceback.format_exc())
    return Made.of(sidecar, seconds=time.monotonic() - start)


def made_already(job: Job, index: int, out: Store) -> Made | None:
    """Return what there is of a shard that another run or process has finished, if it is whole."""
    try:
        sidecar = read_sidecar(out, sidecar_name(index))
        whole = sidecar.recipe == job.digest and out.size(sidecar.tar) == sidecar.bytes
    except (FileNotFoundError, ShardError):
        return None
    return Made.of(sidecar, already=True) if whole else None
