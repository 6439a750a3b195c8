"""A dataset rendered by submitted Ray jobs that are killed on the way, then checked whole."""

import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.request import urlopen

from benchmarks._rows import Row, main
from pipelines.engine.jobs import RenderJob
from pipelines.finalize import describe_dataset
from pipelines.recipe import load
from shards.inspect.check import faults
from shards.sidecar import read_sidecar, sidecar_name
from shards.store import Folder

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent

START_SECONDS = 120
"""How long a head may take to start on a busy machine."""

RECIPE = """\
# {samples} pages of {size} px for benchmarks/ray_job.py
shards = {shards}
samples_per_shard = {per_shard}
[render]
width = {size}
height = {size}
size_px = [7, 14]
"""


class Head:
    """A Ray head of our own on loopback; `ray stop` would end every cluster of the machine."""

    def __init__(self, cpus: int = 2, folder: Path | None = None, **environment: str) -> None:
        """Choose ports; a context starts it, and what it starts itself, in `folder`."""
        # An earlier `ray.init` may have left a token in the home folder, which would make the
        # head ask for one that the submitting shell does not send.
        self.environment = os.environ | {
            "RAY_AUTH_MODE": "disabled",
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
            # On a busy machine workers that are 15 nicer than what waits for them never come.
            "RAY_worker_niceness": "0",
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            **environment,
        }
        self.environment.pop("RAY_ADDRESS", None)
        self.cpus, self.folder = cpus, folder
        self.port, self.metrics_port, self.gcs_port, self.agent_port = free_ports(4)
        self.address = f"http://127.0.0.1:{self.port}"
        self.gcs_address = f"127.0.0.1:{self.gcs_port}"

    def __enter__(self) -> Self:
        """Start the head and wait until it takes jobs."""
        # Short: the path of a Unix socket must stay below 108 characters.
        self._folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
        self._process = subprocess.Popen(
            [
                *(BIN / "ray", "start", "--head", "--block", f"--num-cpus={self.cpus}"),
                *("--node-ip-address=127.0.0.1", f"--port={self.gcs_port}"),
                *("--dashboard-host=127.0.0.1", f"--dashboard-port={self.port}"),
                # Else a second head on this machine finds "no available agent" for its jobs.
                f"--dashboard-agent-listen-port={self.agent_port}",
                *(f"--metrics-export-port={self.metrics_port}", "--disable-usage-stats"),
                *("--object-store-memory=200000000", f"--temp-dir={self._folder}"),
            ],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_until(lambda: answers(self.port), START_SECONDS, f"a head on port {self.port}")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End this head alone."""
        self._end()

    def _end(self) -> None:
        _end(self._process)
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextmanager
    def joined(self, address: str, folder: Path, **environment: str) -> Generator[None, None, None]:
        """Let a node of one core join, at an address of loopback, and work in `folder`.

        It is there after some seconds; whoever waits for it asks Ray.
        """
        node = subprocess.Popen(
            [
                *(BIN / "ray", "start", "--block", "--num-cpus=1", f"--address={self.gcs_address}"),
                *(f"--node-ip-address={address}", "--object-store-memory=100000000"),
            ],
            cwd=folder,
            env=self.environment | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield
        finally:
            _end(node)

    def ray(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run `ray COMMAND` against this head."""
        verb, *rest = command
        return subprocess.run(
            [str(BIN / "ray"), "job", verb, "--address", self.address, *rest],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=590,
        )

    def submit(self, *entry: str, wait: bool = True) -> subprocess.CompletedProcess[str]:
        """Submit a job from the root of the repository."""
        flags = () if wait else ("--no-wait",)
        deadline = time.monotonic() + START_SECONDS
        while True:
            done = self.ray("submit", *flags, "--working-dir", ".", "--", *entry)
            # The job server answers some seconds before it can start a job.
            early = "No available agent" in done.stderr and time.monotonic() < deadline
            if not early:
                return done
            time.sleep(1)

    def stop_jobs(self) -> None:
        """Stop every job as a user does, by `ray job stop`, and wait until they have ended."""
        for job in self._jobs():
            self.ray("stop", job["submission_id"])

    def _jobs(self) -> list[dict[str, Any]]:
        with urlopen(f"{self.address}/api/jobs/", timeout=30) as answer:
            return [job for job in json.load(answer) if job["type"] == "SUBMISSION"]

    def kill(self, name: str, *, least: int = 0, by: signal.Signals = signal.SIGKILL) -> int:
        """Kill -9 our processes whose command line begins with `name`, or are `python -m name`.

        Returns how many; waits until there are `least`. They get another signal if `by` is one.
        """
        deadline = time.monotonic() + START_SECONDS
        while len(pids := self._named(name)) < least and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, by)
        return len(pids)

    def count(self, name: str) -> int:
        """Count what `kill` would kill."""
        return len(self._named(name))

    def _named(self, name: str) -> list[int]:
        return [pid for pid in self._below(self._process.pid) if _is(pid, name)]

    def _below(self, pid: int) -> Iterator[int]:
        """Yield every process below `pid`."""
        # By all of its threads: the one that starts a job's driver is not the first.
        for told in Path(f"/proc/{pid}/task").glob("*/children"):
            with suppress(FileNotFoundError, ProcessLookupError):
                for child in map(int, told.read_text().split()):
                    yield from self._below(child)
                    yield child


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _is(pid: int, name: str) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except FileNotFoundError:
        return False
    return Path(words[0]).name.startswith(name) or words[1:3] == ["-m", name]


