"""Samples by number and by key, from tars that may be broken, in threads and in processes."""

import json
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from shards import (
    Sample,
    ShardError,
    ShardReader,
    ShardWriter,
    StoreError,
    UserError,
    encode_png,
    open_store,
)
from shards import reader as reader_module
from tests.conftest import make_sample, picture


def test_samples_come_back_whole(shard_folder):
    with ShardReader(shard_folder) as reader:
        assert len(reader) == 6
        assert list(reader) == [make_sample(i) for i in range(6)]
        assert np.array_equal(reader[4].pixels(), picture(4))


def test_samples_come_in_the_order_asked_for(shard_folder):
    with ShardReader(shard_folder) as reader:
        for window in (0, 2, 32):
            found = reader.read(iter([5, 0, 3, 3]), window=window)
            assert list(found) == [make_sample(i) for i in (5, 0, 3, 3)]


def test_find_by_key(shard_folder):
    with ShardReader(shard_folder) as reader:
        assert [reader.find(f"{i:09d}") for i in range(6)] == list(range(6))
        with pytest.raises(UserError, match="no sample 'nope'"):
            reader.find("nope")


def test_index_out_of_range(shard_folder):
    with ShardReader(shard_folder) as reader:
        for i in (6, -1):
            with pytest.raises(IndexError, match=f"{i} of 6"):
                reader[i]
            with pytest.raises(IndexError, match=f"{i} of 6"):
                list(reader.read([i]))


def test_a_shard_without_samples_is_passed_over(shard_folder):
    with ShardWriter(shard_folder, 2, recipe="r" * 64):
        pass
    with ShardWriter(shard_folder, 3, recipe="r" * 64) as writer:
        writer.write(make_sample(6))
    with ShardReader(shard_folder) as reader:
        assert list(reader) == [make_sample(i) for i in range(7)]


def test_text_and_metadata_are_parsed_when_asked_for():
    sample = Sample.of_files("k", {"png": b"x", "txt": b"\xff", "json": b"[1]"})
    with pytest.raises(ShardError, match="sample k: its text is not UTF-8"):
        _ = sample.text
    with pytest.raises(ShardError, match="sample k: its metadata is not a JSON object"):
        _ = sample.meta
    broken = Sample.of_files("k", {"png": b"x", "json": b"{"})
    with pytest.raises(ShardError, match="its metadata is not JSON"):
        _ = broken.meta
    assert Sample.of_files("k", {"png": b"x"}) == Sample("k", b"x", "png")


def open_files():
    return len([*Path("/proc/self/fd").iterdir()])


def test_many_tars_need_few_open_files(shard_folder, monkeypatch):
    monkeypatch.setattr(reader_module, "MAX_OPEN", 1)
    before = open_files()
    with ShardReader(shard_folder) as reader:
        for i in (0, 5, 1, 4):
            assert reader[i] == make_sample(i)
            assert open_files() <= before + 1
    assert open_files() == before


def test_threads_may_share_a_reader(shard_folder, monkeypatch):
    monkeypatch.setattr(reader_module, "MAX_OPEN", 1)
    numbers = np.random.default_rng(0).integers(6, size=2000).tolist()
    with ShardReader(shard_folder) as reader, ThreadPoolExecutor(8) as pool:
        keys = pool.map(lambda i: reader[i].key, numbers)
        assert list(keys) == [f"{i:09d}" for i in numbers]


def test_another_process_gets_the_index_and_opens_its_own_files(shard_folder):
    with ShardReader(shard_folder, on_error="skip") as reader:
        assert reader.find("000000005") == 5
        again = pickle.loads(pickle.dumps(reader))
    assert list(again) == [make_sample(i) for i in range(6)]
    assert again.find("000000005") == 5
    assert again.on_error == "skip"


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_of_torch_reads_batches(shard_folder, workers):
    with ShardReader(shard_folder) as reader:
        loader = DataLoader(
            reader, batch_size=4, sampler=[5, 0, 1, 2, 3, 4], num_workers=workers, collate_fn=list
        )
        assert [[sample.key[-1] for sample in batch] for batch in loader] == [
            ["5", "0", "1", "2"],
            ["3", "4"],
        ]


def truncate(folder, size=15000):
    tar = folder / "part-000001.tar"
    tar.write_bytes(tar.read_bytes()[:size])


def flip(folder):
    """Damage one byte of the picture of sample 4."""
    entry = json.loads((folder / "part-000001.json").read_text())["entries"][1]
    tar = folder / "part-000001.tar"
    data = bytearray(tar.read_bytes())
    data[entry["files"]["png"][0] + 30] ^= 1
    tar.write_bytes(data)


