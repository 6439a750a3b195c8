"""Map a job's shard function over shard indices: here, over local processes, or on a Ray cluster.

Every engine runs the same function and writes the same bytes. A shard is finished when its
sidecar exists, so any run can be killed and started again; finished shards are skipped.
"""

import importlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

from pipelines.jobs import Job, open_output, pack, remaining, unpack
from shards import Sidecar, UserError

TASKS_PER_SLOT = 2
"""Shard tasks in flight for each worker slot: one running, one ready to start."""

SYSTEM_RETRIES = 20
"""How often Ray may start a shard again after it lost the worker or the node."""

Packed = tuple[str, str]


def run_job(
    job: Job, out: Path, *, engine: str = "processes", workers: int = 0
) -> Iterator[Sidecar]:
    """Make the missing shards of a job and yield each sidecar as it is finished.

    Args:
        job: what to make.
        out: folder of the shards; with Ray, one that every node sees under this path.
        engine: `inline`, `processes`, or `ray`.
        workers: how many shards at a time; 0 takes every core (or slot of the cluster).

    Raises:
        UserError: when the output belongs to another recipe, or the first fault of any shard.
    """
    if engine == "ray" and not out.is_absolute():
        raise UserError(
            f"--out {out}: with --engine ray give an absolute path that every node sees; "
            "a Ray job runs in a temporary copy of the working directory"
        )
    if engine not in ENGINES:
        raise UserError(f"--engine {engine} is not one of {', '.join(ENGINES)}")
    missing = remaining(job, open_output(job, out))
    return ENGINES[engine](job, out, missing, workers)


def make(packed: Packed, index: int, folder: str) -> Sidecar:
    """Make one shard inside a worker; the job's heavy state stays warm in the process."""
    return unpack(*packed).make_shard(index, Path(folder))


def _inline(job: Job, out: Path, indices: Sequence[int], workers: int) -> Iterator[Sidecar]:
    del workers  # one at a time, whatever was asked
    for index in indices:
        yield job.make_shard(index, out)


def _processes(job: Job, out: Path, indices: Sequence[int], workers: int) -> Iterator[Sidecar]:
    slots = min(workers or os.cpu_count() or 1, len(indices))
    if slots <= 1:
        yield from _inline(job, out, indices, slots)
        return
    # Spawned, not forked: a fork copies locks that OpenCV and onnxruntime threads may hold.
    context = multiprocessing.get_context("spawn")
    packed = pack(job)
    pool = ProcessPoolExecutor(slots, mp_context=context, initializer=_start_worker)
    try:
        futures = {pool.submit(make, packed, index, str(out)) for index in indices}
        while futures:
            done, futures = wait(futures, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    import cv2

    cv2.setNumThreads(1)  # one process a core already; threads on top only fight
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver; it ends the pool


def _ray(job: Job, out: Path, indices: Sequence[int], workers: int) -> Iterator[Sidecar]:
    try:
        ray: Any = importlib.import_module("ray")  # untyped: Ray's own stubs are partial
    except ImportError as error:
        raise UserError("--engine ray: Ray is missing; pip install 'nonpareil[ray]'") from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    slots = workers or int(ray.cluster_resources().get("CPU", 1))
    task = ray.remote(num_cpus=1, max_retries=SYSTEM_RETRIES)(make)
    packed, waiting, running = pack(job), list(reversed(indices)), list[Any]()
    try:
        while waiting or running:
            while waiting and len(running) < slots * TASKS_PER_SLOT:
                running.append(task.remote(packed, waiting.pop(), str(out)))
            done, running = ray.wait(running)
            yield ray.get(done[0])
    except ray.exceptions.RayTaskError as error:
        raise error.cause or error from None
    finally:
        for unfinished in running:
            ray.cancel(unfinished)


ENGINES: dict[str, Callable[[Job, Path, Sequence[int], int], Iterator[Sidecar]]] = {
    "inline": _inline,
    "processes": _processes,
    "ray": _ray,
}
