"""`nonpareil train --engine ray`: ranks as workers of Ray Train, on any nodes of a cluster.

The output is the truth: ranks go on from the newest checkpoint in it, whatever Ray remembers, and
Ray gets metrics and no checkpoints. When a worker or its node dies, this driver starts all of them
again, with as many ranks as the cluster has room for and the stages can be shared by. A node that
is about to be taken away makes all save at once.
"""

from __future__ import annotations

import importlib
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version
from itertools import chain
from typing import TYPE_CHECKING, Any

from rich.console import Console

from pipelines.engine.cluster import (
    Needs,
    connect,
    first_shard,
    require_all_shared,
    require_shared,
    seen_by_nodes,
)
from pipelines.training import Training, shown
from shards.errors import UserError
from shards.signals import asked_to_end
from shards.store import Places, Store, each_of, open_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipelines.engine.ranks import Tell
    from shards.signals import Asked

DEATHS = 3
"""How often ranks may die in a row without a new checkpoint (our choice: what dies so often dies of
the run itself)."""

ROOM_S, OTHER_ROOM_S = 60.0, 5.0
"""How long a driver waits for room for as many ranks as it may use, as an autoscaler needs to add a
node, and then for each smaller number (our choice)."""

TOLD = ("n", "step", "total", "images_per_second")
"""What Ray is given of a row of metrics."""

ASKED_S = 0.1
"""How often the driver looks whether it was asked to end; `ray job stop` kills it after 3 seconds,
or the RAY_JOB_STOP_WAIT_TIME_S of the job's environment."""

POLL_S, REPORT_S = 5.0, 60.0
"""How often ranks ask whether a node is about to be taken away, and give Ray a row of metrics. Both
make all ranks wait for each other, so a thread beside the training does it: called in each step of
half a second they stretched it to two."""


def train_on_ray(training: Training, least: int, largest: int) -> str:
    """Train with `least` to `largest` workers of a Ray cluster and return the last checkpoint.

    Raises:
        UserError: as `vae.fit`; for a relative path; when a node has not what the run needs; when
            ranks die again and again without a new checkpoint.
        KeyboardInterrupt: after Ctrl-C, when all have saved.
        SystemExit: with code 143 after SIGTERM, as of `ray job stop`, likewise.
    """
    from vae.training.checkpoint import published

    out = open_store(training.out)
    require_shared(out)
    require_all_shared(training.settings)
    if training.settings.init not in (None, *published()):
        require_shared(open_store(training.settings.init), "init")
    streams = [*_stores(training.streams), *_stores(training.watched)]
    for stream in streams:
        require_shared(stream, "--stream and --watch")
    allowed = worlds(training, least, largest)
    seen = {place: name for stream in streams for place, name in first_shard(stream).items()}
    ray = connect(Needs(seen, version("torch"), gpu=training.device == "cuda"))
    with seen_by_nodes(ray, out), ExitStack() as stack:
        train = importlib.import_module("ray.train")
        rows, orders = (stack.enter_context(_queue()) for _ in range(2))
        # Nothing is kept there; Ray wants a place.
        place = stack.enter_context(tempfile.TemporaryDirectory(prefix="nonpareil-ray-"))
        stack.enter_context(_following(rows, stack.enter_context(shown(training))))
        deaths = 0
        while True:
            world = _with_room(ray, training, allowed)
            before = _newest(out)
            try:
                returned = _trained(_trainer(training, world, rows, orders, place), orders)
            except train.TrainingFailedError as error:
                _raise_mistake(error)
                deaths = 1 if _newest(out) != before else deaths + 1
                if deaths == DEATHS:
                    sys.stderr.write(f"{error}\n")
                    raise UserError(
                        f"ranks died {DEATHS} times without a new checkpoint in {out}, the last "
                        "time as told above; look at the memory of the nodes and the logs of Ray"
                    ) from error
                _say(f"a rank died; going on from {_newest(out) or 'the start'}")
                continue
            if returned:
                return returned
            _say(f"a node is about to be taken away; going on from {_newest(out)}")


def _stores(places: Mapping[str, Places]) -> Iterator[Store]:
    """Yield the folders and buckets; tars behind URLs every node fetches by itself."""
    from vae.data.unindexed import is_unindexed

    for place in chain.from_iterable(map(each_of, places.values())):
        if not is_unindexed(place):
            yield open_store(place)


def worlds(training: Training, least: int, largest: int) -> list[int]:
    """List the numbers of ranks that can share every stage, the largest first.

    Raises:
        UserError: when there is none.
    """
    allowed: list[int] = []
    for world in range(largest, least - 1, -1):
        with suppress(UserError):
            training.check_shared(world)
            allowed.append(world)
    if not allowed:
        training.check_shared(largest)
    return allowed


def bundle(training: Training) -> dict[str, float]:
    """Return what one worker takes: a core, one for each process that loads, and a GPU."""
    cores = {"CPU": 1.0 + training.loaders}
    return cores | {"GPU": 1.0} if training.device == "cuda" else cores


