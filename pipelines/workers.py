"""Map a job's shard function over shard indices: here, over local processes, or on a Ray cluster.

Every engine runs the same function and writes the same bytes. A shard is finished when its
sidecar exists, so any run can be killed and started again; finished shards are skipped.

An engine yields what came of each attempt and takes the next index from a shared queue; one loop
decides for all of them what is tried again. What a user can mend (`UserError`, a full disk) stops
the run at once; any other error costs the shard one of its attempts, and then its place.
"""

import importlib
import multiprocessing
import os
import signal
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from pipelines.jobs import Job, open_output, pack, remaining, unpack
from pipelines.quarantine import Failure, Quarantine, Quarantined, describe_failures
from shards import Sidecar, Store, StoreError, UserError, open_store
from shards.console import FULL_DISK
from shards.store import Folder, Where

TASKS_PER_SLOT = 2
"""Shard tasks in flight for each worker slot: one running, one ready to start."""

ATTEMPTS = 3
"""How often a shard may fail by an error of its own before it is quarantined."""

SYSTEM_RETRIES = 20
"""How often a shard may be started again after it lost its worker or node."""

LOSSES_BEFORE_ALONE = 2
"""A shard that lost its process more often runs alone: whoever kills it is then known."""

Packed = tuple[type[Job], str]


@dataclass(frozen=True, slots=True)
class Fault:
    """One attempt that failed, as text, since not every exception survives being sent.

    `final` when the shard has been tried often enough already.
    """

    error: str
    traceback: str = ""
    final: bool = False


Outcomes = Generator[tuple[int, Sidecar | Fault], None, None]


def run_job(
    job: Job, out: Where, *, engine: str = "processes", workers: int = 0
) -> Iterator[Sidecar]:
    """Make the missing shards of a job and yield each sidecar as it is finished.

    Args:
        job: what to make.
        out: folder or bucket of the shards; with Ray, one that every node sees under this name.
        engine: `inline`, `processes`, or `ray`.
        workers: how many shards at a time; 0 takes every core (or slot of the cluster).

    Raises:
        UserError: when the output belongs to another recipe, or the first one of any shard.
        Quarantined: at the end, when shards failed too often; the others are finished.
    """
    store = open_store(out)
    if engine == "ray" and isinstance(store, Folder) and not store.path.is_absolute():
        raise UserError(
            f"--out {out}: with --engine ray give an absolute path that every node sees; "
            "a Ray job runs in a temporary copy of the working directory"
        )
    if engine not in ENGINES:
        raise UserError(f"--engine {engine} is not one of {', '.join(ENGINES)}")
    missing = remaining(job, open_output(job, store))
    return _attempts(job, store, engine, deque(missing), workers)


def _attempts(
    job: Job, out: Store, engine: str, waiting: deque[int], workers: int
) -> Iterator[Sidecar]:
    """Yield what an engine makes; send what fails back to it, or into quarantine."""
    quarantine, tries, failed = Quarantine(out), Counter[int](), list[Failure]()
    with closing(ENGINES[engine](job, out, waiting, workers)) as outcomes:
        for index, outcome in outcomes:
            tries[index] += 1
            if isinstance(outcome, Sidecar):
                quarantine.release(index)
                yield outcome
            elif outcome.final or tries[index] >= ATTEMPTS:
                failed.append(
                    Failure(
                        shard=index,
                        attempts=tries[index],
                        error=outcome.error,
                        traceback=outcome.traceback,
                    )
                )
                quarantine.add(failed[-1])
            else:
                waiting.append(index)
    if failed:
        raise Quarantined(describe_failures(sorted(failed, key=lambda f: f.shard), out))


def make(packed: Packed, index: int, out: str) -> Sidecar | Fault:
    """Make one shard inside a worker; the job's heavy state stays warm in the process."""
    return attempt(lambda: unpack(*packed).make_shard(index, open_store(out)))