def test_truncated_tar_names_shard_and_key(shard_folder):
    truncate(shard_folder)
    with (
        ShardReader(shard_folder) as reader,
        pytest.raises(ShardError, match=r"part-000001.tar ends inside sample 000000004"),
    ):
        list(reader)


@pytest.mark.parametrize("window", [0, 32])
def test_what_is_cut_off_is_skipped_and_counted(shard_folder, window):
    truncate(shard_folder)
    with ShardReader(shard_folder, on_error="skip") as reader:
        for _ in range(2):
            found = reader.read(range(6), window=window)
            assert [sample.key[-1] for sample in found] == ["0", "1", "2", "3"]
            assert set(reader.skipped) == {4, 5}
        assert "ends inside sample 000000004" in reader.skipped[4]
        with pytest.raises(ShardError, match="ends inside"):
            reader[4]


def test_an_empty_tar_is_a_truncated_one(shard_folder):
    truncate(shard_folder, 0)
    with ShardReader(shard_folder, on_error="skip") as reader:
        assert len(list(reader)) == 3


def test_altered_bytes_are_found_where_they_are_looked_for(shard_folder):
    flip(shard_folder)
    with ShardReader(shard_folder) as reader:
        assert len(list(reader)) == 6
    with (
        ShardReader(shard_folder, check=True) as reader,
        pytest.raises(ShardError, match=r"part-000001.tar: the bytes of sample 000000004"),
    ):
        list(reader)
    with ShardReader(shard_folder, check=True, on_error="skip") as reader:
        assert len(list(reader)) == 5
        assert set(reader.skipped) == {4}


def test_a_sample_without_image_is_skipped(tmp_path):
    with ShardWriter(tmp_path, 0, recipe="r") as writer:
        writer.write(Sample("a", b"x", "svg"))
        writer.write(make_sample(0))
    with ShardReader(tmp_path, on_error="skip") as reader:
        assert [sample.key for sample in reader] == ["000000000"]
        assert reader.skipped == {0: "a: no image among ['json', 'svg']"}


def test_missing_tar_is_named(shard_folder):
    (shard_folder / "part-000001.tar").unlink()
    with ShardReader(shard_folder) as reader, pytest.raises(ShardError, match="it is gone"):
        reader[5]


def test_a_fault_of_the_machine_is_never_skipped(shard_folder, monkeypatch):
    def full(*_):
        raise OSError(24, "Too many open files")

    with ShardReader(shard_folder, on_error="skip") as reader:
        monkeypatch.setattr("shards.store.Folder.open", full)
        with pytest.raises(StoreError, match="cannot be opened: Too many open files"):
            list(reader)


def test_on_error_is_raise_or_skip(shard_folder):
    with pytest.raises(UserError, match="give raise or skip"):
        ShardReader(shard_folder, on_error="ignore")


def test_broken_sidecar_is_named(shard_folder):
    (shard_folder / "part-000001.json").write_text("{}")
    with pytest.raises(ShardError, match=r"part-000001.json is not a sidecar"):
        ShardReader(shard_folder)


@pytest.mark.parametrize("new", ['"../part-000001.tar"', '"/etc/passwd"', '"part-000000.tar"'])
def test_sidecar_cannot_point_to_another_file(shard_folder, new):
    note = shard_folder / "part-000001.json"
    note.write_text(note.read_text().replace('"part-000001.tar"', new))
    with pytest.raises(ShardError, match="is not a sidecar"):
        ShardReader(shard_folder)


@pytest.mark.parametrize(
    "files",
    [
        {"png": [0, 10**12]},
        {"png": [10**12, 1]},
        {"png": [512, 600], "json": [600, 10]},
        {},
        {"png": [-1, 5]},
        {"png": [2**63, 5]},
    ],
)
def test_sidecar_cannot_promise_what_is_not_there(shard_folder, files):
    note = json.loads((shard_folder / "part-000001.json").read_text())
    note["entries"][0]["files"] = files
    (shard_folder / "part-000001.json").write_text(json.dumps(note))
    with pytest.raises(ShardError, match="part-000001"):
        ShardReader(shard_folder)


def test_a_false_length_makes_us_allocate_nothing(shard_folder):
    note = json.loads((shard_folder / "part-000001.json").read_text())
    note["bytes"] = 2**62
    note["entries"][2]["files"] = {"png": [512, 2**32 - 1]}
    (shard_folder / "part-000001.json").write_text(json.dumps(note))
    with ShardReader(shard_folder) as reader, pytest.raises(ShardError, match="ends inside"):
        reader[5]


