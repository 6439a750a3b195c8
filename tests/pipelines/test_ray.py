"""A real Ray head on this machine, real submitted jobs, and real deaths of workers."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from urllib.request import urlopen

import pytest

from benchmarks.ray_job import ROOT, Head
from pipelines.engine.attempts import ATTEMPTS
from pipelines.engine.jobs import RenderJob
from pipelines.engine.workers import Run
from pipelines.preflight import checks
from shards.inspect.check import faults
from shards.store import Folder
from tests.command import nonpareil
from tests.pipelines.conftest import INLINE, SMALL_PAGES
from tests.pipelines.engine.test_workers import sums
from tests.pipelines.faulty import FaultyJob
from tests.pipelines.test_launch import alone, command, data, newest, rows, same  # noqa: F401
from tests.vae.conftest import one_thread  # noqa: F401

pytestmark = [pytest.mark.ray, pytest.mark.slow]

PATIENCE_S = 400
"""For what takes seconds; no test waits so long where nothing is wrong."""


@pytest.fixture(scope="module")
def head():
    # The path is for workers, which must find the faulty job of these tests.
    with Head(PYTHONPATH=str(ROOT)) as running:
        yield running


@contextmanager
def started(head, code, *arguments):
    """Start a driver that is no submitted job, and does not outlive the test."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env=head.environment | {"RAY_ADDRESS": head.gcs_address},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as driver:
        try:
            yield driver
        finally:
            driver.kill()


def drive(head, code, *arguments):
    """Run a driver and return its exit code and what it said."""
    with started(head, code, *arguments) as driver:
        said, complained = driver.communicate(timeout=PATIENCE_S)
    return driver.returncode, said, complained


FAULTY = """
import json, sys
from contextlib import redirect_stderr
from pathlib import Path
from io import StringIO
from pipelines.engine import attempts
from pipelines.engine.progress import follow
from pipelines.engine.run_options import RunOptions
from shards.console import run_command
from tests.pipelines.faulty import FaultyJob
told, usual = {}, attempts.SYSTEM_RETRIES
def main(out: str, job: str, losses: int = usual):
    attempts.SYSTEM_RETRIES = losses
    follow("x", FaultyJob.model_validate_json(job), out, RunOptions("ray"))
for name, arguments in json.loads(Path(commands := sys.argv[1]).read_text()).items():
    sys.argv, said, code = ["x", *arguments], StringIO(), 0
    try:
        with redirect_stderr(said):
            run_command(main)
    except SystemExit as stop:
        code = stop.code or 0
    told[name] = code, said.getvalue()
Path(commands).write_text(json.dumps(told))
"""

FAULTS = {
    "failing": ({"failing": (2, 5)}, []),
    "killing some": ({"killing": (1, 4), "times": 2}, []),
    "killing all": ({"killing": (3,)}, ["--losses", "2"]),
    "mistaken": ({"mistaken": (0,)}, []),
}
"""What goes wrong in the jobs of one driver, which starts sooner than four."""


@pytest.fixture(scope="module")
def faulty(head, tmp_path_factory):
    """Run the faulty jobs, each into the folder `out` beside its notes; what each ended with."""
    folder, commands = tmp_path_factory.mktemp("faulty"), {}
    for name, (settings, more) in FAULTS.items():
        (folder / name / "notes").mkdir(parents=True)
        job = FaultyJob(notes=folder / name / "notes", **settings).model_dump_json()
        commands[name] = [str(folder / name / "out"), job, *more]
    list(Run(FaultyJob(notes=folder), folder / "well", INLINE))
    file = folder / "commands.json"  # in which the driver leaves what they told
    file.write_text(json.dumps(commands))
    code, _, complained = drive(head, FAULTY, file)
    assert code == 0, complained
    return folder, json.loads(file.read_text())


def test_submitted_jobs_write_what_one_process_writes(head, tmp_path):
    recipe = tmp_path / "pages.toml"
    recipe.write_text(
        "# test\nshards = 3\nsamples_per_shard = 2\n"
        "[render]\nwidth = 96\nheight = 64\nsize_px = [7, 12]\n"
    )
    out = tmp_path / "ray"
    entry = ("python", "-m", "pipelines.render", recipe, "--out", out, "--engine", "ray")
    done = head.submit(*map(str, entry))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    list(Run(RenderJob.model_validate(SMALL_PAGES), tmp_path / "here", INLINE))
    assert sums(out) == sums(tmp_path / "here")
    assert list(faults(out)) == []
    assert json.loads((out / "progress.json").read_text())["state"] == "finished"
    assert "render 3/3 shards" in done.stdout

    kept = tmp_path / "kept"
    entry = ("python", "-m", "pipelines.filter", "filter_photos", "--out", kept, "--engine", "ray")
    done = head.submit(*map(str, entry))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert list(faults(kept)) == []