def free_ports(count: int) -> list[int]:
    """Find ports below 10000, since Ray gives those from there to its workers."""
    found: list[int] = []
    port = 8300 + os.getpid() % 600  # two of us at once should not look at the same ports
    while len(found) < count and port < 9900:
        if not answers(port):
            found.append(port)
        port += 1
    if len(found) < count:
        raise RuntimeError("no free port")
    return found


def answers(port: int) -> bool:
    """Does anything listen on loopback at this port?"""
    with socket.socket() as probe:
        return not probe.connect_ex(("127.0.0.1", port))


def render_through_kills(
    folder: Path, *, shards: int, per_shard: int, size: int, raylet: bool = True
) -> list[Row]:
    """Render into `folder/pages` by the same submitted command until it is whole.

    A quarter through the job is stopped by `ray job stop`, halfway the workers are killed with
    -9, at three quarters the raylet, which takes the cluster along; without `raylet` the job just
    ends. What is in the folder already is kept, so this can be called again after any interruption
    of its own.

    Returns:
        What happened, what it took, and what is wrong in the end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recipe, out = folder / "pages.toml", folder / "pages"
    recipe.write_text(
        RECIPE.format(samples=shards * per_shard, size=size, shards=shards, per_shard=per_shard)
    )
    entry = ("python", "-m", "pipelines.render", str(recipe), "--out", str(out), "--engine", "ray")
    begun, before = time.monotonic(), _finished(out)
    step = max(1, (shards - before) // 4)

    def more(count: int) -> None:
        """Wait until `count` further shards are finished, or all."""
        goal = min(_finished(out) + count, shards)
        wait_until(lambda: _finished(out) >= goal, 3600, f"{goal} shards in {out}")

    with Head() as head:
        must(head.submit(*entry, wait=False))
        more(step)
        head.stop_jobs()
        stopped = _state(out)
        must(head.submit(*entry, wait=False))
        more(step)
        workers = head.kill("ray::make")
        more(step if raylet else shards)
        raylets = head.kill("raylet") if raylet else 0
        killed = _finished(out)
    if raylet:
        with Head() as head:
            must(head.submit(*entry))
    seconds = time.monotonic() - begun
    made = (shards - before) * per_shard
    rows = [
        Row("samples", shards * per_shard, "samples"),
        Row("jobs submitted, the same command each", 3 if raylet else 2, "jobs"),
        Row(
            "progress.json says interrupted after ray job stop",
            int(stopped == "interrupted"),
            "of 1",
        ),
        Row("workers killed -9", workers, "processes"),
        Row("raylets killed -9", raylets, "processes"),
        *([Row("shards finished when the raylet died", killed, "shards")] if raylet else []),
        Row("wall time with all restarts", seconds, "s"),
        Row("samples a second with all restarts", made / seconds, "samples/s"),
    ]
    return rows + _examined(recipe, out, shards * per_shard)


def _examined(recipe: Path, out: Path, samples: int) -> list[Row]:
    """Verify every sample, describe the dataset, open it with webdataset, remake a shard."""
    warnings.simplefilter("ignore")
    webdataset: Any = importlib.import_module("webdataset")  # exposes no types
    start = time.monotonic()
    wrong = len(list(faults(out, deep=True)))
    verified = time.monotonic() - start
    manifest = describe_dataset(out)
    keys: set[str] = set()
    read = 0
    for url in manifest.urls:
        for sample in webdataset.WebDataset(f"{out}/{url}", shardshuffle=False):
            keys.add(sample["__key__"])
            read += 1
    job = load(RenderJob, str(recipe))
    with tempfile.TemporaryDirectory() as name:
        again = job.make_shard(len(manifest.shardlist) // 2, Folder(Path(name)))
    held = read_sidecar(Folder(out), sidecar_name(again.shard))
    return [
        Row("bytes", manifest.bytes / 1e9, "GB"),
        Row("time of shards verify --deep", verified, "s"),
        Row("faults found by shards verify --deep", wrong, "faults", 0, "lower"),
        Row("samples lost", samples - len(keys), "samples", 0, "lower"),
        Row("samples doubled", read - len(keys), "samples", 0, "lower"),
        Row("samples read by webdataset", read, "samples", samples),
        Row(
            "shards that differ when made again in one process",
            int(again.sha256 != held.sha256),
            "of 1",
            0,
            "lower",
        ),
    ]


def _finished(out: Path) -> int:
    return len(list(out.glob("part-*.json")))


def _state(out: Path) -> str:
    return json.loads((out / "progress.json").read_text())["state"]


def must(done: subprocess.CompletedProcess[str]) -> None:
    """Raise RuntimeError with what a command said, if it failed."""
    if done.returncode:
        raise RuntimeError(done.stdout[-3000:] + done.stderr[-3000:])


def wait_until(reached: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until something is reached; raise RuntimeError when `seconds` have passed."""
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not reached in {seconds:.0f} s")
        time.sleep(0.2)


def measure(quick: bool) -> list[Row]:
    """Render a dataset by Ray jobs that are killed on the way, and check every byte of it."""
    if quick:
        with tempfile.TemporaryDirectory() as name:
            return render_through_kills(Path(name), shards=8, per_shard=16, size=128, raylet=False)
    return render_through_kills(ROOT / "runs" / "ray_job", shards=160, per_shard=128, size=128)


if __name__ == "__main__":
    main(measure)
