"""Two raylets, one of them bad: what goes wrong there is done on the other one, and is told."""

import json
import subprocess
import sys

import pytest

from benchmarks.ray_job import ROOT, Head
from pipelines.engine.workers import Run
from shards.inspect.check import faults
from tests.pipelines.conftest import INLINE
from tests.pipelines.engine.test_workers import sums
from tests.pipelines.faulty import FaultyJob

pytestmark = [pytest.mark.ray, pytest.mark.slow]

BAD = "127.0.0.2"

DRIVER = """
import json, sys, threading, time, ray
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from pipelines.engine import cluster
from pipelines.engine.progress import describe, follow
from pipelines.engine.run_options import RunOptions
from shards.console import run_command
from tests.pipelines.faulty import FaultyJob
told = {}
def twice(arguments):
    job, out = FaultyJob.model_validate_json(arguments[1]), arguments[0]
    drivers = [
        threading.Thread(target=follow, args=("x", job, out, RunOptions("ray"))) for _ in range(2)
    ]
    drivers[0].start()
    while not Path(out, "progress.json").exists():
        time.sleep(0.01)
    drivers[1].start()
    for driver in drivers:
        driver.join()
cluster.join(ray, "")
while len(cluster.working_nodes(ray)) < 2:
    time.sleep(0.05)
cluster.lacking_nodes(ray, cluster.Needs({}))  # both have a worker then
cluster.require_nodes = lambda ray, needs: None  # the second node comes after the first look
def main(out: str, job: str):
    print(describe(follow("x", FaultyJob.model_validate_json(job), out, RunOptions("ray"))))
for name, arguments in json.loads(Path(commands := sys.argv[1]).read_text()).items():
    sys.argv, said, code = ["x", *arguments], StringIO(), 0
    if name == "twice":
        twice(arguments)
        continue
    try:
        with redirect_stderr(said):
            run_command(main)
    except SystemExit as stop:
        code = stop.code or 0
    told[name] = code, said.getvalue()
Path(commands).write_text(json.dumps(told))
"""

HERE = "/proc/self/cwd"
"""The folder that a process works in: one path, and another folder on each node."""

FAULTS = {
    "blind": {"nodes": 2},
    "foreign": {"nodes": 2, "reads": f"{HERE}/input"},
    "failing": {"failing_node": True},
    "full": {"nodes": 2, "full_nodes": ["bad"]},
    "twice": {},
    "all full": {"full_nodes": ["bad", ""]},
}
"""What is wrong with the second node, in the jobs of one driver."""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    """Run the jobs on both nodes; give the good one's folder, and what each job ended with."""
    folder = tmp_path_factory.mktemp("nodes")
    (folder / "good").mkdir()
    (folder / "bad").mkdir()
    (folder / "good" / "input").write_text("photographs")
    (folder / "bad" / "input").write_text("others")
    commands = {}
    for name, settings in FAULTS.items():
        (folder / name).mkdir()
        job = FaultyJob(shards=20, notes=folder / name, pause=0.05, **settings)
        out = HERE if name == "blind" else folder / "good"
        commands[name] = [f"{out}/{name}", job.model_dump_json()]
    list(Run(FaultyJob(shards=20, notes=folder), folder / "well", INLINE))
    file = folder / "commands.json"  # in which the driver leaves what they told
    file.write_text(json.dumps(commands))
    with (
        Head(cpus=1, folder=folder / "good", PYTHONPATH=str(ROOT)) as head,
        head.joined(BAD, folder / "bad", NODE="bad"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, str(file)],
            cwd=folder / "good",
            env=head.environment | {"RAY_ADDRESS": head.gcs_address},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(file.read_text()), done.stdout.splitlines()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("blind", f"{HERE}/blind/recipe.json is not there"),
        ("foreign", "its recipe or inputs differ (inputs.reads: 'photographs' → 'others')"),
        ("full", "the disk is full (/scratch)"),
        ("failing", "failed 3 shards that others made: OSError: [Errno 5] Input/output error"),
    ],
)
def test_a_node_that_cannot_work_is_named_and_costs_no_shard(nodes, fault, reason):
    folder, told, closing = nodes
    code, said = told[fault]
    assert code == 0, said
    out = folder / "good" / fault
    assert sums(out) == sums(folder / "well")
    assert list(faults(out)) == []
    assert not (out / "quarantine.json").exists()
    progress = json.loads((out / "progress.json").read_text())
    assert len(progress["nodes"]) == 2  # each gave a sign of life
    shunned = progress["shunned"]
    assert progress["nodes"].keys() > shunned.keys()
    assert [name.startswith(BAD) for name in shunned] == [True]
    assert list(shunned.values()) == [reason]
    assert f"gets no more shards: {reason}" in said
    assert any(reason in line for line in closing)


def test_a_run_ends_when_no_node_is_left(nodes):
    folder, told, _ = nodes
    code, said = told["all full"]
    assert code == 2, said
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: no node of the cluster is left that can work on this: ")
    assert line.count("): the disk is full (/scratch)") == 2
    assert json.loads((folder / "good" / "all full" / "progress.json").read_text())["shunned"]


def test_two_drivers_draw_little_twice(nodes):
    folder, _, _ = nodes
    assert sums(folder / "good" / "twice") == sums(folder / "well")
    # Each has at most four tasks in flight when they meet.
    assert len(list((folder / "twice").iterdir())) <= 24
