"""What a run tells while it runs, and what it leaves beside the data."""

import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.engine.progress import File, Watch, follow
from pipelines.engine.quarantine import Quarantined
from pipelines.engine.run_options import RunOptions
from pipelines.engine.status import Status
from pipelines.engine.workers import Run
from shards import StoreError
from shards.store import Folder
from tests.pipelines.conftest import INLINE, SMALL_PAGES
from tests.pipelines.faulty import FaultyJob

ROOT = Path(__file__).parents[3]


def told(out):
    return Status.model_validate_json((out / "progress.json").read_bytes())


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


def test_a_finished_run_leaves_the_truth(job, tmp_path):
    list(Run(job, tmp_path / "out", RunOptions("inline", only=[1])))
    summary = follow("render", job, tmp_path / "out", INLINE)
    status = told(tmp_path / "out")
    assert (status.state, status.done, status.total, status.failed) == ("finished", 3, 3, 0)
    assert (status.samples, status.bytes) == (summary["samples"], summary["bytes"])
    assert summary["samples"] == 6
    assert summary["bytes"] == sum(tar.stat().st_size for tar in (tmp_path / "out").glob("*.tar"))
    assert status.eta_seconds == 0
    assert status.started <= status.updated


def test_a_failed_run_says_how_many_shards_it_gave_up(tmp_path, notes):
    with pytest.raises(Quarantined):
        follow("x", FaultyJob(notes=notes, failing=(2, 5)), tmp_path / "out", INLINE)
    status = told(tmp_path / "out")
    assert (status.state, status.done, status.total, status.failed) == ("failed", 6, 8, 2)


def test_the_file_is_written_at_most_every_second_and_always_at_the_end(job, tmp_path, monkeypatch):
    written = []
    store = Folder(tmp_path)
    monkeypatch.setattr(store, "replace", lambda name, data: written.append(json.loads(data)))
    watch, file = Watch(Run(job, tmp_path / "out")), File(store)
    for _ in range(50):
        file.show(watch.status("running"), None)
    file.show(watch.status("interrupted"), None)
    assert [row["state"] for row in written] == ["running", "interrupted"]


def test_a_store_that_refuses_the_file_does_not_stop_the_run(job, tmp_path, monkeypatch):
    replace = Folder.replace

    def refuse(self, name, data):
        if name == "progress.json":
            raise StoreError("no")
        replace(self, name, data)

    monkeypatch.setattr(Folder, "replace", refuse)
    assert follow("x", job, tmp_path / "out", INLINE)["shards"] == 3


class Watching(FaultyJob):
    """Waits in the middle of shard 1 until what is under way is told beside the data."""

    progress: Path

    def make_shard(self, index, out, tell):
        tell(3)
        deadline = time.monotonic() + 60
        while index == 1 and told(self.progress).under_way != 3 and time.monotonic() < deadline:
            time.sleep(0.02)
            tell(3)
        if index == 1:
            (self.notes / "seen").write_bytes((self.progress / "progress.json").read_bytes())
        return super().make_shard(index, out, tell)


@pytest.mark.parametrize("engine", ["inline", "processes"])
def test_what_is_under_way_is_told_before_a_shard_ends(tmp_path, notes, monkeypatch, engine):
    monkeypatch.setattr("pipelines.engine.signs.BEAT_S", 0.0)
    job = Watching(shards=2, notes=notes, progress=tmp_path / "out")
    follow("x", job, tmp_path / "out", RunOptions(engine, workers=2))
    status = Status.model_validate_json((notes / "seen").read_bytes())
    assert (status.state, status.under_way, status.total) == ("running", 3, 2)
    assert status.workers in (1, 2)
    assert list(status.nodes) == [platform.node()]
    assert status.samples_per_second > 0
    ended = told(tmp_path / "out")
    assert (ended.state, ended.done, ended.under_way, ended.workers) == ("finished", 2, 0, 0)


@pytest.mark.parametrize(
    ("sent", "engine"), [(signal.SIGTERM, "processes"), (signal.SIGINT, "inline")]
)
def test_a_signal_ends_the_run_as_interrupted(tmp_path, sent, engine):
    out = tmp_path / "out"
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "pipelines.render", "render_pages", "--out", str(out)),
            *("--engine", engine, "--workers", "2"),
            *("--set", "samples_per_shard=2", "--set", "shards=5000"),
        ],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"NO_COLOR": "1"},
        # A shell makes what it starts in the background deaf to SIGINT, these tests included.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as driver:
        try:
            deadline = time.monotonic() + 250
            while not list(out.glob("part-*.json")) and time.monotonic() < deadline:
                assert driver.poll() is None
                time.sleep(0.05)
            driver.send_signal(sent)
            _, said = driver.communicate(timeout=250)
        finally:
            driver.kill()
    assert driver.returncode == 130
    assert "interrupted; run the same command again" in said
    assert "Traceback" not in said
    status = told(out)
    assert status.state == "interrupted"
    assert 0 < status.done == len(list(out.glob("part-*.json")))
    # Standard error is no terminal here: a line says how far it came.
    assert f"render {status.done}/5,000 shards" in said


class InterruptedInVain(FaultyJob):
    """Gets a Ctrl-C in shard 1 where an exception goes nowhere: in a destructor."""

    def make_shard(self, index, out, tell):
        class Leaving:
            def __del__(self):
                signal.raise_signal(signal.SIGINT)

        if index == 1:
            Leaving()
        return super().make_shard(index, out, tell)


def test_an_interrupt_that_python_forgets_ends_the_run_with_its_shard(tmp_path, notes, monkeypatch):
    forgotten = []
    monkeypatch.setattr(sys, "unraisablehook", lambda seen: forgotten.append(seen.exc_type))
    with pytest.raises(KeyboardInterrupt):
        follow("x", InterruptedInVain(notes=notes), tmp_path / "out", INLINE)
    assert forgotten == [KeyboardInterrupt]
    assert (told(tmp_path / "out").state, told(tmp_path / "out").done) == ("interrupted", 2)


def test_a_run_that_failed_before_its_first_shard_does_not_hold_the_folder(tmp_path, notes):
    from pipelines.engine.jobs import RenderJob
    from shards import UserError

    with pytest.raises(UserError):
        follow("x", FaultyJob(notes=notes, mistaken=(0,)), tmp_path / "out", INLINE)
    assert told(tmp_path / "out").state == "failed"
    pages = RenderJob.model_validate(SMALL_PAGES)
    assert follow("x", pages, tmp_path / "out", INLINE)["shards"] == 3
