"""What a resumed run reads of a sidecar: its end, which says what the rest adds up to."""

import json

import pytest

import shards.sidecar
from shards import ShardError, ShardWriter
from shards.dataset import Dataset
from shards.sidecar import TAIL_BYTES
from tests.conftest import make_sample

SAMPLES = 40


@pytest.fixture
def folder(tmp_path):
    """Two shards whose sidecars are longer than what is read of them."""
    for shard in range(2):
        with ShardWriter(tmp_path, shard, recipe="r", versions={"numpy": "2"}) as writer:
            writer.extend(make_sample(i) for i in range(SAMPLES * shard, SAMPLES * (shard + 1)))
            writer.drop("a.jpg", "clarity")
            writer.drop("b.jpg", "clarity")
            writer.drop("broken.jpg", "unreadable", detail='\n "version": 2,')
    assert all(note.stat().st_size > 2 * TAIL_BYTES for note in tmp_path.glob("*.json"))
    return tmp_path


def test_the_end_of_a_sidecar_says_what_all_of_it_says(folder, monkeypatch):
    whole = list(Dataset(folder).sidecars())

    def never(*args):
        raise AssertionError("the whole sidecar was read")

    monkeypatch.setattr(shards.sidecar, "read_sidecar", never)
    for found in (list(Dataset(folder).summaries()), list(Dataset(folder).whole())):
        for summary, sidecar in zip(found, whole, strict=True):
            assert summary.model_dump() == sidecar.model_dump(
                exclude={"entries", "dropped", "skipped"}
            )
            assert summary.sums.samples == len(sidecar.entries) == SAMPLES
            assert summary.sums.characters == sum(one.characters for one in sidecar.entries)
            assert summary.sums.dropped == {"clarity": 2}
            assert summary.sums.unreadable == ("broken.jpg",)
            assert summary.name == sidecar.name


def test_a_summary_longer_than_what_is_read_is_found_too(tmp_path):
    with ShardWriter(tmp_path, 0, recipe="r") as writer:
        writer.write(make_sample(0))
        for number in range(TAIL_BYTES // 8):
            writer.drop(f"{number:08d}.jpg", "unreadable")
    (summary,) = Dataset(tmp_path).whole()
    assert len(summary.sums.unreadable) == TAIL_BYTES // 8


def test_a_sidecar_that_someone_wrote_anew_is_read_as_a_whole(folder):
    note = folder / "part-000000.json"
    note.write_text(json.dumps(json.loads(note.read_text())))
    assert [summary.shard for summary in Dataset(folder).whole()] == [0, 1]


@pytest.mark.parametrize("left", [0, 1, 3000, -2, -200, -TAIL_BYTES, -TAIL_BYTES - 1])
def test_a_sidecar_that_was_cut_never_passes_for_whole(folder, left):
    note = folder / "part-000001.json"
    note.write_bytes(note.read_bytes()[:left])
    with pytest.raises(ShardError, match=r"part-000001\.json is not a sidecar"):
        list(Dataset(folder).whole())


def test_sums_that_are_not_those_of_the_entries_are_refused(folder):
    note = folder / "part-000001.json"
    held = json.loads(note.read_text())
    held["sums"]["samples"] += 1
    note.write_text(json.dumps(held))
    with pytest.raises(ShardError, match=r"part-000001\.json is not a sidecar"):
        list(Dataset(folder).sidecars())


def test_the_end_of_a_sidecar_copied_from_another_shard_is_refused(folder):
    (folder / "part-000001.json").write_bytes((folder / "part-000000.json").read_bytes())
    with pytest.raises(ShardError, match="says that it is shard 0"):
        list(Dataset(folder).whole())
