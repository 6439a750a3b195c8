"""A file system without hard links is written to as any other: whole or absent, by one."""

import errno
import os
import platform
import subprocess
import sys
import threading
import time

import pytest

from shards import ShardWriter
from shards.inspect.check import faults
from shards.store import Folder, commit
from tests.conftest import make_sample

REFUSALS = ("EPERM", "ENOSYS", "EOPNOTSUPP", "EIO", "EMLINK")

RACER = """
import os, sys
from pathlib import Path
from shards.store import Folder, commit

def refuse(*given):
    raise OSError(5, "Input/output error")

os.link = refuse
if sys.argv[3] == "claim":
    commit._renamed = lambda *given: None
store = Folder(Path(sys.argv[1]))
input()
print(*(store.create(f"{i}.json", sys.argv[2].encode()) for i in range(30)))
"""


@pytest.fixture(params=["renameat2", "claim"])
def way(request, monkeypatch):
    """No hard links, and with "claim" no rename that refuses either."""
    monkeypatch.setattr(os, "link", lambda *given: refuse("EPERM"))
    if request.param == "claim":
        monkeypatch.setattr(commit, "_renamed", lambda *given: None)
    return request.param


def refuse(name):
    raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)))


def dead_owner():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return f"{platform.node()}.{child.pid}.1"


def test_a_shard_is_written_without_links(tmp_path, way):
    for _ in range(2):
        with ShardWriter(tmp_path, 0, recipe="r") as writer:
            writer.write(make_sample(0))
    assert list(faults(tmp_path)) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "part-000000.json",
        "part-000000.tar",
    ]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_whatever_a_link_is_refused_with(tmp_path, monkeypatch, refusal):
    monkeypatch.setattr(os, "link", lambda *given: refuse(refusal))
    assert Folder(tmp_path).create("a", b"first")
    assert not Folder(tmp_path).create("a", b"second")
    assert Folder(tmp_path).read("a") == b"first"


def test_of_racing_processes_one_creates_each_file(tmp_path, way):
    command = [sys.executable, "-c", RACER, str(tmp_path)]
    racers = [
        subprocess.Popen([*command, name, way], stdin=-1, stdout=-1, text=True) for name in "ab"
    ]
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
    told = [racer.communicate(timeout=60)[0].split() for racer in racers]
    for i, won in enumerate(zip(*told, strict=True)):
        assert sorted(won) == ["False", "True"]
        assert (tmp_path / f"{i}.json").read_text() == "ab"[won.index("True")]
    assert len(list(tmp_path.iterdir())) == 30


@pytest.mark.parametrize("way", ["claim"], indirect=True)
@pytest.mark.parametrize("owner", ["gone", "elsewhere.1.1", ""])
def test_a_crash_between_claim_and_rename_keeps_nobody_out(tmp_path, way, monkeypatch, owner):
    """Two crashes even: a claim that was taken over is left as well."""
    monkeypatch.setattr(commit, "CLAIM_S", 3600 if owner == "gone" else 0.05)
    for i in range(2):
        (tmp_path / f".a.claim-{i}.tmp").write_text(dead_owner() if owner == "gone" else owner)
    assert Folder(tmp_path).create("a", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("way", ["claim"], indirect=True)
@pytest.mark.parametrize("done", [True, False])
def test_who_waits_goes_on_when_the_claim_ends(tmp_path, way, done):
    claim = tmp_path / ".a.claim-0.tmp"
    claim.write_text(commit.owner())

    def end():
        time.sleep(0.1)
        if done:
            (tmp_path / "a").write_text("first")
        claim.unlink()

    thread = threading.Thread(target=end)
    thread.start()
    assert Folder(tmp_path).create("a", b"second") is not done
    thread.join()
    assert Folder(tmp_path).read("a") == (b"first" if done else b"second")


@pytest.mark.parametrize("way", ["claim"], indirect=True)
def test_a_full_disk_leaves_no_claim(tmp_path, way, monkeypatch):
    monkeypatch.setattr(commit, "owner", lambda: refuse("ENOSPC"))
    with pytest.raises(OSError, match="No space left"):
        Folder(tmp_path).create("a", b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_link_whose_answer_was_lost_is_ours(tmp_path, monkeypatch):
    link = os.link

    def lost(*given):
        link(*given)
        link(*given)

    monkeypatch.setattr(os, "link", lost)
    assert Folder(tmp_path).create("a", b"x")


def test_a_folder_that_cannot_be_flushed_is_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: refuse("EINVAL"))
    Folder(tmp_path).replace("a", b"x")
    monkeypatch.setattr(os, "fsync", lambda handle: refuse("EIO"))
    with pytest.raises(OSError, match="Input/output"):
        Folder(tmp_path).replace("a", b"y")
