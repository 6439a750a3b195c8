"""What killing, racing and damage leave of a dataset: nothing lost, doubled or silently wrong."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._rows import Row, main
from shards.dataset import Dataset
from shards.inspect.check import faults
from shards.store import Folder, open_store

SHARDS = 16

RECIPE = f"""\
shards = {SHARDS}
samples_per_shard = 40
[render]
width = 128
height = 128
size_px = [7, 14]
"""
"""Shards of some 50 ms, so that a random moment falls into every step of writing one."""

ROUNDS = 8
"""Times that each fault at a random moment is tried: 24 in all are a kill -9."""

REPEATS = 3
"""Times that each other fault is tried."""

RERUNS = 5
"""Commands after which a run must have ended."""

END_S = 200
"""Seconds within which a driver, killed or not, and its workers must have ended."""

Sums = dict[int, str]

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]
"""What WSGI (PEP 3333) calls by these names."""


class Job:
    """A render job of its own, run as users run it: by the command."""

    def __init__(self, folder: Path, out: str = "") -> None:
        """Write the recipe to `folder`; its shards come below it, or go to the URL `out`."""
        self.recipe = folder / "pages.toml"
        self.out = open_store(out or folder / "out")
        folder.mkdir(parents=True)
        self.recipe.write_text(RECIPE)

    @property
    def folder(self) -> Path:
        """Where the shards are, of a job that writes to no URL."""
        assert isinstance(self.out, Folder)
        return self.out.path

    def start(self, engine: str = "processes") -> subprocess.Popen[str]:
        """Start the driver in a process group of its own, so that it can be killed whole."""
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "pipelines.render", str(self.recipe)),
                *("--out", str(self.out), "--engine", engine, "--workers", "2"),
            ],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self) -> int:
        """Give the same command until it succeeds and return how often; -1 if it never does.

        It runs in one process, which must make the same bytes, and starts sooner.
        """
        for runs in range(1, RERUNS + 1):
            if not ended(self.start("inline")):
                return runs
        return -1

    def wait_for(self, count: int, driver: subprocess.Popen[str]) -> None:
        """Wait until `count` shards are finished or the driver has ended."""
        while driver.poll() is None and len(list(self.folder.glob("part-*.json"))) < count:
            time.sleep(0.002)

    def sums(self) -> Sums:
        """Return the recorded SHA-256 of each finished shard."""
        return {sidecar.shard: sidecar.sha256 for sidecar in Dataset(self.out).sidecars()}

    def tar(self, rng: np.random.Generator) -> Path:
        """Choose one tar."""
        return self.folder / f"part-{int(rng.integers(SHARDS)):06d}.tar"


def ended(driver: subprocess.Popen[str]) -> int:
    """Wait for a driver and return its exit code.

    Its workers hold the other end of its standard error, so this waits for them as well.

    Raises:
        TimeoutExpired: when it or one of them does not end.
    """
    driver.communicate(timeout=END_S)
    return driver.returncode


def kill_driver(job: Job, rng: np.random.Generator) -> bool:
    """Kill only the driver: its workers live on for a moment, as after a lost connection."""
    with _interrupted(job, rng) as driver:
        driver.kill()
    return driver.returncode == -signal.SIGKILL


def kill_all(job: Job, rng: np.random.Generator) -> bool:
    """Kill driver and workers at once, as a power cut does."""
    with _interrupted(job, rng) as driver, suppress(ProcessLookupError):
        os.killpg(driver.pid, signal.SIGKILL)
    return driver.returncode == -signal.SIGKILL


def kill_worker(job: Job, rng: np.random.Generator) -> bool:
    """Kill one worker, as the kernel does when memory is short; the driver goes on."""
    with _interrupted(job, rng) as driver:
        workers = list(_children(driver.pid))
        if workers:
            os.kill(workers[int(rng.integers(len(workers)))], signal.SIGKILL)
        if ended(driver):
            raise RuntimeError("the driver did not survive the loss of a worker")
    return bool(workers)


def two_drivers(job: Job, rng: np.random.Generator) -> bool:
    """Run two drivers on one output at once, one of them some shards behind."""
    first = job.start()
    job.wait_for(int(rng.integers(SHARDS // 2)), first)
    struck = first.poll() is None
    second = job.start()
    if ended(first) or ended(second):
        raise RuntimeError("a driver failed beside another one")
    return struck


def flip_bit(job: Job, rng: np.random.Generator) -> None:
    """Flip one bit of one finished tar."""
    tar = job.tar(rng)
    data = bytearray(tar.read_bytes())
    data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    tar.write_bytes(data)


def lose_tar(job: Job, rng: np.random.Generator) -> None:
    """Delete a tar and leave its sidecar."""
    job.tar(rng).unlink()


def lose_sidecar(job: Job, rng: np.random.Generator) -> None:
    """Delete a sidecar and leave its tar."""
    job.tar(rng).with_suffix(".json").unlink()


def cut_tar(job: Job, rng: np.random.Generator) -> None:
    """Cut a tar short, as a full disk behind a cache does."""
    tar = job.tar(rng)
    os.truncate(tar, int(rng.integers(tar.stat().st_size)))


Moment = Callable[[Job, np.random.Generator], bool]

MOMENTS: dict[str, Moment] = {
    "kill -9 of the driver": kill_driver,
    "kill -9 of driver and workers": kill_all,
    "kill -9 of a worker": kill_worker,
    "two drivers on one output": two_drivers,
}
"""Faults at a random moment of a run; each says whether the run was still going."""

DAMAGES: dict[str, Callable[[Job, np.random.Generator], None]] = {
    "a bit flipped in a tar": flip_bit,
    "a sidecar without its tar": lose_tar,
    "a tar without its sidecar": lose_sidecar,
    "a tar cut short": cut_tar,
}
"""Faults of a job that has finished."""

FAILING = "an object store that fails 5 % of the calls"

FAILING_SHARE = 0.05


class FailingStore:
    """A WSGI application in front of another: a share of the calls is answered 500 or 503.

    Half of these take effect all the same, as when only the answer was lost.
    """

    def __init__(self, app: Application, rng: np.random.Generator, share: float) -> None:
        """Fail `share` of the calls to `app`, chosen by `rng`."""
        self.app, self.rng, self.share = app, rng, share
        self.failed = 0

    def __call__(self, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        """Answer one call."""
        if self.rng.random() >= self.share:
            return self.app(environ, start)
        self.failed += 1
        if self.rng.random() < 0.5:
            for _ in self.app(environ, lambda *_: None):
                pass
        else:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        status = self.rng.choice(["500 Internal Server Error", "503 Slow Down"])
        start(str(status), [("Content-Type", "application/xml")])
        return [b"<Error><Code>Busy</Code><Message>chosen to fail</Message></Error>"]


@contextmanager
def failing_store(seed: int) -> Generator[tuple[str, FailingStore], None, None]:
    """Serve S3 on loopback, failing now and then; yield the URL of a bucket and the server.

    The environment of this process and of those it starts says where it is.
    """
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # or it prints every call
    app = DomainDispatcherApplication(create_backend_app)
    failing = FailingStore(app, np.random.default_rng(seed), 0.0)
    server = make_server("127.0.0.1", 0, failing, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    before = dict(os.environ)
    os.environ.update(
        AWS_ENDPOINT_URL=f"http://127.0.0.1:{server.server_port}",
        AWS_ALLOW_HTTP="true",
        AWS_ACCESS_KEY_ID="key",
        AWS_SECRET_ACCESS_KEY="secret",
        AWS_REGION="us-east-1",
    )
    try:
        request = urllib.request.Request(f"{os.environ['AWS_ENDPOINT_URL']}/pages", method="PUT")
        urllib.request.urlopen(request).close()
        failing.share = FAILING_SHARE
        yield "s3://pages", failing
    finally:
        server.shutdown()
        server.server_close()
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _interrupted(
    job: Job, rng: np.random.Generator
) -> Generator[subprocess.Popen[str], None, None]:
    """Start a driver, wait for a random moment, and be sure that it is gone afterwards."""
    driver = job.start()
    job.wait_for(int(rng.integers(SHARDS)), driver)
    time.sleep(float(rng.random()) * 0.05)
    try:
        yield driver
    finally:
        if driver.poll() is None:
            ended(driver)


def _children(pid: int) -> Iterator[int]:
    """Yield the processes below `pid` that run shards, not the tracker of shared memory."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for child in map(int, listed):
        if b"resource_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes():
            yield child


