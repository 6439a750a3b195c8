"""`nonpareil preflight`, also `python -m pipelines.preflight`: what would spoil a Ray job.

It looks from the shell that will submit: is the job server there, does it want a token, is it the
same Ray, would it take this working directory. For a training job it then submits itself, to look
from every node: are streams and output there, is it the same torch, is there a GPU. Each fault is
one line that says what to do.
"""

import importlib
import importlib.util
import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import typer

from pipelines.engine.cluster import (
    ANSWER_SECONDS,
    Needs,
    first_shard,
    join,
    require_nodes,
    require_shared,
    seen_by_nodes,
    working_nodes,
)
from pipelines.engine.trial import try_out
from pipelines.options import JsonOption, places_by_name
from shards.console import in_one_line, print_json, print_table, run_command
from shards.errors import UserError
from shards.places import anywhere, here
from shards.store import Store, open_store

JOB_SERVER = "http://127.0.0.1:8265"
"""Where `ray start --head` puts the job server unless told otherwise."""


JOB_SECONDS = 180.0
"""How long the job that looks from every node may take (our choice: importing torch takes ten)."""


@dataclass(frozen=True, slots=True)
class Check:
    """What one look found; `note` says what to do where it is not `ok`."""

    check: str
    verdict: Literal["ok", "warning", "fault"]
    note: str


def preflight(
    *,
    address: Annotated[
        str, typer.Option(metavar="URL", help="The job server, as for ray job submit.")
    ] = JOB_SERVER,
    working_dir: Annotated[
        Path,
        typer.Option(
            parser=here("--working-dir"), metavar="DIR", help="The working directory of the job."
        ),
    ] = Path(),
    out: Annotated[
        Store | None,
        typer.Option(
            parser=anywhere("--out"),
            metavar="DIR|URL",
            help="The --out of the job.",
            show_default=False,
        ),
    ] = None,
    stream: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=DIR|URL", help="A --stream of a training job; every node must see it."
        ),
    ] = [],  # noqa: B006 - typer copies defaults
    device: Annotated[
        str, typer.Option(metavar="NAME", help="The --device of a training job.")
    ] = "cpu",
    inside: Annotated[bool, typer.Option("--inside", hidden=True)] = False,
    as_json: JsonOption = False,
) -> None:
    """Check what would spoil a Ray job before you submit it.

    Looks at Ray and Python here, the job server, the size of the working directory and the
    output; with --stream also from every node, by a small job. Each fault says what to do. Exit
    code 1 when there is one.

    \b
    Example: nonpareil preflight --out /data/run --device cuda \\
        --stream synthetic=/data/pages
    """  # noqa: D301 - click leaves the lines below this mark as they are
    streams = places_by_name(stream, "--stream")
    if inside:
        results = list(checks_inside(out, streams, device))
    else:
        results = list(checks(address, working_dir, out))
        if streams and not any(check.verdict == "fault" for check in results):
            command = ["--inside", "--json", "--device", device]
            command += [] if out is None else [f"--out={out}"]
            command += [f"--stream={pair}" for pair in stream]
            results += submitted(address, working_dir, command)
    rows = [asdict(check) for check in results]
    print_json(*rows) if as_json else print_table("preflight", rows)
    raise typer.Exit(1 if any(check.verdict == "fault" for check in results) else 0)


def checks(address: str, working_dir: Path, out: Store | None) -> Iterator[Check]:
    """Look at everything that can be seen from the shell that submits."""
    yield _check("ray", "fault", _ray_here)
    yield _check("python on the PATH", "fault", _python_on_path)
    yield _check("job server", "fault", lambda: _job_server(address))
    yield _check("working directory", "fault", lambda: _working_dir(working_dir))
    if out is not None:
        yield _check("output", "fault", lambda: _output(out))
    yield _check("other heads", "warning", _heads)


def checks_inside(
    out: Store | None, streams: Mapping[str, Sequence[str]], device: str
) -> Iterator[Check]:
    """Look from every node of the cluster that this process is a driver of."""
    ray: Any = importlib.import_module("ray")
    if not ray.is_initialized():
        join(ray, os.environ.get("RAY_ADDRESS", ""))
    gpu = device.startswith("cuda")

    def ask(needs: Needs) -> str:
        nodes = working_nodes(ray, gpu=needs.gpu)
        if not nodes:
            raise UserError(
                f"none of the {len(ray.nodes())} nodes has a {'GPU' if gpu else 'core'}"
            )
        require_nodes(ray, needs)
        return f"{len(nodes)} nodes"

    def see_output(store: Store) -> str:
        require_shared(store)
        with seen_by_nodes(ray, store):
            return f"{len(working_nodes(ray))} nodes"

    for name, places in streams.items():
        for place in places:
            yield _check(
                f"stream {name}", "fault", lambda place=place: ask(Needs(_shards_in(place)))
            )
    if out is not None:
        yield _check("output on every node", "fault", lambda: see_output(out))
    yield _check("torch", "fault", lambda: ask(Needs({}, torch=version("torch"))))
    if gpu:
        yield _check("GPU", "fault", lambda: ask(Needs({}, gpu=True)))


