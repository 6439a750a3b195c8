"""`nonpareil preflight`, also `python -m pipelines.preflight`: what would spoil a Ray job.

Two halves. The command looks from the shell that will submit: is the job server there, does it
want a token, is it the same Ray, would it take this working directory. `connect` looks from inside
the driver, where a run with `--engine ray` begins: cluster, versions, and whether every node sees
the output. Each fault is one line that says what to do.
"""

import importlib
import importlib.util
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import typer

from pipelines.options import JsonOption
from pipelines.recipe import NOTE
from shards.console import print_json, print_table, run_command
from shards.errors import UserError
from shards.store import Folder, Store, Where, open_store

JOB_SERVER = "http://127.0.0.1:8265"
"""Where `ray start --head` puts the job server unless told otherwise."""

ANSWER_SECONDS = 5.0
"""How long a head may take to accept a connection (our choice)."""

NODE_SECONDS = 60.0
"""How long the nodes may take to start a worker each (our choice: importing torch takes ten)."""


@dataclass(frozen=True, slots=True)
class Check:
    """What one look found; `note` says what to do where it is not `ok`."""

    check: str
    verdict: Literal["ok", "warning", "fault"]
    note: str


def preflight(
    *,
    address: Annotated[
        str, typer.Option(help="The job server, as for ray job submit.")
    ] = JOB_SERVER,
    working_dir: Annotated[Path, typer.Option(help="What would be submitted.")] = Path(),
    out: Annotated[str, typer.Option(help="The --out of the job.", show_default=False)] = "",
    as_json: JsonOption = False,
) -> None:
    """Check what would spoil a Ray job, before it is submitted; exit code 1 on a fault.

    Example: nonpareil preflight --out s3://bucket/pages
    """
    found = list(checks(address, working_dir, out))
    rows = [asdict(check) for check in found]
    print_json(*rows) if as_json else print_table("preflight", rows)
    raise typer.Exit(1 if any(check.verdict == "fault" for check in found) else 0)


def checks(address: str, working_dir: Path, out: str) -> Iterator[Check]:
    """Look at everything that can be seen from the shell that submits."""
    yield _check("ray", "fault", _ray_here)
    yield _check("python on the PATH", "fault", _python_on_path)
    yield _check("job server", "fault", lambda: _job_server(address))
    yield _check("working directory", "fault", lambda: _working_dir(working_dir))
    if out:
        yield _check("output", "fault", lambda: _output(out))
    yield _check("other heads", "warning", _heads)


def _check(name: str, bad: Literal["warning", "fault"], look: Callable[[], str]) -> Check:
    try:
        return Check(name, "ok", look())
    except UserError as error:
        return Check(name, bad, str(error))


def _ray_here() -> str:
    if importlib.util.find_spec("ray") is None:
        raise UserError("Ray is missing; pip install 'nonpareil[ray]'")
    return version("ray")


def _python_on_path() -> str:
    found = shutil.which("python")
    if not found:
        raise UserError("there is no `python` on the PATH, which the entrypoint of a job starts")
    asked = [found, "-c", "import ray, pydantic"]
    if subprocess.run(asked, capture_output=True, check=False).returncode:
        raise UserError(
            f"{found} has no Ray or not our dependencies, and a head started from here would run "
            f"jobs with it; export PATH={Path(sys.executable).parent}:$PATH before ray start"
        )
    return found


def _job_server(address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"--address {address}: give the job server, as {JOB_SERVER}")
    token = _token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        request = Request(f"{address.rstrip('/')}/api/version", headers=headers)
        with urlopen(request, timeout=ANSWER_SECONDS) as answer:
            theirs = str(json.load(answer)["ray_version"])
    except HTTPError as error:
        if error.code in (401, 403):
            raise UserError(
                f"{address} asks for a token; start the head with RAY_AUTH_MODE=disabled, or "
                "export RAY_AUTH_MODE=token here and give its token in RAY_AUTH_TOKEN or "
                "RAY_AUTH_TOKEN_PATH"
            ) from error
        raise UserError(f"{address} answers {error.code}: it is no job server of Ray") from error
    except (URLError, TimeoutError, ConnectionError) as error:
        raise UserError(
            f"nothing answers at {address}; ray start --head, or give --address"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{address} is no job server of Ray") from error
    ours = version("ray")
    if theirs != ours:
        raise UserError(f"{address} runs Ray {theirs}, this is {ours}; install the same")
    return f"{address}, Ray {theirs}"


def _token() -> str:
    """Return the token that `ray job submit` would send from this shell."""
    if os.environ.get("RAY_AUTH_MODE") != "token":
        return ""
    if token := os.environ.get("RAY_AUTH_TOKEN", ""):
        return token
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    return path.read_text().strip() if path.is_file() else ""


def _working_dir(folder: Path) -> str:
    """Zip the directory as Ray does, ignore files and all, and compare with its limit."""
    # Ray's own function, though private: only it knows what the upload will hold.
    packaging: Any = importlib.import_module("ray._private.runtime_env.packaging")
    if not folder.is_dir():
        raise UserError(f"--working-dir {folder} is not a folder")
    with tempfile.TemporaryDirectory() as place:
        target = Path(place) / "package.zip"
        quiet = logging.getLogger(__name__)
        quiet.setLevel(logging.ERROR)  # it names every ignore file it meets
        packaging.create_package(
            str(folder.resolve()), target, include_gitignore=True, logger=quiet
        )
        size = target.stat().st_size
    limit = int(packaging.GCS_STORAGE_MAX_SIZE)
    if size >= limit:
        raise UserError(
            f"{folder} is {size / 2**20:,.0f} MiB zipped, Ray takes less than "
            f"{limit / 2**20:,.0f}; name what the job does not need in .rayignore"
        )
    if not (folder / "pipelines").is_dir():
        raise UserError(f"{folder} holds no `pipelines`; submit the root of this repository")
    return f"{size / 2**20:,.1f} MiB zipped, limit {limit / 2**20:,.0f}"


def _output(out: str) -> str:
    require_shared(open_store(out))
    return out


def _heads() -> str:
    """Count the heads of this machine (where /proc is): `ray stop` ends every one of its user."""
    names = (_name_of(process) for process in Path("/proc").glob("[0-9]*"))
    heads = sum(name == "gcs_server" for name in names)
    if heads > 1:
        raise UserError(
            f"{heads} heads run on this machine and `ray stop` ends all of them; start yours with "
            "ray start --head --block and end it with Ctrl-C"
        )
    return f"{heads} on this machine"


def _name_of(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return ""  # ended meanwhile


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


if __name__ == "__main__":
    run_command(preflight)
