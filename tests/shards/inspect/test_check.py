"""Every fault is found, named with its remedy, and mended by repair and a rerun where it can be."""

import hashlib
import json
import os

import pytest

from shards import Sample, ShardWriter, UserError
from shards.dataset import Dataset, read_files
from shards.inspect.check import MAX_GAPS, REMEDIES, faults
from shards.inspect.repair import repair
from shards.manifest import MANIFEST, Manifest
from shards.sidecar import read_sidecar
from shards.store import Folder
from tests.conftest import make_sample


def make(folder, shard):
    """Write one of the two shards of `shard_folder`, as a rerun would."""
    with ShardWriter(folder, shard, recipe="r" * 64) as writer:
        writer.extend(make_sample(i) for i in range(3 * shard, 3 * shard + 3))
        writer.drop(f"photo{shard}.jpg", "blurry", scores={"sharpness": 0.1})


def note(folder, shard=1):
    return folder / f"part-{shard:06d}.json"


def tar(folder, shard=1):
    return folder / f"part-{shard:06d}.tar"


def alter_note(folder, change, shard=1):
    held = json.loads(note(folder, shard).read_text())
    change(held)
    note(folder, shard).write_text(json.dumps(held))


def alter_tar(folder, old, new):
    """Replace bytes of a tar and let its sidecar agree, as a producer at fault would."""
    data = tar(folder).read_bytes()
    assert old in data
    data = data.replace(old, new, 1)
    tar(folder).write_bytes(data)
    alter_note(folder, lambda held: held.update(sha256=hashlib.sha256(data).hexdigest()))


def alter_entry(field, value):
    return lambda folder: alter_note(folder, lambda held: held["entries"][1].update({field: value}))


def flip_a_bit(folder):
    data = bytearray(tar(folder).read_bytes())
    data[700] ^= 1
    tar(folder).write_bytes(data)


def move_a_file(folder):
    def change(held):
        held["entries"][0]["files"]["txt"][0] += 512

    alter_note(folder, change)


def break_a_picture(folder):
    sidecar = read_sidecar(Folder(folder), "part-000001.json")
    entry = sidecar.entries[0]
    with ShardWriter(folder, 2, recipe="r" * 64) as writer:
        writer.write(Sample("broken", b"not a picture", "png", meta={"width": 1}))
    assert entry.key != "broken"


def copy_a_shard(folder):
    tar(folder, 2).write_bytes(tar(folder, 0).read_bytes())
    held = json.loads(note(folder, 0).read_text()) | {"tar": "part-000002.tar", "shard": 2}
    note(folder, 2).write_text(json.dumps(held))


def repeat_a_picture(folder):
    with ShardWriter(folder, 2, recipe="r" * 64) as writer:
        first = make_sample(0)
        writer.write(Sample("other", first.image, "png", meta=first.meta))


MENDABLE = {
    "sidecar": lambda folder: note(folder).write_text("{"),
    "tar": lambda folder: tar(folder).unlink(),
    "size": lambda folder: tar(folder).write_bytes(b"x"),
    "sha256": flip_a_bit,
    "layout": move_a_file,
}

MENDABLE_DEEP = {
    "layout": alter_entry("key", "renamed"),
    "crc32": alter_entry("crc32", 7),
    "entry": alter_entry("language", "zh"),
}

LEFT = {
    "gap": lambda folder: (note(folder, 0).unlink(), tar(folder, 0).unlink()),
    "unfinished": lambda folder: note(folder).unlink(),
    "key": copy_a_shard,
    "mixed": lambda folder: alter_note(folder, lambda held: held.update(recipe="s" * 64)),
}


def list_shards(folder, **changes):
    """Write the manifest of a folder, then let it say something else."""
    held = Manifest.of(Dataset(folder), recipe="r" * 64, planned=2).row()
    held["shardlist"][-1] |= changes
    (folder / MANIFEST).write_text(json.dumps(held))


MENDABLE["recipe"] = LEFT["mixed"]  # where a recipe.json tells which is the right one
LEFT["manifest"] = lambda folder: list_shards(folder, sha256="0" * 64)

LEFT_DEEP = {"picture": break_a_picture, "twin": repeat_a_picture}


def kinds(folder, **options):
    return [fault.kind for fault in faults(folder, **options)]


