"""The Ray cluster, seen from inside the driver, where a run with `--engine ray` begins.

Is there a cluster, is it the same Ray, has every node what the job needs. Each fault is one line
that says what to do; `nonpareil preflight` looks from the shell that submits the driver, and has a
job of its own look from inside.
"""

import importlib
import os
import socket
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

from shards.dataset import Dataset
from shards.errors import UserError
from shards.outputs import folder_for
from shards.places import places_in
from shards.settings import Settings
from shards.store import Folder, Store, open_store

ANSWER_SECONDS = 5.0
"""How long a head may take to accept a connection (our choice)."""

NODE_SECONDS = 60.0
"""How long the nodes may take to start a worker each (our choice: importing torch takes ten)."""


def require_shared(place: Store, option: str = "--out") -> None:
    """Check that a path means the same in a Ray job as here.

    Raises:
        UserError: for a relative folder.
    """
    if isinstance(place, Folder) and not place.path.is_absolute():
        raise UserError(
            f"{option} {place}: with --engine ray give an absolute path that every node sees; "
            "a Ray job runs in a temporary copy of the working directory"
        )


def require_all_shared(settings: Settings) -> None:
    """Check every place that settings name, as `require_shared` does.

    Raises:
        UserError: for the first that is relative.
    """
    for key, place in places_in(settings).items():
        require_shared(open_store(place), key)


def first_shard(place: Store) -> dict[str, str]:
    """Return what a node must see of a dataset: its store, and the sidecar of one shard.

    Raises:
        UserError: when there is no shard.
    """
    dataset = Dataset(place)
    if not dataset.names:
        raise dataset.nothing()
    return {str(place): dataset.names[0]}


class Needs(NamedTuple):
    """What a job needs of each node of its cluster.

    `seen` maps places, as `open_store` takes them, to the name of a file that must be there;
    `torch` is a version, empty where nobody imports it; `gpu` restricts the look to nodes that Ray
    says have GPUs, which torch must see too.
    """

    seen: Mapping[str, str]
    torch: str = ""
    gpu: bool = False


def connect(needs: Needs) -> Any:
    """Connect this driver to its cluster, or start one here, and return the `ray` module.

    Raises:
        UserError: when Ray is missing, the cluster does not answer, is of another version or asks
            for a token, or a node has not what the job needs.
    """
    try:
        ray: Any = importlib.import_module("ray")  # untyped: Ray's own stubs are partial
    except ImportError as error:
        raise UserError("--engine ray: Ray is missing; pip install 'nonpareil[ray]'") from error
    if not ray.is_initialized():
        join(ray, os.environ.get("RAY_ADDRESS", ""))
    require_nodes(ray, needs)
    return ray


def require_nodes(ray: Any, needs: Needs) -> None:
    """Check that no node lacks what a job needs.

    Raises:
        UserError: naming the first one that does.
    """
    if lacking := lacking_nodes(ray, needs):
        raise UserError(
            f"{len(lacking)} of the cluster's nodes cannot work on this ({lacking[0]}); give paths "
            "or URLs that every node sees, and each our package, its versions and credentials"
        )


@contextmanager
def seen_by_nodes(ray: Any, out: Store) -> Generator[None, None, None]:
    """Check that each node sees an output, for what follows; a folder is made for it.

    Raises:
        UserError: when one does not.
    """
    token = f"preflight-{uuid4().hex}"
    with folder_for(out):
        out.replace(token, b"")
        try:
            require_nodes(ray, Needs({str(out): token}))
        finally:
            out.delete(token)
        yield


def join(ray: Any, address: str) -> None:
    """Connect this driver to the head at a RAY_ADDRESS, or start a cluster here.

    Raises:
        UserError: when the head does not answer, is of another version or asks for a token.
    """
    require_head(address)
    denied = ray.exceptions.AuthenticationError
    try:
        ray.init(log_to_driver=False)
    except (denied, ConnectionError) as error:
        # Ray puts the traceback of a refused call into the text of another error.
        if isinstance(error, denied) or denied.__name__ in str(error.__cause__):
            raise UserError(
                "the cluster asks for a token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN for the "
                "driver, or start the head with RAY_AUTH_MODE=disabled"
            ) from error
        raise UserError(
            f"no Ray cluster at RAY_ADDRESS={address}; ray start --head, or unset it to start one "
            "for this run"
        ) from error
    except RuntimeError as error:
        if not str(error).startswith("Version mismatch"):
            raise
        raise UserError(
            f"{error}; give every node and the driver the same Ray and Python"
        ) from error


def require_head(address: str) -> None:
    """Check that something listens at a RAY_ADDRESS; Ray itself would try for a minute.

    Raises:
        UserError: when it is not an address of a head, or nobody answers.
    """
    if address in ("", "auto", "local"):
        return
    parts = urlsplit(address if "://" in address else f"ray://{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme != "ray" or not host or not port:
        raise UserError(
            f"RAY_ADDRESS={address} is not a head; give HOST:6379 or auto (http://HOST:8265 is the "
            "job server, for ray job submit)"
        )
    try:
        socket.create_connection((host, port), ANSWER_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"nothing answers at RAY_ADDRESS={address} ({error.strerror or error}); ray start "
            "--head, or unset it to start one for this run"
        ) from error


def lacking_nodes(ray: Any, needs: Needs) -> list[str]:
    """Ask each node, on the node itself, what it lacks; describe those that lack anything.

    Nodes that die meanwhile or are too busy to answer are not counted: a run survives those.
    """
    place: Any = importlib.import_module("ray.util.scheduling_strategies")
    asked: dict[Any, str] = {}
    for node in working_nodes(ray, gpu=needs.gpu):
        # A GPU is taken for the moment, or Ray would hide all of them from the task.
        task = ray.remote(num_cpus=0, num_gpus=int(needs.gpu), max_retries=0)(lacks)
        only = place.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        answer = task.options(scheduling_strategy=only).remote(needs)
        asked[answer] = node["NodeManagerAddress"]
    answered, _ = ray.wait(list(asked), num_returns=max(1, len(asked)), timeout=NODE_SECONDS)
    lacking: list[str] = []
    for answer in answered:
        try:
            lack = ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            lack = str(error.cause or str(error).splitlines()[-1])
        except ray.exceptions.RayError:
            continue
        if lack:
            lacking.append(f"{asked[answer]}: {lack}")
    return lacking


def working_nodes(ray: Any, *, gpu: bool = False) -> list[dict[str, Any]]:
    """List the nodes that are up and have cores, or GPUs, to work with."""
    kind = "GPU" if gpu else "CPU"
    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get(kind)]


def lacks(needs: Needs) -> str:
    """Say what this machine lacks, or nothing.

    Raises:
        UserError: for a place that cannot be looked at.
    """
    for place, name in needs.seen.items():
        if not open_store(place).exists(name):
            return f"{place}/{name} is not there"
    if needs.torch and (held := _torch_here()) != needs.torch:
        return f"it has torch {held}, the driver {needs.torch}"
    if needs.gpu and not importlib.import_module("torch").cuda.is_available():
        return "its torch sees no GPU"
    return ""


def _torch_here() -> str:
    try:
        return version("torch")
    except PackageNotFoundError:
        return "not installed"
