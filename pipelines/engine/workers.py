"""Map a job's shard function over shard indices: here, over local processes, or on a Ray cluster.

Every engine runs the same function and writes the same bytes. A shard is finished when its
sidecar exists, so any run can be killed and started again; finished shards are skipped.

An engine yields what came of each attempt and takes the next index from a shared queue; one loop
decides for all of them what is tried again. What a user can mend (`UserError`, a full disk) stops
the run at once; any other error costs the shard one of its attempts, and then its place.
"""

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from pipelines.engine.cluster import Needs, connect, require_all_shared, require_shared
from pipelines.engine.jobs import Job, open_output, pack, unpack
from pipelines.engine.quarantine import Failure, Quarantine, Quarantined, describe_failures
from pipelines.engine.ranks import end_with_parent
from pipelines.engine.run_options import RunOptions
from shards import Sidecar, Store, StoreError, UserError, open_store
from shards.console import FULL_DISK
from shards.manifest import MANIFEST
from shards.outputs import NOTE
from shards.store import Where
from shards.totals import Totals

TASKS_PER_SLOT = 2
"""Shard tasks in flight for each worker slot: one running, one ready to start."""

ATTEMPTS = 3
"""How often a shard may fail by an error of its own before it is quarantined."""

SYSTEM_RETRIES = 20
"""How often a shard may be started again after it lost its worker or node."""

LOSSES_BEFORE_ALONE = 2
"""A shard that lost its process more often runs alone: whoever kills it is then known."""

SLOTS_SECONDS = 5.0
"""How often the slots of a Ray cluster are counted again, since it may grow and shrink."""

Packed = tuple[type[Job], str]


@dataclass(frozen=True, slots=True)
class Made:
    """What the driver keeps of a finished shard: not its sidecar, which grows with the samples.

    `seconds` is the wall time that its worker took.
    """

    shard: int
    sha256: str
    versions: dict[str, str]
    totals: Totals
    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """One attempt that failed, as text, since not every exception survives being sent."""

    error: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Lost:
    """One attempt that ended with its worker or node, as on a spot machine that was taken away."""


Outcomes = Generator[tuple[int, Made | Failed | Lost], None, None]


class Changed(UserError):
    """A shard was remade with other bytes; all shards are there. Exit code 1."""

    exit_code = 1


@dataclass
class Queue:
    """The shards still to make, and how often each has failed or lost its worker."""

    waiting: deque[int]
    faults: Counter[int] = field(default_factory=Counter[int])
    losses: Counter[int] = field(default_factory=Counter[int])

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


class Run:
    """One run of a job into an output: iterate to make what is missing.

    Yields a `Made` as each shard is finished, a `Failure` as one is given up.

    Args:
        job: what to make.
        out: folder or bucket of the shards; with Ray, one that every node sees under this name.
        options: with which engine and how many workers, and which shards; see `RunOptions`.

    Raises:
        UserError: when the output belongs to another recipe, or the first one of any shard.
        Quarantined: at the end, when shards failed too often; the others are finished.
        Changed: at the end, when a shard that was made anew has other bytes than before.
    """

    def __init__(self, job: Job, out: Where, options: RunOptions = RunOptions()) -> None:
        """Claim the output, count what is finished, and unmake what shall be made anew."""
        self.job, self.out, self.options = job, open_store(out), options
        if options.engine == "ray":
            require_shared(self.out)
            require_all_shared(job)
        self.before = Totals()
        self._replaced: dict[int, tuple[str, dict[str, str]]] = {}
        again, done = frozenset(options.only or ()), set[int]()
        for summary in open_output(job, self.out):
            if summary.shard in again:
                self._replaced[summary.shard] = summary.sha256, summary.versions
                self.out.delete(summary.name)
            else:
                done.add(summary.shard)
                self.before.add(summary)
        self._queue = Queue(deque(options.to_make(job.count(), done)))
        self.planned = len(self._queue.waiting)
        self.total = len(done.union(range(job.count())))
        if self.planned:
            self.out.delete(MANIFEST)  # it will not describe what lies here

    def __iter__(self) -> Iterator[Made | Failure]:
        """Make the shards; send what fails back to the engine, or into quarantine."""
        quarantine, failed, changed = Quarantine(self.out), list[Failure](), list[str]()
        make_all = _MAKERS[self.options.engine]
        with closing(make_all(self.job, self.out, self._queue, self.options.workers)) as outcomes:
            for shard, outcome in outcomes:
                if isinstance(outcome, Made):
                    quarantine.release(shard)
                    changed += self._compare(outcome)
                    yield outcome
                elif failure := self._queue.judge(shard, outcome):
                    failed.append(failure)
                    quarantine.add(failure)
                    yield failure
        complaint = "; ".join(changed)
        if failed:
            complaint = f"; {complaint}" if complaint else ""
            failed.sort(key=lambda failure: failure.shard)
            raise Quarantined(describe_failures(failed, self.out) + complaint)
        if changed:
            raise Changed(complaint)

    def _compare(self, made: Made) -> Iterator[str]:
        """Say so when a shard made anew is not what it was."""
        sha256, versions = self._replaced.get(made.shard, (made.sha256, made.versions))
        if sha256 == made.sha256:
            return
        differing = [
            f"{name} {versions.get(name)} → {made.versions.get(name)}"
            for name in sorted({*versions, *made.versions})
            if versions.get(name) != made.versions.get(name)
        ]
        yield (
            f"shard {made.shard} has other bytes than before (sha256 {sha256[:12]} → "
            f"{made.sha256[:12]}; {', '.join(differing) or 'the same versions'}): either the old "
            "one was damaged or the other shards are by other versions too; compare with "
            "nonpareil shards verify"
        )