def test_failing_shards_are_quarantined(faulty):
    folder, told = faulty
    code, said = told["failing"]
    assert code == 1
    assert "shards 2, 5 failed" in said
    assert "Unsendable: wrong shard 2" in said
    assert "Traceback" not in said
    assert sorted(sums(folder / "failing" / "out")) == [0, 1, 3, 4, 6, 7]
    held = json.loads((folder / "failing" / "out" / "quarantine.json").read_text())
    assert [row["attempts"] for row in held] == [ATTEMPTS, ATTEMPTS]
    assert "make_shard" in held[0]["traceback"]


def test_killed_workers_change_no_byte(faulty):
    folder, told = faulty
    code, said = told["killing some"]
    assert code == 0, said
    notes = folder / "killing some" / "notes"
    assert [len(list(notes.glob(f"{index}.*"))) for index in (1, 4)] == [3, 3]
    assert sums(folder / "killing some" / "out") == sums(folder / "well")


def test_a_shard_that_kills_every_worker_is_the_only_one_lost(faulty):
    folder, told = faulty
    code, said = told["killing all"]
    assert code == 1
    assert "its worker died 3 times" in said
    assert sorted(sums(folder / "killing all" / "out")) == [0, 1, 2, 4, 5, 6, 7]


def test_a_mistake_of_the_user_stops_at_once(faulty):
    folder, told = faulty
    code, said = told["mistaken"]
    assert code == 2
    assert "error: shard 0 cannot be made" in said
    assert "Traceback" not in said
    assert len(list((folder / "mistaken" / "notes").glob("0.*"))) == 1


def test_kill_9_of_a_worker_in_the_middle_changes_no_byte(head, tmp_path):
    pages = RenderJob.model_validate(SMALL_PAGES | {"shards": 20, "samples_per_shard": 16})
    code = (
        "import sys; from pipelines.engine.jobs import RenderJob\n"
        "from pipelines.engine.run_options import RunOptions\n"
        "from pipelines.engine.workers import Run\n"
        "job = RenderJob.model_validate_json(sys.argv[2])\n"
        "list(Run(job, sys.argv[1], RunOptions('ray')))\n"
    )
    out = tmp_path / "out"
    with started(head, code, out, pages.model_dump_json()) as driver:
        while driver.poll() is None and not list(out.glob("part-*.json")):
            time.sleep(0.02)
        while not (killed := head.kill("ray::make")) and driver.poll() is None:
            time.sleep(0.02)
        _, said = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 0, said
    assert killed
    list(Run(pages, tmp_path / "well", INLINE))
    assert sums(out) == sums(tmp_path / "well")
    assert list(faults(out)) == []


def test_training_goes_on_after_the_job_is_stopped_and_a_worker_is_killed(
    head,
    command,  # noqa: F811
    tmp_path,
):
    alone(command("alone", steps=400))
    verb, *arguments = command("ray", steps=400)
    entry = ("python", "-m", f"pipelines.{verb}", *arguments, "--engine", "ray", "--ranks")

    def submitted(ranks, disturb):
        """Submit the job, disturb it ten steps later, and return how it ended."""
        ended = []
        driver = threading.Thread(target=lambda: ended.append(head.submit(*entry, ranks)))
        driver.start()
        before, deadline = len(rows(tmp_path / "ray")), time.monotonic() + PATIENCE_S
        while len(rows(tmp_path / "ray")) < before + 10 and driver.is_alive():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert disturb() == int(ranks)
        driver.join()
        return ended[0]

    # What `ray job stop` does first. Soon after it kills, which a busy machine is too slow for.
    stop = partial(head.kill, "pipelines.train", least=1, by=signal.SIGTERM)
    done = submitted("2", lambda: 2 * stop())
    assert done.returncode, done.stdout
    # The step in hand was saved, not one of every eighth alone.
    assert int(newest(tmp_path / "ray").name[5:]) == len(rows(tmp_path / "ray")) < 400
    done = submitted("1", partial(head.kill, "ray::RayTrainWorker"))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "a rank died; going on from step-000" in done.stdout
    assert [row["step"] for row in rows(tmp_path / "ray")] == list(range(1, 401))
    assert same(tmp_path / "ray", tmp_path / "alone")