def _with_room(ray: Any, training: Training, allowed: Sequence[int]) -> int:
    """Return the largest allowed number that the cluster has room for, when it has for any.

    A single one is left to Ray, which waits by itself.
    """
    groups: Any = importlib.import_module("ray.util")
    if len(allowed) == 1:
        return allowed[0]
    while True:
        for world in allowed:
            # It also tells an autoscaler what is wanted.
            group = groups.placement_group([bundle(training)] * world)
            room = group.wait(ROOM_S if world == allowed[0] else OTHER_ROOM_S)
            groups.remove_placement_group(group)
            if room:
                return world
        have = {name: int(ray.cluster_resources().get(name, 0)) for name in bundle(training)}
        _say(f"no room yet for {allowed[-1]} ranks: the cluster has {have}")


def _trained(trainer: Any, orders: Any) -> str:
    """Wait for what rank 0 returns; tell it when this process is asked to end, and then end.

    Raises:
        TrainingFailedError: when a rank died.
        KeyboardInterrupt, SystemExit: as asked, when all ranks have saved or died.
    """
    fitting = Future[Any]()

    def fit() -> None:
        try:
            fitting.set_result(trainer.fit())
        except Exception as error:
            fitting.set_exception(error)

    with asked_to_end() as asked:
        # Not in the main thread, where Ray would answer Ctrl-C itself and end the ranks.
        threading.Thread(target=fit, daemon=True).start()
        told = False
        while not wait([fitting], ASKED_S).done:
            if asked.by is not None and not told:
                told = True
                orders.put(asked.by)
        if told and (fitting.exception() or not fitting.result().return_value):
            asked.end()
        return fitting.result().return_value


def _trainer(training: Training, world: int, rows: Any, orders: Any, place: str) -> Any:
    train: Any = importlib.import_module("ray.train")
    torch: Any = importlib.import_module("ray.train.torch")
    gpu = training.device == "cuda"
    return torch.TorchTrainer(
        _rank,
        train_loop_config={"training": training, "rows": rows, "orders": orders},
        torch_config=torch.TorchConfig(backend="cpu:gloo,cuda:nccl" if gpu else "gloo"),
        scaling_config=train.ScalingConfig(
            num_workers=world, use_gpu=gpu, resources_per_worker=bundle(training)
        ),
        run_config=train.RunConfig(
            storage_path=place,
            failure_config=train.FailureConfig(max_failures=0, max_preemption_failures=0),
            logging_config=train.LoggingConfig(log_level="ERROR"),
        ),
    )


def _rank(config: dict[str, Any]) -> str:
    """Be one worker. Returns the last checkpoint, or "" where all saved because they were asked."""
    import torch

    from shards.signals import Asked
    from vae.training.ranks import Ranks

    train: Any = importlib.import_module("ray.train")
    training, rows, context = config["training"], config["rows"], train.get_context()
    device = training.device
    if device == "cuda":
        device = str(importlib.import_module("ray.train.torch").get_device())
    else:
        torch.set_num_threads(1)
    ranks = Ranks.join(context.get_world_rank(), context.get_world_size(), None, device=device)
    asked, latest = Asked(), dict[str, Any]()

    def tell(row: dict[str, Any]) -> None:
        latest.update({name: row[name] for name in TOLD if name in row})
        with suppress(Exception):  # who shows it may be gone; the training is not
            rows.put_nowait(row)

    def obey() -> None:
        with suppress(Exception):  # the driver has ended
            asked.by = config["orders"].get()

    for work in (lambda: _look_out(train, asked, latest), *([] if ranks.rank else [obey])):
        threading.Thread(target=work, daemon=True).start()
    try:
        return training.fit(ranks, tell, asked)
    except (SystemExit, KeyboardInterrupt):
        return ""


def _look_out(train: Any, asked: Asked, latest: dict[str, Any]) -> None:
    """Ask again and again whether a node is about to be taken away; give Ray metrics."""
    reported = time.monotonic()
    # A thread of a worker that ends, or has lost the others, ends with an error of Ray's.
    with suppress(Exception):
        while True:
            time.sleep(POLL_S)
            due = bool(latest) and time.monotonic() - reported > REPORT_S
            row = train.collective.broadcast_from_rank_zero(dict(latest) if due else None)
            if row:
                reported = time.monotonic()
                train.report(row)
            if train.get_preemption_info() is not None:
                asked.by = signal.SIGTERM


@contextmanager
def _queue() -> Generator[Any, None, None]:
    """Give a queue that every process of the job sees."""
    queue = importlib.import_module("ray.util.queue").Queue(actor_options={"num_cpus": 0})
    try:
        yield queue
    finally:
        queue.shutdown()


@contextmanager
def _following(rows: Any, show: Tell) -> Generator[None, None, None]:
    """Show what rank 0 tells, while the driver waits for Ray."""
    empty: Any = importlib.import_module("ray.util.queue").Empty
    done = threading.Event()

    def follow() -> None:
        while not done.is_set():
            with suppress(empty):
                show(rows.get(timeout=1.0))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(5.0)


def _raise_mistake(error: Any) -> None:
    """Raise the first mistake of a user among what ended the ranks; not that others were lost."""
    from vae.training.ranks import RankLost

    for _, failure in sorted(getattr(error, "worker_failures", {}).items()):
        if isinstance(failure, UserError) and not isinstance(failure, RankLost):
            raise failure


def _newest(out: Store) -> str:
    """Name the newest checkpoint, "" where there is none."""
    from vae.training.checkpoint import checkpoints

    names = checkpoints(out)
    return names[-1] if names else ""


def _say(line: str) -> None:
    Console(stderr=True).print(f"train: {line}", highlight=False, soft_wrap=True)
