"""A training run is the same, however its processes are started."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipelines.options import places_by_name
from pipelines.recipe import load
from pipelines.training import Training, train_to
from tests.command import mistake
from tests.vae.conftest import TINY, one_thread, write_shard  # noqa: F401
from vae import TrainSettings
from vae.training.ranks import ALONE

ROOT = Path(__file__).parent.parent.parent

RECIPE = """
preset = "nano"
overrides = {overrides}
log_every = 1
watch_every = 4000
checkpoint_every = 32
skip_start = 2
latent_batches = 2

[[stages]]
name = "small"
samples = {samples}
batch = 4
micro = 1
resolution = 8
aspects = [1.0]
shares = {{ general = 1.0, synthetic = 1.0 }}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_shard(folder / "general", "photo", 3, (40, 50))
    write_shard(folder / "synthetic", "text", 3, (30, 20), seed=1)
    return folder


def inline(table):
    return "{ " + ", ".join(f"{k} = {json.dumps(v)}" for k, v in table.items()) + " }"


@pytest.fixture
def command(data, tmp_path):
    """Write a recipe of so many steps and return the arguments that train it into a folder."""

    def make(out, steps=6):
        recipe = tmp_path / f"steps{steps}.toml"
        recipe.write_text(RECIPE.format(overrides=inline(TINY), samples=4 * steps))
        streams = [f"--stream={name}={data / name}" for name in ("general", "synthetic")]
        return ["train", str(recipe), *streams, "--out", str(tmp_path / out)]

    return make


ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}


def run(*words, code=0):
    done = subprocess.run(
        list(map(str, words)), cwd=ROOT, env=ONE_THREAD, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def alone(arguments, stop=None):
    """Train in this process what the command line would, until its end or the step `stop`."""
    _, recipe, *streams, _, out = arguments
    places = places_by_name([stream.removeprefix("--stream=") for stream in streams], "--stream")
    training = Training(load(TrainSettings, recipe), places, out)
    if stop is None:
        train_to(training)
        return

    def tell(row):
        if row["step"] == stop:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        training.fit(ALONE, tell)


def cli(arguments):
    return [sys.executable, "-m", "pipelines.cli", *arguments]


def rows(out):
    path = out / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def newest(out):
    return max(out.glob("step-*"))


def same(a, b):
    """Do the newest checkpoints hold the same bits, after the same samples?"""
    files = {file.name for file in newest(a).glob("*.safetensors")}
    assert files == {file.name for file in newest(b).glob("*.safetensors")}
    for file in files:
        ours, theirs = (load_file(newest(out) / file) for out in (a, b))
        assert ours.keys() == theirs.keys()
        assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    return drawn(a) == drawn(b)


def drawn(out):
    """The digest of all samples that the run has drawn."""
    return json.loads((newest(out) / "state.json").read_text())["drawn"]


def ranks_of(pid):
    """The processes that it spawned, in order; not what tracks resources for Python."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    spawned = [it for it in children if b"spawn_main" in Path(f"/proc/{it}/cmdline").read_bytes()]
    return list(map(int, spawned))


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


PATIENCE_S = 250
"""For what takes seconds; no test waits so long where nothing is wrong."""


def wait_for(reached, process):
    deadline = time.monotonic() + PATIENCE_S
    while not reached():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_ranks_and_torchrun_train_once_and_the_same(command, tmp_path):
    alone(command("alone"))
    done = run(*cli([*command("ranks"), "--ranks", "2"]))
    assert done.stdout.split() == [str(max((tmp_path / "ranks").glob("step-*")))]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    done = run(*torchrun, "--standalone", "-m", "pipelines.train", *command("torchrun")[1:])
    assert done.stdout.split() == [str(max((tmp_path / "torchrun").glob("step-*")))]
    for out in ("ranks", "torchrun"):
        assert [row["step"] for row in rows(tmp_path / out)] == [1, 2, 3, 4, 5, 6]
        assert same(tmp_path / out, tmp_path / "alone")


@contextmanager
def started(*words):
    """Start a command that does not outlive the test."""
    with subprocess.Popen(
        list(map(str, words)),
        cwd=ROOT,
        env=ONE_THREAD,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_ranks_that_are_killed_and_signalled_go_on_to_the_same(command, tmp_path):
    """A kill -9 of one, then each signal to their parent; the same command each time."""
    arguments, out = command("out", steps=5000), tmp_path / "out"
    before = []

    def stopped(stop):
        """Start the ranks, stop them some steps on, and return how that ended."""
        with started(*cli([*arguments, "--ranks", "2"])) as process:
            wait_for(lambda: len(rows(out)) >= len(before) + 10, process)
            ranks = ranks_of(process.pid)
            stop(process, ranks)
            _, said = process.communicate(timeout=PATIENCE_S)
        assert "Traceback" not in said
        assert not any(map(alive, ranks))
        return process.returncode, said

    code, said = stopped(lambda _, ranks: os.kill(ranks[-1], signal.SIGKILL))
    assert code == 137
    assert said.splitlines()[-1].startswith("error: rank 1 was killed by SIGKILL")
    assert int(newest(out).name[5:]) % 8 == 0
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        before[:] = rows(out)
        ended, said = stopped(lambda process, _, number=number: process.send_signal(number))
        assert ended == code, said
        steps = int(newest(out).name[5:])
        assert [row["step"] for row in rows(out)] == list(range(1, steps + 1))
    alone(command("alone", steps=5000), steps)
    assert same(out, tmp_path / "alone")


def test_a_world_that_does_not_divide_is_refused_before_anything_is_written(command, tmp_path):
    said = mistake(*command("out"), "--ranks", "3")
    assert "cannot be shared by 3 ranks" in said
    assert not (tmp_path / "out").exists()


def test_a_launcher_and_ranks_exclude_each_other(command, monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert "make no rank; start by torchrun" in mistake(*command("out"))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    said = mistake(*command("out"), "--ranks", "2")
    assert "a launcher made this process rank 1 of 2; leave --ranks out" in said