def everything(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_good_shards_have_no_fault(shard_folder):
    assert kinds(shard_folder) == kinds(shard_folder, deep=True) == []


@pytest.mark.parametrize("kind", [*MENDABLE])
def test_what_is_damaged_is_found_and_a_rerun_after_repair_remakes_exactly_that(shard_folder, kind):
    (shard_folder / "recipe.json").write_text(json.dumps({"digest": "r" * 64}))
    before = everything(shard_folder)
    MENDABLE[kind](shard_folder)
    assert kinds(shard_folder) == [kind]
    mend_and_compare(shard_folder, before, deep=False)


@pytest.mark.parametrize("kind", [*MENDABLE_DEEP])
def test_what_only_the_samples_show_is_found_by_deep(shard_folder, kind):
    before = everything(shard_folder)
    MENDABLE_DEEP[kind](shard_folder)
    assert kinds(shard_folder) == []
    assert kinds(shard_folder, deep=True) == [kind]
    mend_and_compare(shard_folder, before, deep=True)


def mend_and_compare(folder, before, *, deep):
    damaged = everything(folder)
    (planned,) = repair(folder, deep=deep, dry_run=True)
    assert (planned.file, planned.done, planned.remade) == ("part-000001.json", "would remove", 1)
    assert everything(folder) == damaged
    (done,) = repair(folder, deep=deep)
    assert (done.file, done.done, done.remade) == ("part-000001.json", "removed", 1)
    assert everything(folder).keys() == damaged.keys() - {"part-000001.json"}
    make(folder, 1)
    assert everything(folder) == before
    assert list(repair(folder, deep=deep)) == []


@pytest.mark.parametrize(
    ("kind", "deep"), [*((k, False) for k in LEFT), *((k, True) for k in LEFT_DEEP)]
)
def test_what_repair_cannot_mend_is_left_and_named(shard_folder, kind, deep):
    (LEFT | LEFT_DEEP)[kind](shard_folder)
    before = everything(shard_folder)
    assert kinds(shard_folder, deep=deep) == [kind]
    (action,) = repair(shard_folder, deep=deep)
    assert action.done == "left"
    assert action.remade is None
    assert action.why.endswith(REMEDIES[kind])
    assert everything(shard_folder) == before


def test_every_kind_of_fault_is_tested():
    tested = {**MENDABLE, **MENDABLE_DEEP, **LEFT, **LEFT_DEEP}
    assert REMEDIES.keys() == tested.keys() | {"unreadable"}


def test_a_disk_that_fails_is_named_and_nothing_is_removed(shard_folder, monkeypatch):
    def fail(store, name):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("shards.store.Folder.sha256", fail)
    found = list(faults(shard_folder))
    assert [fault.fault for fault in found] == ["cannot be read: Input/output error"] * 2
    assert {action.done for action in repair(shard_folder)} == {"left"}
    assert kinds(shard_folder) == ["unreadable"] * 2


def test_repair_sweeps_what_killed_runs_left(shard_folder):
    left = shard_folder / ".part-000009.tar.elsewhere.1.1.tmp"
    left.write_bytes(b"x")
    os.utime(left, (0, 0))
    assert [action.file for action in repair(shard_folder, dry_run=True)] == [left.name]
    assert left.exists()
    assert [action.done for action in repair(shard_folder)] == ["removed"]
    assert not left.exists()


def test_repair_of_a_folder_without_shards_does_nothing(tmp_path):
    assert list(repair(tmp_path)) == []
    with pytest.raises(UserError, match="is not a folder"):
        list(repair(tmp_path / "no"))


def test_a_copied_shard_is_one_fault(shard_folder):
    copy_a_shard(shard_folder)
    (fault,) = faults(shard_folder, deep=True)
    assert fault.fault == "key 000000000 also in part-000000.tar, and 2 more"
    assert fault.row()["remedy"] == REMEDIES["key"]


def test_a_file_of_a_high_number_does_not_take_all_memory(shard_folder):
    (shard_folder / f"part-{10**12}.tar").write_bytes(b"")
    assert kinds(shard_folder) == ["unfinished"] + ["gap"] * MAX_GAPS


def test_a_misnamed_sidecar_is_broken(shard_folder):
    note(shard_folder).rename(shard_folder / "part-1.json")
    assert kinds(shard_folder) == ["unfinished", "sidecar"]


def test_a_manifest_that_agrees_is_no_fault_and_one_that_is_broken_is(shard_folder):
    list_shards(shard_folder)
    assert kinds(shard_folder) == []
    for broken in ("{", "[]", '{"shardlist": [1]}', '{"shardlist": 1}'):
        (shard_folder / MANIFEST).write_text(broken)
        assert kinds(shard_folder) == ["manifest"]


def test_a_last_shard_that_was_lost_is_missed_by_the_manifest(shard_folder):
    list_shards(shard_folder)
    note(shard_folder).unlink()
    tar(shard_folder).unlink()
    assert [(one.shard, one.kind) for one in faults(shard_folder)] == [(1, "gap")]


def test_progress_is_told(shard_folder):
    told = []
    list(faults(shard_folder, advance=lambda done, total: told.append((done, total))))
    assert told == [(1, 2), (2, 2)]


def test_an_empty_folder_is_a_mistake(tmp_path):
    with pytest.raises(UserError, match="holds no shard"):
        list(faults(tmp_path))


def test_a_sample_is_read_within_bounds(shard_folder):
    store = Folder(shard_folder)
    entry = read_sidecar(store, "part-000000.json").entries[0]
    file = store.open("part-000000.tar")
    assert list(read_files(file, entry)) == ["png", "txt", "json"]
    for files, said in (
        ({"png": (0, 2**40)}, "is larger than"),
        ({"png": (0, 2**20)}, "ends inside"),
    ):
        with pytest.raises(UserError, match=said):
            read_files(file, entry.model_copy(update={"files": files}))
    file.close()
