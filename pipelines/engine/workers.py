"""Map a job's shard function over shard indices: here, over local processes, or on a Ray cluster.

Every engine runs the same function and writes the same bytes. A shard is finished when its
sidecar exists, so any run can be killed and started again; finished shards are skipped.

An engine yields what came of each attempt and takes the next index from a shared queue; one loop
decides for all of them what is tried again.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Set
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from typing import Any

from pipelines.engine.attempts import (
    HERE,
    TASKS_PER_SLOT,
    Failed,
    Lost,
    Made,
    Outcomes,
    Queue,
    attempt,
    made_already,
    make,
)
from pipelines.engine.cluster import require_all_shared, require_shared
from pipelines.engine.jobs import Job, open_output, pack, tidy
from pipelines.engine.quarantine import Failure, Quarantine, Quarantined, describe_failures
from pipelines.engine.ranks import end_with_parent
from pipelines.engine.ray_tasks import run_on_ray
from pipelines.engine.run_options import RunOptions
from pipelines.engine.signs import Beat
from pipelines.engine.status import Status
from shards import Store, UserError, open_store
from shards.manifest import MANIFEST
from shards.store import Where
from shards.totals import Totals

LOSSES_BEFORE_ALONE = 2
"""A shard that lost its process more often runs alone: whoever kills it is then known."""


class Changed(UserError):
    """A shard was remade with other bytes; all shards are there. Exit code 1."""

    exit_code = 1


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
        to_make = options.to_make(job.count(), done)
        if Status.at_work(self.out):
            to_make.reverse()  # both make the same: so they meet once, and not at each shard
        self._queue = Queue(deque(to_make))
        self.nodes, self.signs = self._queue.nodes, self._queue.signs
        self.to_make = frozenset(self._queue.waiting)
        self.total = len(done.union(range(job.count())))
        if self.to_make:
            self.out.delete(MANIFEST)  # it will not describe what lies here

    def __iter__(self) -> Generator[Made | Failure, None, None]:
        """Make the shards; send what fails back to the engine, or into quarantine."""
        quarantine, failed, changed = Quarantine(self.out), list[Failure](), list[str]()
        make_all = _MAKERS[self.options.engine]
        outcomes = make_all(self.job, self.out, self._queue, self.options.workers)
        with closing(self.signs), closing(outcomes):
            for shard, outcome in outcomes:
                self.signs.end(shard)
                if isinstance(outcome, Made):
                    quarantine.release(shard)
                    changed += self._compare(outcome)
                    yield outcome
                elif failure := self._queue.judge(shard, outcome):
                    failed.append(failure)
                    quarantine.add(failure)
                    yield failure
        tidy(self.out)
        complaint = "; ".join(changed)
        if failed:
            complaint = f"; {complaint}" if complaint else ""
            failed.sort(key=lambda failure: failure.shard)
            raise Quarantined(describe_failures(failed, self.out) + complaint)
        if changed:
            raise Changed(complaint)

    def meanwhile(self, told: Set[int]) -> Iterator[Made]:
        """Yield the shards that were finished while a run ended early, but those told of."""
        for shard in sorted(self.to_make - told - {*self._queue.waiting}):
            if made := made_already(self.job, shard, self.out):
                yield made

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


def _inline(job: Job, out: Store, queue: Queue, workers: int) -> Outcomes:
    del workers  # one at a time, whatever was asked
    address = queue.signs.listen()
    while queue.waiting:
        index = queue.waiting.popleft()
        with Beat(address, HERE, index) as beat:
            made = attempt(lambda: job, index, out, beat)
        yield index, made


def _processes(job: Job, out: Store, queue: Queue, workers: int) -> Outcomes:
    slots = min(workers or cores(), len(queue.waiting))
    if slots <= 1:
        yield from _inline(job, out, queue, slots)
        return
    packed, address = pack(job), queue.signs.listen()
    running: dict[Future[Made | Failed], int] = {}
    pool = _new_pool(slots)
    try:
        while queue.waiting or running:
            broken = False
            while not broken and _may_start(queue, running, slots):
                try:
                    future = pool.submit(make, packed, queue.waiting[0], str(out), address)
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


_MAKERS: dict[str, Callable[[Job, Store, Queue, int], Outcomes]] = {
    "inline": _inline,
    "processes": _processes,
    "ray": run_on_ray,
}
