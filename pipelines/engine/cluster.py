"""The Ray cluster, seen from inside the driver, where a run with `--engine ray` begins.

Is there a cluster, is it the same Ray, does every node see the output. Each fault is one line that
says what to do; `nonpareil preflight` looks from the shell that submits the driver.
"""

import importlib
import os
import socket
from typing import Any
from urllib.parse import urlsplit

from pipelines.recipe import NOTE
from shards.errors import UserError
from shards.store import Folder, Store, Where, open_store

ANSWER_SECONDS = 5.0
"""How long a head may take to accept a connection (our choice)."""

NODE_SECONDS = 60.0
"""How long the nodes may take to start a worker each (our choice: importing torch takes ten)."""


def require_shared(out: Store) -> None:
    """Check that a path means the same in a Ray job as here.

    Raises:
        UserError: for a relative folder.
    """
    if isinstance(out, Folder) and not out.path.is_absolute():
        raise UserError(
            f"--out {out}: with --engine ray give an absolute path that every node sees; "
            "a Ray job runs in a temporary copy of the working directory"
        )


def connect(out: Store) -> Any:
    """Connect this driver to its cluster, or start one here, and return the `ray` module.

    Raises:
        UserError: when Ray is missing, the cluster does not answer, is of another version or asks
            for a token, or a node does not see `out`.
    """
    try:
        ray: Any = importlib.import_module("ray")  # untyped: Ray's own stubs are partial
    except ImportError as error:
        raise UserError("--engine ray: Ray is missing; pip install 'nonpareil[ray]'") from error
    if not ray.is_initialized():
        _join(ray, os.environ.get("RAY_ADDRESS", ""))
    _require_seen(ray, out)
    return ray


def _join(ray: Any, address: str) -> None:
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


def _require_seen(ray: Any, out: Store) -> None:
    """Ask every node, on the node itself, whether it sees the recipe that lies in `out`."""
    blind = blind_nodes(ray, out)
    if blind:
        raise UserError(
            f"{len(blind)} of the cluster's nodes cannot work on {out} ({blind[0]}); give a path "
            "or URL that every node sees, and our package and credentials on each"
        )


def blind_nodes(ray: Any, out: Store) -> list[str]:
    """Describe the nodes that do not see `out`, or cannot even import what looks for it.

    Nodes that die meanwhile or are too busy to answer are not counted: a run survives those.
    """
    place: Any = importlib.import_module("ray.util.scheduling_strategies")
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    task = ray.remote(num_cpus=0, max_retries=0)(sees)
    asked = {
        task.options(
            scheduling_strategy=place.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(str(out)): node["NodeManagerAddress"]
        for node in nodes
    }
    answered, _ = ray.wait(list(asked), num_returns=max(1, len(asked)), timeout=NODE_SECONDS)
    blind: list[str] = []
    for answer in answered:
        try:
            if not ray.get(answer):
                blind.append(f"{asked[answer]}: it is not there")
        except ray.exceptions.RayTaskError as error:
            blind.append(f"{asked[answer]}: {error.cause or str(error).splitlines()[-1]}")
        except ray.exceptions.RayError:
            continue
    return blind


def sees(out: Where) -> bool:
    """Is the recipe of an output visible from this process?"""
    return open_store(out).exists(NOTE)
