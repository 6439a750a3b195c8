"""A folder and a bucket keep the same promises; the bucket is on a real S3 server (moto)."""

import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from shards import ShardReader, ShardWriter, StoreError, UserError, open_store
from shards.dataset import Dataset
from shards.inspect.check import faults
from shards.store import Bucket, Folder, write_atomically
from tests.conftest import make_sample


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path):
    if request.param == "folder":
        return Folder(tmp_path)
    return open_store(f"{request.getfixturevalue('s3')}/{tmp_path.name}")


def test_what_is_written_is_read_back(store):
    assert store.names() == []
    store.replace("b.json", b"hello")
    store.replace("b.json", b"other")
    assert store.create("a.json", b"first")
    assert not store.create("a.json", b"second")
    staged = store.staging("c.tar")
    staged.write_bytes(bytes(range(256)))
    store.put(staged, "c.tar")
    assert not staged.exists()
    assert store.names() == ["a.json", "b.json", "c.tar"]
    assert [store.size(name) for name in store.names()] == [5, 5, 256]
    assert store.sizes() == {"a.json": 5, "b.json": 5, "c.tar": 256}
    assert list(store.read_all(["b.json", "a.json"])) == [b"other", b"first"]
    file = store.open("c.tar")
    assert (file.size, file.read(10, 3), file.read(254, 10)) == (
        256,
        bytes([10, 11, 12]),
        b"\xfe\xff",
    )
    assert file.read(300, 5) == b""
    file.close()
    store.delete("c.tar")
    store.delete("c.tar")
    assert not store.exists("c.tar")
    assert store.exists("a.json")


def test_a_folder_in_a_store_is_moved_and_removed_whole(store):
    inner = store.inside("step-1")
    for name in ("a", "b"):
        inner.make()
        inner.replace(name, name.encode())
    store.inside("step-10").make()
    store.inside("step-10").replace("a", b"other")
    assert store.names() == ["step-1", "step-10"]
    store.move("step-1", "aside")
    store.move("aside", "step-10")
    assert store.names() == ["step-10"]
    assert list(store.inside("step-10").read_all("ab")) == [b"a", b"b"]
    with pytest.raises(FileNotFoundError):
        store.move("step-1", "aside")
    store.remove("step-10")
    store.remove("step-10")
    assert store.names() == []
    for act in (store.inside, store.remove):
        with pytest.raises(UserError, match="not a plain file name"):
            act("../a")


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "a").write_text("")
    for path in (tmp_path / "a", tmp_path / "a/b"):
        with pytest.raises(UserError, match="is a file; give a folder"):
            Folder(path).make()


def test_a_missing_file_is_a_missing_file(store):
    for ask in (store.size, store.open, store.read):
        with pytest.raises(FileNotFoundError):
            ask("nothing")


@pytest.mark.parametrize("name", ["", "..", "../a", "a/b", "a\\b"])
def test_names_cannot_leave_the_store(store, name):
    for ask in (store.size, store.open, store.delete, store.staging):
        with pytest.raises(UserError, match="not a plain file name"):
            ask(name)
    with pytest.raises(UserError, match="not a plain file name"):
        store.create(name, b"x")


def test_a_store_opens_again_in_another_process(store):
    store.replace("a", b"x")
    for again in (open_store(str(store)), pickle.loads(pickle.dumps(store))):
        assert again.read("a") == b"x"


