"""One listing tells the state of every shard, and everything that counts shards asks it."""

import json
import os
import pickle
import re

import pytest
from braceexpand import braceexpand

from shards import ShardError, ShardReader, ShardWriter, UserError
from shards.dataset import Dataset
from shards.inspect.check import faults
from shards.manifest import MANIFEST, Manifest, patterns
from shards.store import Folder
from shards.totals import Totals, in_words
from tests.conftest import make_sample
from tests.shards.inspect.test_cli import rows, shards


@pytest.fixture
def folder(tmp_path):
    """Four shards that met the same broken photograph, one of which dropped another image too."""
    for shard in range(4):
        with ShardWriter(tmp_path, shard, recipe="r") as writer:
            writer.extend(make_sample(i) for i in range(3 * shard, 3 * shard + 3))
            writer.drop("broken.jpg", "unreadable", detail="not a readable file")
            if shard == 2:
                writer.drop("soft.jpg", "blurry")
    return tmp_path


def test_every_state_of_a_shard_is_known(folder):
    (folder / "part-000001.tar").unlink()
    os.truncate(folder / "part-000002.tar", 1024)
    (folder / "part-000003.json").unlink()
    (folder / "part-000006.tar").write_bytes(b"")
    (folder / "00007.tar").write_bytes(b"")
    dataset = Dataset(folder)
    assert [summary.shard for summary in dataset.whole()] == [0]
    damages = [dataset.damage(summary) for summary in dataset.summaries()]
    assert damages[0] is None
    assert [damage.fault for damage in damages[1:]] == [
        "missing tar",
        f"1,024 bytes instead of {damages[2].fault.split()[-1]}",
    ]
    assert dataset.unfinished == ["part-000003.tar", "part-000006.tar"]
    assert dataset.foreign == ["00007.tar", *dataset.unfinished]
    assert list(dataset.absent()) == [4, 5]


def test_a_broken_sidecar_stops_who_counts_and_is_told_to_who_asks(folder):
    (folder / "part-000001.json").write_text("{")
    dataset = Dataset(folder)
    for count in (dataset.totals, lambda: list(dataset.whole()), lambda: list(dataset.sidecars())):
        with pytest.raises(ShardError, match=r"part-000001\.json is not a sidecar"):
            count()
    assert dataset.examine("part-000001.json") == (None, ("sidecar", "broken sidecar"))
    sidecar, damage = dataset.examine("part-000000.json")
    assert (sidecar.shard, damage) == (0, None)


def test_a_folder_is_listed_once(folder, monkeypatch):
    listed = []
    sizes = Folder.sizes
    monkeypatch.setattr(Folder, "sizes", lambda store: listed.append(1) or sizes(store))
    monkeypatch.setattr(Folder, "names", lambda store: pytest.fail("listed again"))
    dataset = Dataset(folder)
    dataset.totals()
    assert len(dataset.foreign) == len(list(dataset.absent())) == 0
    assert len(list(dataset.sidecars())) == 4
    assert len(listed) == 1


def test_where_there_is_nothing_the_error_says_what_there_is(tmp_path):
    (tmp_path / "00000.tar").write_bytes(b"")
    with pytest.raises(UserError, match=r"tars without sidecar \(1\)"):
        raise Dataset(tmp_path).nothing()
    with pytest.raises(UserError, match=r"nonpareil shards index"):
        ShardReader(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        Dataset(tmp_path / "nowhere")


def test_totals_add_up_and_travel(folder):
    whole = list(Dataset(folder).whole())
    totals = Totals.of(whole[:1])
    totals += pickle.loads(pickle.dumps(Totals.of(whole[1:])))
    assert totals == Totals.of(whole) == Dataset(folder).totals()
    assert (totals.shards, totals.samples) == (4, 12)
    assert totals.characters == sum(5 + i for i in range(12))
    assert totals.bytes == sum(tar.stat().st_size for tar in folder.glob("*.tar"))


def test_one_broken_photograph_met_by_four_shards_is_told_the_same_everywhere(folder):
    dropped, unreadable = {"unreadable": 4, "blurry": 1}, 1
    (stats,) = rows(shards("stats", folder, "--json"))
    manifest = Manifest.of(Dataset(folder), recipe="r", planned=4)
    for held in (stats, manifest.row(), Dataset(folder).totals().row()):
        assert (held["dropped"], held["unreadable"]) == (dropped, unreadable)
    line = in_words(manifest.row() | {"shards": 4})
    assert line.endswith("5 dropped (unreadable 4, blurry 1), 1 unreadable")
    assert line in shards("stats", folder).stdout
    assert shards("ls", folder).stdout.splitlines()[-1] == line
    page = folder / "page.html"
    shards("report", folder, "--out", page)
    assert "<dt>dropped</dt><dd>5 " in page.read_text()
    assert "<dt>unreadable</dt><dd>1<" in page.read_text()


def test_what_is_damaged_is_not_counted_and_said(folder):
    os.truncate(folder / "part-000001.tar", 1024)
    assert Dataset(folder).totals().shards == 3
    for verb in ("ls", "stats"):
        said = shards(verb, folder).stdout
        assert "3 shards, 9 samples, " in said
        assert "; 1 damaged, nonpareil shards verify says how" in said
    assert [row["shard"] for row in rows(shards("ls", folder, "--json"))] == [0, 2, 3]


def test_a_manifest_is_read_back_and_says_when_it_is_broken(folder):
    store = Folder(folder)
    assert Manifest.read(store) is None
    manifest = Manifest.of(Dataset(folder), recipe="r", planned=6)
    (folder / MANIFEST).write_text(manifest.text())
    assert Manifest.read(store) == manifest
    assert manifest.missing == [4, 5]
    assert "manifest" not in {fault.kind for fault in faults(folder)}
    (folder / MANIFEST).write_text("[]")
    with pytest.raises(ShardError, match="broken manifest"):
        Manifest.read(store)


def test_a_manifest_without_unreadable_files_does_not_speak_of_them(shard_folder):
    manifest = Manifest.of(Dataset(shard_folder), recipe="r" * 64, planned=2)
    assert "unreadable" not in json.loads(manifest.text())
    assert manifest.dropped == {"blurry": 2}


def test_patterns_do_not_cross_a_change_of_width():
    braces = list(patterns([999_998, 999_999, 1_000_000, 1_000_001, 1_000_003]))
    assert braces == [
        "part-{999998..999999}.tar",
        "part-{1000000..1000001}.tar",
        "part-1000003.tar",
    ]
    names = [name for pattern in braces for name in braceexpand(pattern)]
    assert all(re.fullmatch(r"part-\d+\.tar", name) for name in names)
