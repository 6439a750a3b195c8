"""A training run is the same, however its processes are started."""

import json
import os
import signal
import subprocess
import sys
import time
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


def start(*words):
    return subprocess.Popen(
        list(map(str, words)),
        cwd=ROOT,
        env=ONE_THREAD,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def alone(arguments):
    """Train in this process what the command line would."""
    _, recipe, *streams, _, out = arguments
    places = places_by_name([stream.removeprefix("--stream=") for stream in streams], "--stream")
    train_to(Training(load(TrainSettings, recipe), places, out))


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


def wait_for(reached, process):
    deadline = time.monotonic() + 120
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
    port = f"--master-port={29500 + os.getpid() % 1000}"
    done = run(*torchrun, port, "-m", "pipelines.train", *command("torchrun")[1:])
    assert done.stdout.split() == [str(max((tmp_path / "torchrun").glob("step-*")))]
    for out in ("ranks", "torchrun"):
        assert [row["step"] for row in rows(tmp_path / out)] == [1, 2, 3, 4, 5, 6]
        assert same(tmp_path / out, tmp_path / "alone")


@pytest.mark.slow
def test_a_killed_rank_is_told_and_a_rerun_ends_the_same(command, tmp_path):
    alone(command("alone", steps=24))
    arguments = [*command("killed", steps=24), "--ranks", "2"]
    process = start(*cli(arguments))
    wait_for(lambda: len(rows(tmp_path / "killed")) >= 10, process)
    ranks = ranks_of(process.pid)
    os.kill(ranks[-1], signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 137
    assert said.splitlines()[-1].startswith("error: rank 1 was killed by SIGKILL")
    assert "Traceback" not in said
    assert not any(map(alive, ranks))
    assert max((tmp_path / "killed").glob("step-*")).name == "step-000008"
    run(*cli(arguments))
    assert [row["step"] for row in rows(tmp_path / "killed")] == list(range(1, 25))
    assert same(tmp_path / "killed", tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_parent_saves_on_all_ranks(command, tmp_path, number, code):
    process = start(*cli([*command("out", steps=5000), "--ranks", "2"]))
    wait_for(lambda: rows(tmp_path / "out"), process)
    ranks = ranks_of(process.pid)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert not any(map(alive, ranks))
    assert int(newest(tmp_path / "out").name[5:]) == len(rows(tmp_path / "out"))


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
