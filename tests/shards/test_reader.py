"""Random access through the sidecars."""

import json

import numpy as np
import pytest

from shards import ShardError, ShardReader, UserError
from tests.conftest import make_sample, picture


def test_samples_come_back_whole(shard_folder):
    with ShardReader(shard_folder) as reader:
        assert len(reader) == 6
        assert list(reader) == [make_sample(i) for i in range(6)]
        assert np.array_equal(reader[4].pixels(), picture(4))


def test_find_by_key(shard_folder):
    with ShardReader(shard_folder) as reader:
        assert reader.find("000000005") == 5
        with pytest.raises(UserError, match="no sample 'nope'"):
            reader.find("nope")


def test_index_out_of_range(shard_folder):
    with ShardReader(shard_folder) as reader, pytest.raises(IndexError, match="6 of 6"):
        reader[6]


def test_truncated_tar_names_shard_and_key(shard_folder):
    tar = shard_folder / "part-000001.tar"
    tar.write_bytes(tar.read_bytes()[:9000])
    with (
        ShardReader(shard_folder) as reader,
        pytest.raises(ShardError, match=r"part-000001.tar ends inside"),
    ):
        list(reader)


def test_missing_tar_is_named(shard_folder):
    (shard_folder / "part-000001.tar").unlink()
    with ShardReader(shard_folder) as reader, pytest.raises(ShardError, match="cannot be opened"):
        reader[5]


def test_broken_sidecar_is_named(shard_folder):
    (shard_folder / "part-000001.json").write_text("{}")
    with pytest.raises(ShardError, match=r"part-000001.json is not a sidecar"):
        ShardReader(shard_folder)


@pytest.mark.parametrize(
    ("old", "new"),
    [('"part-000001.tar"', '"../part-000001.tar"'), ('"part-000001.tar"', '"/etc/passwd"')],
)
def test_sidecar_cannot_point_outside_its_folder(shard_folder, old, new):
    note = shard_folder / "part-000001.json"
    note.write_text(note.read_text().replace(old, new))
    with pytest.raises(ShardError, match="is not a sidecar"):
        ShardReader(shard_folder)


def test_sidecar_cannot_make_us_allocate_what_is_not_there(shard_folder):
    note = json.loads((shard_folder / "part-000001.json").read_text())
    note["entries"][0]["files"]["png"] = [0, 10**12]
    (shard_folder / "part-000001.json").write_text(json.dumps(note))
    with ShardReader(shard_folder) as reader, pytest.raises(ShardError, match="ends inside"):
        reader[3]