def test_gauges_reach_the_metrics_endpoint(head, tmp_path):
    """Read them where Prometheus would, while the driver lives."""
    code = (
        "import sys, time; from pipelines.engine.jobs import RenderJob\n"
        "from pipelines.engine.progress import follow\n"
        "from pipelines.engine.run_options import RunOptions\n"
        "job = RenderJob.model_validate_json(sys.argv[2])\n"
        "follow('x', job, sys.argv[1], RunOptions('ray'))\n"
        "print('done', flush=True); sys.stdin.read()\n"
    )
    out = tmp_path / "out"
    job = RenderJob.model_validate(SMALL_PAGES)
    with started(head, code, out, job.model_dump_json()) as driver:
        assert driver.stdout.readline() == "done\n"
        wanted = {
            ("ray_nonpareil_shards", 'state="done"'): 3.0,
            ("ray_nonpareil_shards", 'state="total"'): 3.0,
            ("ray_nonpareil_samples", ""): 6.0,
            ("ray_nonpareil_shard_seconds_count", ""): 3.0,
        }
        deadline, missing = time.monotonic() + PATIENCE_S, wanted
        while missing and time.monotonic() < deadline:
            with urlopen(f"http://127.0.0.1:{head.metrics_port}/metrics", timeout=10) as answer:
                lines = [line for line in answer.read().decode().splitlines() if f'"{out}"' in line]
            shown = {
                key: float(line.split()[-1])
                for key in wanted
                for line in lines
                if line.startswith(key[0] + "{") and key[1] in line
            }
            missing = {key: value for key, value in wanted.items() if shown.get(key) != value}
            time.sleep(0.5)
        assert missing == {}
        assert any(line.startswith("ray_nonpareil_samples_per_second{") for line in lines)


def test_preflight_finds_a_head_well_and_a_driver_of_another_ray_is_refused(head, tmp_path):
    found = {check.check: check for check in checks(head.address, ROOT, Folder(tmp_path))}
    assert found["job server"].verdict == "ok", found["job server"]
    code = (
        "import sys, ray; ray.__version__ = '0.0.1'\n"
        "from pipelines.engine.cluster import Needs, connect\n"
        "connect(Needs({}))\n"
    )
    exited, _, said = drive(head, code, tmp_path)
    assert exited
    assert "UserError: Version mismatch" in said
    assert "give every node and the driver the same Ray" in said


def test_nodes_that_lack_what_a_job_needs_are_named(head, tmp_path):
    code = (
        "import sys, ray; from pipelines.engine.cluster import Needs, lacking_nodes\n"
        "from importlib.metadata import version\n"
        "ray.init(log_to_driver=False)\n"
        "seen, unseen = ({place: 'recipe.json'} for place in sys.argv[1:])\n"
        "ours = version('torch')\n"
        "for needs in (Needs(seen, ours), Needs(unseen), Needs(seen, '0.1')):\n"
        "    print(*lacking_nodes(ray, needs), sep='; ')\n"
    )
    (tmp_path / "seen").mkdir()
    (tmp_path / "seen" / "recipe.json").touch()
    exited, said, complained = drive(head, code, tmp_path / "seen", tmp_path / "unseen")
    assert exited == 0, complained
    fine, blind, other = said.splitlines()
    assert fine == ""
    assert blind.endswith(f"{tmp_path / 'unseen'}/recipe.json is not there")
    assert re.search(r": it has torch \S+, the driver 0\.1$", other)


def test_preflight_looks_from_every_node_by_a_job(head, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", head.environment["PATH"])
    list(Run(RenderJob.model_validate(SMALL_PAGES), tmp_path / "pages", INLINE))

    def look(code, *more):
        words = ("--address", head.address, "--out", tmp_path / "run", "--json", *more)
        done = nonpareil("preflight", *words, code=code)
        return {row["check"]: row for row in map(json.loads, done.stdout.splitlines())}

    good = f"--stream=good={tmp_path / 'pages'}"
    seen = look(0, good)
    assert {seen[name]["note"] for name in ("stream good", "output on every node", "torch")} == {
        "1 nodes"
    }
    assert not (tmp_path / "run").exists()
    blind = look(1, good, f"--stream=bad={tmp_path / 'none'}", "--device=cuda")
    assert "is not a folder" in blind["stream bad"]["note"]
    assert blind["stream good"]["verdict"] == "ok"
    assert blind["GPU"]["note"] == "none of the 1 nodes has a GPU"


def test_a_head_that_asks_for_a_token_is_told_before_and_by_the_driver(tmp_path):
    with Head(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="a" * 64) as locked:
        found = {check.check: check for check in checks(locked.address, ROOT, None)}
        assert "asks for a token" in found["job server"].note
        locked.environment.pop("RAY_AUTH_TOKEN")
        locked.environment["RAY_AUTH_MODE"] = "disabled"
        locked.environment["HOME"] = str(tmp_path)  # where no token lies
        code = "from pipelines.engine.cluster import Needs, connect\nconnect(Needs({}))\n"
        exited, _, said = drive(locked, code)
    assert exited
    assert "UserError: the cluster asks for a token" in said, said[-2000:]
