"""A real Ray head on this machine, and a real submitted job."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.jobs import RenderJob
from pipelines.workers import run_job
from shards.check import faults
from tests.pipelines.conftest import SMALL_PAGES
from tests.pipelines.test_workers import sums

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent

# An earlier `ray.init` may have left a token in the home folder, which would make the head ask
# for one that the submitting shell does not send.
ENVIRONMENT = os.environ | {
    "RAY_AUTH_MODE": "disabled",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
}


def free_port() -> int:
    """Below 10000, since Ray gives the ports from there to its workers."""
    for port in range(8300, 9000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise RuntimeError("no free port")


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory):
    port = free_port()
    head = subprocess.Popen(
        [
            *(BIN / "ray", "start", "--head", "--block", "--port=0", "--num-cpus=2"),
            *(f"--dashboard-port={port}", "--disable-usage-stats"),
            # Short: the path of a Unix socket must stay below 108 characters.
            f"--temp-dir={tmp_path_factory.mktemp('ray')}",
        ],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", port)):
                    break
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        # Ends this head only; `ray stop` would end every cluster of the machine.
        head.send_signal(signal.SIGTERM)
        head.wait(60)


def submit(dashboard, *command):
    return subprocess.run(
        [
            BIN / "ray",
            "job",
            "submit",
            "--address",
            dashboard,
            "--working-dir",
            ".",
            "--",
            *command,
        ],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.mark.ray
@pytest.mark.slow
def test_submitted_jobs_write_what_one_process_writes(dashboard, tmp_path):
    recipe = tmp_path / "pages.toml"
    recipe.write_text(
        "# test\nshards = 3\nsamples_per_shard = 2\n"
        "[render]\nwidth = 96\nheight = 64\nsize_px = [7, 12]\n"
    )
    out = tmp_path / "ray"
    entry = ("python", "-m", "pipelines.render", recipe, "--out", out, "--engine", "ray")
    done = submit(dashboard, *map(str, entry))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    list(run_job(RenderJob.model_validate(SMALL_PAGES), tmp_path / "here", engine="inline"))
    assert sums(out) == sums(tmp_path / "here")
    assert list(faults(out)) == []

    kept = tmp_path / "kept"
    entry = ("python", "-m", "pipelines.filter", "filter_photos", "--out", kept, "--engine", "ray")
    done = submit(dashboard, *map(str, entry))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert list(faults(kept)) == []
