"""Errors in shards and deaths of workers: bounded, named, and without a trace in the bytes."""

import json
import os
import signal
import threading
import time

import pytest

from pipelines.engine.attempts import ATTEMPTS
from pipelines.engine.jobs import RenderJob
from pipelines.engine.progress import follow
from pipelines.engine.quarantine import Quarantined
from pipelines.engine.run_options import RunOptions
from pipelines.engine.workers import Run
from shards import UserError
from shards.inspect.check import faults
from tests.pipelines.conftest import INLINE, SMALL_PAGES
from tests.pipelines.engine.test_workers import sums
from tests.pipelines.faulty import FaultyJob


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


def tries(notes, index):
    return len(list(notes.glob(f"{index}.*")))


@pytest.mark.parametrize("engine", ["inline", "processes"])
def test_a_shard_that_always_fails_is_quarantined_and_the_others_are_made(tmp_path, notes, engine):
    out = tmp_path / "out"
    job = FaultyJob(notes=notes, failing=(2, 5))
    with pytest.raises(Quarantined, match=r"shards 2, 5 failed .*Unsendable: wrong shard 2"):
        list(Run(job, out, RunOptions(engine, workers=2)))
    assert sorted(sums(out)) == [0, 1, 3, 4, 6, 7]
    assert [tries(notes, index) for index in range(8)] == [1, 1, ATTEMPTS, 1, 1, ATTEMPTS, 1, 1]
    held = json.loads((out / "quarantine.json").read_text())
    assert [(row["shard"], row["attempts"]) for row in held] == [(2, ATTEMPTS), (5, ATTEMPTS)]
    assert "make_shard" in held[0]["traceback"]

    list(Run(FaultyJob(notes=notes), out, INLINE))
    assert not (out / "quarantine.json").exists()
    assert list(faults(out)) == []
    list(Run(FaultyJob(notes=notes), tmp_path / "well", INLINE))
    assert sums(out) == sums(tmp_path / "well")


def test_a_shard_that_fails_once_is_tried_again(tmp_path, notes):
    job = FaultyJob(notes=notes, failing=(0,), times=1)
    assert len(list(Run(job, tmp_path / "out", INLINE))) == 8
    assert not (tmp_path / "out" / "quarantine.json").exists()


@pytest.mark.parametrize("engine", ["inline", "processes"])
def test_a_mistake_of_the_user_stops_at_once(tmp_path, notes, engine):
    with pytest.raises(UserError, match=r"^shard 0 cannot be made"):
        list(Run(FaultyJob(notes=notes, mistaken=(0,)), tmp_path / "o", RunOptions(engine)))
    assert tries(notes, 0) == 1


def test_two_drivers_draw_hardly_a_shard_twice(tmp_path, notes):
    job = FaultyJob(shards=20, notes=notes, pause=0.05)
    first = threading.Thread(target=follow, args=("x", job, tmp_path / "out", INLINE))
    first.start()
    while not (tmp_path / "out" / "progress.json").exists():
        assert first.is_alive()
        time.sleep(0.005)
    summary = follow("x", job, tmp_path / "out", INLINE)
    first.join()
    assert summary["shards"] == 20
    assert len(list(notes.iterdir())) <= 21  # the one in which they meet


def test_temporary_files_of_finished_shards_go_with_a_run(tmp_path, notes):
    (tmp_path / "out").mkdir()
    left, elsewhere = (
        tmp_path / "out" / f".part-{shard:06d}.tar.a.node.7.7.tmp" for shard in (3, 99)
    )
    left.touch()
    elsewhere.touch()
    list(Run(FaultyJob(notes=notes), tmp_path / "out", INLINE))
    assert not left.exists()
    assert elsewhere.exists()  # another run may be at it


@pytest.mark.parametrize("killing", [(1,), (1, 4)])
def test_workers_that_die_are_replaced_and_the_bytes_are_the_same(tmp_path, notes, killing):
    job = FaultyJob(notes=notes, killing=killing, times=2)
    list(Run(job, tmp_path / "out", RunOptions("processes", workers=2)))
    tried = [tries(notes, index) for index in killing]
    if len(killing) == 1:
        assert tried == [3]
    else:  # at its third try, one may be in the making when the other kills: again, then
        assert all(3 <= count <= 5 for count in tried)
    list(Run(FaultyJob(notes=notes), tmp_path / "well", INLINE))
    assert sums(tmp_path / "out") == sums(tmp_path / "well")
    assert not (tmp_path / "out" / "quarantine.json").exists()


def test_a_shard_that_kills_every_worker_is_the_only_one_lost(tmp_path, notes, monkeypatch):
    monkeypatch.setattr("pipelines.engine.attempts.SYSTEM_RETRIES", 4)
    job = FaultyJob(notes=notes, killing=(3,))
    with pytest.raises(Quarantined, match=r"shards 3 failed .*its worker died 5 times"):
        list(Run(job, tmp_path / "out", RunOptions("processes", workers=2)))
    assert sorted(sums(tmp_path / "out")) == [0, 1, 2, 4, 5, 6, 7]


def test_kill_9_in_the_middle_of_rendering_changes_no_byte(tmp_path):
    pages = RenderJob.model_validate(SMALL_PAGES | {"shards": 6, "samples_per_shard": 8})
    killed = []

    def kill_one_worker():
        import multiprocessing

        deadline = time.monotonic() + 120
        while not list((tmp_path / "out").glob("part-*.json")) and time.monotonic() < deadline:
            time.sleep(0.02)
        victim = multiprocessing.active_children()[0].pid
        os.kill(victim, signal.SIGKILL)
        killed.append(victim)

    killer = threading.Thread(target=kill_one_worker)
    killer.start()
    try:
        list(Run(pages, tmp_path / "out", RunOptions("processes", workers=2)))
    finally:
        killer.join()
    list(Run(pages, tmp_path / "well", INLINE))
    assert killed
    assert sums(tmp_path / "out") == sums(tmp_path / "well")
    assert list(faults(tmp_path / "out")) == []