def outcome(job: Job, expected: Sums, *, repair: bool) -> dict[str, int]:
    """Rerun a disturbed job, `repair` it before if told so, and count what differs afterwards.

    lost: shards missing or other than expected. doubled: keys that occur twice. silent: faults
    that are still there after everything said that it had succeeded. left: temporary files.
    """
    if repair:
        subprocess.run(
            [sys.executable, "-m", "shards", "repair", str(job.out)],
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    runs = job.finish()
    sums = job.sums()
    keys = [entry.key for sidecar in Dataset(job.out).sidecars() for entry in sidecar.entries]
    return {
        "lost": sum(sums.get(shard) != total for shard, total in expected.items()),
        "doubled": len(keys) - len(set(keys)) + len(sums.keys() - expected.keys()),
        "silent": len(list(faults(job.out))) if runs > 0 else 1,
        "left": len(job.out.abandoned()),
    }


def measure(quick: bool) -> list[Row]:
    """Count what is lost, doubled or silently wrong after faults at random moments."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = Job(folder / "whole")
        whole.finish()
        expected = whole.sums()
        every = list(enumerate({**MOMENTS, **DAMAGES}.items()))
        for number, (fault, disturb) in every[::2] if quick else every:
            rounds = 1 if quick else ROUNDS if fault in MOMENTS else REPEATS
            counts = Counter[str]()
            for i in range(rounds):
                job = Job(folder / "job")
                if fault in DAMAGES:
                    job.finish()
                counts["struck"] += bool(disturb(job, np.random.default_rng([number, i])))
                counts.update(outcome(job, expected, repair=fault in DAMAGES))
                shutil.rmtree(folder / "job")
            rows += _rows(fault, rounds, counts)
            if fault in MOMENTS:
                rows.append(Row(f"{fault}: still running", counts["struck"], "rounds"))
        with failing_store(seed=0) as (bucket, store):
            counts, rounds = Counter[str](), 1 if quick else REPEATS
            for i in range(rounds):
                job = Job(folder / f"job{i}", f"{bucket}/{i}")
                ended(job.start())
                counts.update(outcome(job, expected, repair=False))
            rows += _rows(FAILING, rounds, counts)
            rows.append(Row(f"{FAILING}: failed", store.failed, "calls", 1))
    return rows


def _rows(fault: str, rounds: int, counts: Counter[str]) -> list[Row]:
    found = [Row(f"{fault}: rounds", rounds, "rounds")]
    return found + [
        Row(f"{fault}: {kind}", counts[kind], unit, 0, "lower") for kind, unit in _UNITS.items()
    ]


_UNITS = {"lost": "shards", "doubled": "samples", "silent": "faults", "left": "files"}


if __name__ == "__main__":
    main(measure)