def test_a_full_disk_leaves_the_old_file_whole_and_is_named(tmp_path, monkeypatch):
    write_atomically(tmp_path / "a.png", b"old")
    full = tmp_path / ".a.png.tmp"
    full.symlink_to("/dev/full")
    monkeypatch.setattr("shards.store.folder.hidden", lambda path: full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomically(tmp_path / "a.png", b"new")
    assert caught.value.filename == str(full)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.png": b"old"}


def test_only_one_of_many_creators_wins(store):
    won = []
    threads = [
        threading.Thread(target=lambda i=i: store.create("a", b"%d" % i) and won.append(b"%d" % i))
        for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [store.read("a")]


def test_shards_are_the_same_bytes_in_both(s3, tmp_path):
    where = (tmp_path, f"{s3}/same")
    for place in where:
        for shard in range(2):
            with ShardWriter(place, shard, recipe="r") as writer:
                writer.extend(make_sample(i) for i in range(3 * shard, 3 * shard + 3))
    ours, theirs = map(Dataset, where)
    assert list(ours.sidecars()) == list(theirs.sidecars())
    assert [summary.shard for summary in theirs.whole()] == [0, 1]
    assert list(faults(where[1])) == []
    with ShardReader(where[0]) as ours, ShardReader(where[1]) as theirs:
        assert [sample.key for sample in theirs] == [sample.key for sample in ours]
        assert theirs[4].image == ours[4].image


def test_a_bucket_that_is_not_there_is_one_line(s3):
    with pytest.raises(
        StoreError, match=r"^s3://nowhere/x: The specified bucket does not exist; check the URL"
    ) as caught:
        open_store("s3://nowhere/x").names()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        *("", "\0", "ftp://host/a", "http://host/x", "S3://b/p", "file:/x", "file://host/x"),
        *(
            "s3://",
            "s3:///p",
            "s3:/b/p",
            "s3:b",
            "s3://b//p",
            "s3://b/../p",
            "s3://b/p?x",
            "s3://b/#",
        ),
    ],
)
def test_what_names_no_place_is_refused(url):
    with pytest.raises(UserError, match="is not a store"):
        open_store(url)


def test_file_urls_are_folders(tmp_path):
    (tmp_path / "with space").mkdir()
    store = open_store(f"file://{tmp_path}/with%20space")
    assert isinstance(store, Folder)
    assert store.path == tmp_path / "with space"


def test_a_home_folder_is_what_a_shell_makes_of_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_store("~/pages").path == tmp_path / "pages"
    assert open_store("~").path == tmp_path
    assert open_store("./~/pages").path == Path("~/pages")
    with pytest.raises(UserError, match="nobody knows that home folder"):
        open_store("~nobody-of-this-name/x")


@pytest.mark.parametrize(
    "path", ["~", "~a/b", "s3:", "s3:/b", "a:b/c", "a/s3:", b"/x\xff#%", b"\xff"]
)
def test_the_name_of_a_folder_leads_to_it_again(path):
    folder = Folder(Path(os.fsdecode(path)))
    str(folder).encode()
    assert open_store(str(folder)).path.absolute() == folder.path.absolute()


def test_a_place_is_a_name_in_the_store_above(tmp_path):
    for place, above in ((str(tmp_path / "a"), str(tmp_path)), ("s3://b/a%23", "s3://b")):
        store, name = open_store(place).above()
        assert (str(store), str(store.inside(name))) == (above, place)
    for nameless in ("s3://b", "/", "..", "."):
        with pytest.raises(UserError, match="give the name of a file"):
            open_store(nameless).above()


def dead_pid():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_sweep_takes_what_dead_processes_left_and_nothing_else(tmp_path):
    store = Folder(tmp_path)
    mine = store.staging("part-000000.tar")
    dead = mine.with_name(mine.name.replace(f".{os.getpid()}.", f".{dead_pid()}."))
    elsewhere = tmp_path / ".part-000001.tar.another-node.1.1.tmp"
    old = tmp_path / ".part-000002.tar.another-node.1.1.tmp"
    for path in (mine, dead, elsewhere, old, tmp_path / "part-000003.tar"):
        path.write_bytes(b"x")
    os.utime(old, (time.time() - 7200,) * 2)
    assert sorted(store.abandoned()) == sorted([dead, old])
    assert sorted(store.sweep()) == sorted([dead, old])
    assert {path.name for path in tmp_path.iterdir()} == {
        mine.name,
        elsewhere.name,
        "part-000003.tar",
    }


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_what_a_killed_process_left_is_swept_before_its_parent_takes_note(tmp_path):
    store = Folder(tmp_path)
    mine = store.staging("part-000000.tar")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        left = mine.with_name(mine.name.replace(f".{os.getpid()}.", f".{child.pid}."))
        left.write_bytes(b"x")
        assert store.abandoned() == []
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert store.abandoned() == [left]


def test_staging_of_a_bucket_is_swept_on_this_machine(s3):
    store = Bucket(f"{s3}/x")
    staged = store.staging("part-000000.tar")
    dead = staged.with_name(staged.name.replace(f".{os.getpid()}.", f".{dead_pid()}."))
    dead.write_bytes(b"x")
    assert dead in store.sweep()
    assert not dead.exists()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(UserError, match=r"pip install 'nonpareil\[cloud\]'"):
        open_store("s3://bucket/x").names()