def attempt(work: Callable[[], Sidecar]) -> Sidecar | Fault:
    """Do `work`; return its error as a fault unless it is one that a user can mend.

    A store that does not answer may do so later: that is a fault like others.

    Raises:
        UserError: as `work` raised it.
        OSError: when the disk is full.
    """
    try:
        return work()
    except Exception as error:
        if isinstance(error, UserError) and not isinstance(error, StoreError):
            raise
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            raise
        return Fault(f"{type(error).__name__}: {error}", traceback.format_exc())


def _inline(job: Job, out: Store, waiting: deque[int], workers: int) -> Outcomes:
    del workers  # one at a time, whatever was asked
    while waiting:
        index = waiting.popleft()
        yield index, attempt(lambda index=index: job.make_shard(index, out))


def _processes(job: Job, out: Store, waiting: deque[int], workers: int) -> Outcomes:
    slots = min(workers or os.cpu_count() or 1, len(waiting))
    if slots <= 1:
        yield from _inline(job, out, waiting, slots)
        return
    packed, losses = pack(job), Counter[int]()
    running: dict[Future[Sidecar | Fault], int] = {}
    pool = _new_pool(slots)
    try:
        while waiting or running:
            broken = False
            while not broken and _may_start(waiting, running, losses, slots):
                try:
                    future = pool.submit(make, packed, waiting[0], str(out))
                    running[future] = waiting.popleft()
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
                    yield index, future.result()
                except BrokenProcessPool:
                    losses[index] += 1
                    if losses[index] > SYSTEM_RETRIES:
                        yield index, _lost(losses[index])
                    else:
                        waiting.append(index)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _may_start(
    waiting: deque[int], running: dict[Future[Any], int], losses: Counter[int], slots: int
) -> bool:
    """Is there a shard to start, and room for it? One that lost several processes runs alone."""
    if not waiting or len(running) >= slots * TASKS_PER_SLOT:
        return False
    together = [waiting[0], *running.values()]
    return not running or all(losses[index] <= LOSSES_BEFORE_ALONE for index in together)


def _lost(times: int) -> Fault:
    return Fault(
        f"its worker died {times} times, as one that needs more memory than there is", final=True
    )


def _new_pool(slots: int) -> ProcessPoolExecutor:
    # Spawned, not forked: a fork copies locks that OpenCV and onnxruntime threads may hold.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(slots, mp_context=context, initializer=_start_worker)


def _start_worker() -> None:
    import cv2

    cv2.setNumThreads(1)  # one process a core already; threads on top only fight
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver; it ends the pool


def _ray(job: Job, out: Store, waiting: deque[int], workers: int) -> Outcomes:
    try:
        ray: Any = importlib.import_module("ray")  # untyped: Ray's own stubs are partial
    except ImportError as error:
        raise UserError("--engine ray: Ray is missing; pip install 'nonpareil[ray]'") from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    slots = workers or int(ray.cluster_resources().get("CPU", 1))
    task = ray.remote(num_cpus=1, max_retries=SYSTEM_RETRIES)(make)
    lost = (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError)
    packed, running = pack(job), dict[Any, int]()
    try:
        while waiting or running:
            while waiting and len(running) < slots * TASKS_PER_SLOT:
                index = waiting.popleft()
                running[task.remote(packed, index, str(out))] = index
            done, _ = ray.wait(list(running))
            index = running.pop(done[0])
            try:
                outcome = ray.get(done[0])
            except lost:
                outcome = _lost(SYSTEM_RETRIES + 1)
            yield index, outcome
    except ray.exceptions.RayTaskError as error:
        raise error.cause or error from None
    finally:
        for unfinished in running:
            ray.cancel(unfinished)


ENGINES: dict[str, Callable[[Job, Store, deque[int], int], Outcomes]] = {
    "inline": _inline,
    "processes": _processes,
    "ray": _ray,
}