def make(packed: Packed, index: int, out: str) -> Made | Failed:
    """Make one shard inside a worker; the job's heavy state stays warm in the process."""
    return attempt(lambda: unpack(*packed).make_shard(index, open_store(out)))


def attempt(work: Callable[[], Sidecar]) -> Made | Failed:
    """Do `work`; return its error as a fault unless it is one that a user can mend.

    A store that does not answer may do so later: that is a fault like others.

    Raises:
        UserError: as `work` raised it.
        OSError: when the disk is full.
    """
    start = time.monotonic()
    try:
        made = work()
    except Exception as error:
        if isinstance(error, UserError) and not isinstance(error, StoreError):
            raise
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            raise
        return Failed(f"{type(error).__name__}: {error}", traceback.format_exc())
    return Made(
        shard=made.shard,
        sha256=made.sha256,
        versions=made.versions,
        totals=Totals.of([made]),
        seconds=time.monotonic() - start,
    )


def _inline(job: Job, out: Store, queue: Queue, workers: int) -> Outcomes:
    del workers  # one at a time, whatever was asked
    while queue.waiting:
        index = queue.waiting.popleft()
        yield index, attempt(lambda index=index: job.make_shard(index, out))


def _processes(job: Job, out: Store, queue: Queue, workers: int) -> Outcomes:
    slots = min(workers or cores(), len(queue.waiting))
    if slots <= 1:
        yield from _inline(job, out, queue, slots)
        return
    packed = pack(job)
    running: dict[Future[Made | Failed], int] = {}
    pool = _new_pool(slots)
    try:
        while queue.waiting or running:
            broken = False
            while not broken and _may_start(queue, running, slots):
                try:
                    future = pool.submit(make, packed, queue.waiting[0], str(out))
                    running[future] = queue.waiting.popleft()
                except BrokenProcessPool:
                    broken = True
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            if broken or any(isinstance(f.exception(), BrokenProcessPool) for f in done):
                # One dead worker fails everything in flight, finished results excepted.
                done, _ = wait(running)
                pool.shutdown()
                pool = _new_pool(slots)
            for future in done:
                index = running.pop(future)
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    outcome = Lost()
                yield index, outcome
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _may_start(queue: Queue, running: dict[Future[Any], int], slots: int) -> bool:
    """Is there a shard to start, and room for it? One that lost several processes runs alone."""
    if not queue.waiting or len(running) >= slots * TASKS_PER_SLOT:
        return False
    together = [queue.waiting[0], *running.values()]
    return not running or all(queue.losses[index] <= LOSSES_BEFORE_ALONE for index in together)


def _new_pool(slots: int) -> ProcessPoolExecutor:
    # Spawned, not forked: a fork copies locks that OpenCV and onnxruntime threads may hold.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(slots, mp_context=context, initializer=_start_worker)


def _start_worker() -> None:
    import cv2

    cv2.setNumThreads(1)  # one process a core already; threads on top only fight
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver; it ends the pool
    threading.Thread(target=end_with_parent, daemon=True).start()


def _ray(job: Job, out: Store, queue: Queue, workers: int) -> Outcomes:
    ray = connect(Needs({str(out): NOTE}))
    # Ray's own retries are off: it would try a shard that eats all memory again without end.
    task = ray.remote(num_cpus=1, max_retries=0)(make)
    errors = ray.exceptions
    lost = (
        errors.WorkerCrashedError,
        errors.OutOfMemoryError,
        errors.NodeDiedError,
        errors.ObjectLostError,
    )
    packed, running, slots, counted = pack(job), dict[Any, int](), workers, -SLOTS_SECONDS
    try:
        while queue.waiting or running:
            if not workers and time.monotonic() - counted > SLOTS_SECONDS:
                slots, counted = int(ray.cluster_resources().get("CPU", 1)), time.monotonic()
            while queue.waiting and len(running) < max(1, slots) * TASKS_PER_SLOT:
                index = queue.waiting.popleft()
                running[task.remote(packed, index, str(out))] = index
            done, _ = ray.wait(list(running), timeout=SLOTS_SECONDS)
            for finished in done:
                index = running.pop(finished)
                try:
                    outcome = ray.get(finished)
                except lost:
                    outcome = Lost()
                yield index, outcome
    except errors.RayTaskError as error:
        raise error.cause or error from None
    # What is in flight is not cancelled when a run ends early: it goes with the driver, or becomes
    # a finished shard. `ray.cancel` of a task that ends at that moment aborts the driver (Ray
    # 2.60: "Tried to complete task that was not pending").


_MAKERS: dict[str, Callable[[Job, Store, Queue, int], Outcomes]] = {
    "inline": _inline,
    "processes": _processes,
    "ray": _ray,
}
