"""The Ray engine: each attempt at a shard is a task, on whatever node is free and fit for it.

Unlike processes of one machine, nodes differ: one may join late that does not see the output. What
a node cannot do is no fault of the shard, and `Nodes` decides where it is tried instead.
"""

import time
from typing import Any, NamedTuple

from pipelines.engine.attempts import (
    TASKS_PER_SLOT,
    Failed,
    Lost,
    Made,
    Outcomes,
    Packed,
    Queue,
    Unfit,
    make,
)
from pipelines.engine.cluster import Needs, connect, working_nodes
from pipelines.engine.jobs import Job, pack
from pipelines.engine.nodes import Nodes
from pipelines.engine.signs import Address
from shards import Store
from shards.console import full_disk
from shards.outputs import NOTE

SLOTS_SECONDS = 5.0
"""How often nodes and slots are counted again, since a cluster may grow and shrink."""

NODE_ID = "ray.io/node-id"
"""The label that Ray gives each node: its number."""


class Task(NamedTuple):
    """A task in flight: its shard, and the nodes that it must not run on."""

    shard: int
    avoided: frozenset[str]


def run_on_ray(job: Job, out: Store, queue: Queue, workers: int) -> Outcomes:
    """Make the shards of `queue`, `workers` at a time, or as many as the cluster has cores.

    Raises:
        UserError: as a shard raised it, or when no node is left that can work.
    """
    ray = connect(Needs({str(out): NOTE}))
    # Ray's own retries are off: it would try a shard that eats all memory again without end.
    task = ray.remote(num_cpus=1, max_retries=0)(make_on_node)
    errors = ray.exceptions
    lost = (
        errors.WorkerCrashedError,
        errors.OutOfMemoryError,
        errors.NodeDiedError,
        errors.ObjectLostError,
    )
    nodes, running = queue.nodes, dict[Any, Task]()
    address = queue.signs.listen(ray.util.get_node_ip_address())
    packed, slots, counted = pack(job), workers, -SLOTS_SECONDS
    while queue.waiting or running:
        if time.monotonic() - counted > SLOTS_SECONDS or nodes.working <= nodes.shunned.keys():
            cores, counted = _look(ray, nodes), time.monotonic()
            nodes.require_any(cores.keys())
            slots = workers or sum(cores[name] for name in cores.keys() - nodes.shunned.keys())
            for waiting in [it for it in running if cores and cores.keys() <= running[it].avoided]:
                # None of its nodes is left. It is not cancelled, for the reason below.
                queue.waiting.append(running.pop(waiting).shard)
        while queue.waiting and len(running) < max(1, slots) * TASKS_PER_SLOT:
            index = queue.waiting.popleft()
            avoided = nodes.avoided(index)
            elsewhere = task.options(label_selector=_without(nodes, avoided))
            started = elsewhere.remote(packed, index, str(out), address)
            running[started] = Task(index, avoided)
        done, _ = ray.wait(list(running), timeout=SLOTS_SECONDS)
        for finished in done:
            index = running.pop(finished).shard
            try:
                answer: tuple[str, Made | Failed | Unfit] = ray.get(finished)
            except lost:
                yield index, Lost()
                continue
            except errors.RayTaskError as error:
                raise error.cause or error from None
            number, outcome = answer
            if number not in nodes.names:
                _look(ray, nodes)
            node = nodes.names.get(number, number)
            if isinstance(outcome, Made):
                if not outcome.already:
                    nodes.made(index, node)
                yield index, outcome
                continue
            if isinstance(outcome, Unfit):
                nodes.shun(node, str(outcome))
            if isinstance(outcome, Unfit) or node in nodes.shunned:
                queue.waiting.append(index)  # it is no fault of the shard
                queue.signs.end(index)
                continue
            nodes.failed(index, node, outcome.error)
            yield index, outcome
    # What is in flight is not cancelled when a run ends early: it goes with the driver, or becomes
    # a finished shard. `ray.cancel` of a task that ends at that moment aborts the driver (Ray
    # 2.60: "Tried to complete task that was not pending").


def _look(ray: Any, nodes: Nodes) -> dict[str, int]:
    """Name each node that is up and has cores; return how many, by name."""
    cores: dict[str, int] = {}
    for node in working_nodes(ray):
        name = f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})"
        nodes.names[node["NodeID"]] = name
        cores[name] = int(node["Resources"]["CPU"])
    return cores


def _without(nodes: Nodes, avoided: frozenset[str]) -> dict[str, str]:
    """Select all nodes but some, as a task wants it said."""
    numbers = sorted(number for number, name in nodes.names.items() if name in avoided)
    return {NODE_ID: f"!in({','.join(numbers)})"} if numbers else {}


def make_on_node(
    packed: Packed, index: int, out: str, address: Address
) -> tuple[str, Made | Failed | Unfit]:
    """Make one shard inside a worker; return the number of its node, too."""
    import ray

    number: str = ray.get_runtime_context().get_node_id()
    try:
        return number, make(packed, index, out, address, number)
    except Unfit as error:
        return number, error
    except OSError as error:  # its disk is full; those of other nodes may not be
        return number, Unfit(full_disk(error))