def _shards_in(place: str) -> dict[str, str]:
    from vae.data.unindexed import is_unindexed

    if is_unindexed(place):
        return {}  # nothing is asked of a URL before it is read
    store = open_store(place)
    require_shared(store, "--stream")
    return first_shard(store)


def submitted(address: str, working_dir: Path, options: Sequence[str]) -> list[Check]:
    """Run this check as a job, with these options, and return what it found."""
    jobs: Any = importlib.import_module("ray.job_submission")
    client = jobs.JobSubmissionClient(address)
    entry = shlex.join(["python", "-m", "pipelines.preflight", *options])
    deadline = time.monotonic() + JOB_SECONDS
    while True:
        try:
            job = client.submit_job(entrypoint=entry, runtime_env={"working_dir": str(working_dir)})
            break
        except RuntimeError as error:
            # The job server answers some seconds before it can start a job.
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                return [Check("job", "fault", f"it cannot be submitted: {error}".splitlines()[0])]
            time.sleep(1)
    while not (state := client.get_job_status(job)).is_terminal():
        if time.monotonic() > deadline:
            client.stop_job(job)
            return [Check("job", "fault", f"not finished after {JOB_SECONDS:.0f} s: no free core?")]
        time.sleep(0.5)
    lines = client.get_job_logs(job).splitlines()
    rows = [json.loads(line) for line in lines if line.startswith('{"check"')]
    return [Check(**row) for row in rows] or [Check("job", "fault", f"{state}: {lines[-1:]}")]


def _check(name: str, bad: Literal["warning", "fault"], look: Callable[[], str]) -> Check:
    try:
        return Check(name, "ok", look())
    except UserError as error:
        return Check(name, bad, str(error))
    except OSError as error:
        if not (reason := in_one_line(error)):
            raise
        return Check(name, bad, reason)


def _ray_here() -> str:
    if importlib.util.find_spec("ray") is None:
        raise UserError("Ray is missing; pip install 'nonpareil[ray]'")
    return version("ray")


def _python_on_path() -> str:
    python = shutil.which("python")
    if not python:
        raise UserError("there is no `python` on the PATH, which the entrypoint of a job starts")
    command = [python, "-c", "import ray, pydantic"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        raise UserError(
            f"{python} has no Ray or not our dependencies, and a head started from here would run "
            f"jobs with it; export PATH={Path(sys.executable).parent}:$PATH before ray start"
        )
    return python


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
    return path.read_text("utf-8").strip() if path.is_file() else ""


def _working_dir(folder: Path) -> str:
    """Zip the directory as Ray does, ignore files and all, and compare with its limit."""
    # Ray's own function, though private: only it knows what the upload will hold.
    packaging: Any = importlib.import_module("ray._private.runtime_env.packaging")
    if not folder.is_dir():
        raise UserError(f"--working-dir {folder} is not a folder")
    with tempfile.TemporaryDirectory() as place:
        target = Path(place) / "package.zip"
        quiet = logging.getLogger(__name__)
        quiet.setLevel(logging.CRITICAL)  # of ignore files, and of what is raised anyway
        try:
            packaging.create_package(
                str(folder.resolve()), target, include_gitignore=True, logger=quiet
            )
        except ValueError as error:  # of zipfile: a name that is not UTF-8, a date before 1980
            wrong = f"({error})"
            if isinstance(error, UnicodeEncodeError):
                name = os.fsencode(error.object).decode(errors="backslashreplace")
                wrong = f"{name}: its name is not UTF-8"
            raise UserError(
                f"{folder} cannot be zipped as Ray does it, {wrong}; rename that file, or name it "
                "in .rayignore"
            ) from error
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


def _output(out: Store) -> str:
    require_shared(out)
    try_out(out)
    return f"{out}: created, replaced, read and removed a file"


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


if __name__ == "__main__":
    run_command(preflight)