@pytest.mark.parametrize(
    ("bound", "why"), [("MAX_SPAN", "spans more"), ("MAX_LAYOUTS", "lists of")]
)
def test_what_an_index_cannot_hold_is_refused(shard_folder, monkeypatch, bound, why):
    monkeypatch.setattr(f"shards.index.{bound}", 0)
    with pytest.raises(ShardError, match=f"part-000000.tar: .*{why}"):
        ShardReader(shard_folder)


def test_an_index_is_small(tmp_path):
    with ShardWriter(tmp_path, 0, recipe="r") as writer:
        writer.extend(make_sample(i) for i in range(100))
    assert ShardReader(tmp_path).index.nbytes / 100 < 80


@pytest.fixture
def bucket(s3, tmp_path):
    where = f"{s3}/{tmp_path.name}"
    for shard in range(2):
        with ShardWriter(where, shard, recipe="r") as writer:
            writer.extend(make_sample(i) for i in range(3 * shard, 3 * shard + 3))
    return where


def test_several_places_are_read_as_one_folder_that_holds_all(shard_folder, s3, tmp_path):
    second, third = tmp_path / "second", open_store(f"{s3}/{tmp_path.name}")
    second.mkdir()
    with ShardWriter(third, 2, recipe="r" * 64) as writer:
        writer.extend(make_sample(i) for i in range(6, 8))
    places = (str(shard_folder), second, third)
    for name in third.names():
        (shard_folder / name).write_bytes(third.read(name))
    whole = ShardReader(shard_folder)
    for name in third.names():
        (shard_folder / name).unlink()
    for ending in ("tar", "json"):
        (shard_folder / f"part-000001.{ending}").rename(second / f"part-000001.{ending}")
    kept = pickle.loads(pickle.dumps(ShardReader(places, check=True)))
    assert [sample.key for sample in kept] == [make_sample(i).key for i in range(8)]
    assert [kept[i].image for i in (7, 4, 0)] == [make_sample(i).image for i in (7, 4, 0)]
    assert kept.find("000000006") == 6
    assert (kept.sizes() == whole.sizes()).all()
    assert kept.fingerprint == whole.fingerprint
    assert ShardReader(places[::-1]).fingerprint != kept.fingerprint
    (second / "part-000001.tar").unlink()
    with pytest.raises(ShardError, match=f"{second}/part-000001.tar cannot be opened"):
        ShardReader(places)[3]
    with pytest.raises(UserError, match="is given twice"):
        ShardReader([shard_folder, f"{shard_folder}/../{shard_folder.name}"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no finished shard"):
        ShardReader([shard_folder, tmp_path / "empty"])


def test_a_bucket_is_read_ahead_of_use(bucket, monkeypatch):
    with ShardReader(bucket, check=True) as reader:
        together, most = threading.Barrier(6, timeout=120), []
        read = ShardReader.get

        def get(self, i):
            most.append(together.wait())
            return read(self, i)

        monkeypatch.setattr(ShardReader, "get", get)
        # Ends only if six samples are under way at once.
        assert list(reader.read(range(6), window=6)) == [make_sample(i) for i in range(6)]
        assert len(most) == 6


def test_a_tar_cut_short_in_a_bucket(bucket):
    with ShardReader(bucket, on_error="skip") as reader:
        (store,) = reader.stores
        store.replace("part-000001.tar", store.read("part-000001.tar")[:15000])
        assert len(list(reader)) == 4
        assert set(reader.skipped) == {4, 5}


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_forked_process_cannot_use_a_bucket_and_is_told(bucket, start):
    with ShardReader(bucket) as reader:
        assert reader[0] == make_sample(0)
        loader = DataLoader(
            reader, batch_size=4, num_workers=1, collate_fn=list, multiprocessing_context=start
        )
        if start == "fork":
            with pytest.raises(UserError, match="multiprocessing_context='spawn'"):
                list(loader)
        else:
            assert [len(batch) for batch in loader] == [4, 2]


def test_sizes_come_from_the_sidecar_or_else_from_the_images(tmp_path):
    image = encode_png(picture(0))
    # Of the second the head is whole, which says the size.
    broken = {3: b"broken", 4: image[:60] + bytes(40) + image[100:]}
    told = [{"height": 7, "width": 9}, {"height": 70_000, "width": 9}, {}, {}, {}]
    with ShardWriter(tmp_path, 0, recipe="test") as writer:
        for i, meta in enumerate(told):
            writer.write(Sample(f"{i}", broken.get(i, image), "png", meta=meta))
    reader = ShardReader(tmp_path)
    size = [*picture(0).shape[:2]]
    assert reader.index.sizes.tolist() == [[7, 9], [65_535, 9], *[[0, 0]] * 3]
    assert reader.sizes().tolist() == [[7, 9], [65_535, 9], size, [0, 0], size]
    assert ShardReader.foreign(tmp_path).sizes()[:3].tolist() == [size] * 3
