"""One process at a time is at work in a store, and a dead one keeps nobody out."""

import json
import platform
import subprocess
import sys
import time

import pytest

from shards import UserError, open_store
from shards.store import Folder
from shards.store.lock import LOCK, Lock

BEAT = 0.05


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path):
    if request.param == "folder":
        return Folder(tmp_path)
    return open_store(f"{request.getfixturevalue('s3')}/{tmp_path.name}")


def owner(store, **fields):
    text = {"node": platform.node(), "pid": 1, "token": "other", "beat": 0} | fields
    store.replace(LOCK, json.dumps(text).encode())


def test_a_second_run_is_refused_while_the_first_is_at_work(store):
    with Lock(store, beat=BEAT) as first:
        with pytest.raises(UserError, match=f"in use by process .* of {platform.node()}; wait"):
            Lock(store, beat=BEAT).__enter__()
        first.check()
    assert store.names() == []
    with Lock(store, beat=BEAT):
        assert store.names() == [LOCK]


def test_another_process_is_refused(tmp_path):
    code = (
        "import sys; from shards.store.lock import *; from shards.store import open_store\n"
        f"with Lock(open_store(sys.argv[1]), beat={BEAT}): print(flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        with pytest.raises(UserError, match=f"in use by process {child.pid} of"):
            Lock(Folder(tmp_path), beat=1).__enter__()  # patient, should the child get no time
        child.kill()
        child.wait()
        with Lock(Folder(tmp_path), beat=3600):  # at once, as the owner is gone
            pass


@pytest.mark.parametrize("text", [b"{", b"[" * 9999, b'{"pid": 1e999, "node": 1, "token": []}'])
def test_a_file_that_cannot_be_read_holds_the_lock_while_it_changes(tmp_path, monkeypatch, text):
    store = Folder(tmp_path)
    store.replace(LOCK, text)
    monkeypatch.setattr("shards.store.lock.time.sleep", lambda _: store.replace(LOCK, text + b" "))
    with pytest.raises(UserError, match=r"is in use by .*process"):
        Lock(store, beat=BEAT).__enter__()
    monkeypatch.undo()
    with Lock(store, beat=BEAT):
        assert store.names() == [LOCK]


def test_an_owner_elsewhere_that_stands_still_is_taken_for_dead(store):
    owner(store, node="elsewhere")
    with Lock(store, beat=BEAT) as lock:
        assert json.loads(store.read(LOCK))["token"] == lock.token


def test_a_container_started_again_is_not_taken_for_its_predecessor(tmp_path):
    import os

    owner(Folder(tmp_path), pid=os.getpid())
    with Lock(Folder(tmp_path), beat=3600):
        pass


def test_who_was_taken_over_is_told(store):
    with Lock(store, beat=BEAT) as lock:
        owner(store)
        until = time.monotonic() + 120
        while not lock._lost.is_set() and time.monotonic() < until:
            time.sleep(BEAT)
        with pytest.raises(UserError, match="taken over by another run"):
            lock.check()
    assert json.loads(store.read(LOCK))["token"] == "other"
