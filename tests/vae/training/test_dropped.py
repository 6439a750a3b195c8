import json
import shutil

import numpy as np
import pytest
import torch

from shards import Sample, ShardWriter, UserError, encode_png
from vae import fit
from vae.data.batch import Batch, Replaced
from vae.data.batches import Batches, open_streams, sizes_of
from vae.training.dropped import Dropped


def batch(keys="", too_small=0):
    replaced = tuple(Replaced("s", key, "cut short") for key in keys)
    return Batch(torch.empty(0), (), None, replaced, too_small)


def test_rows_of_all_ranks_are_in_order_and_given_once():
    first, second = Dropped(7), Dropped(7)
    for rank, steps in ((first, {0: "a", 8: "de"}), (second, {0: "bc", 8: ""})):
        for n, keys in steps.items():
            batches = [batch(keys), batch(too_small=2)]
            assert [*rank.noting(n, iter(batches))] == batches
    given = []
    second.rows(lambda value: [given.append(value), ([], 0)][1:])
    rows = first.rows(lambda value: [value, given[0]])
    assert [(row["n"], row["key"]) for row in rows] == [*zip([0, 0, 0, 8, 8], "abcde", strict=True)]
    assert rows[0] == {"n": 0, "stream": "s", "key": "a", "reason": "cut short"}
    assert (first.count, first.too_small) == (12, 8)
    assert first.rows(lambda value: [value]) == []


@pytest.mark.parametrize(("count", "n"), [(10, 64), (10, 1000), (50, 5000)])
def test_one_in_a_hundred_may_be_broken_and_no_more(count, n):
    Dropped(count).check(n)
    with pytest.raises(UserError, match=rf"^{count + 1} of {n:,} samples drawn are broken[^\n]*$"):
        Dropped(count + 1).check(n)


def broken_stream(folder, broken, whole):
    folder.mkdir()
    with ShardWriter(folder, 0, recipe="test") as shard:
        for i in range(broken):
            meta = {"kind": "photo", "width": 40, "height": 40}
            shard.write(Sample(f"bad{i}", b"no image", "png", meta=meta))
        for i in range(whole):
            pixels = np.random.default_rng(i).integers(0, 256, (40, 40, 3), np.uint8)
            meta = {"kind": "photo", "width": 40, "height": 40}
            shard.write(Sample(f"good{i}", encode_png(pixels), "png", meta=meta))
    return folder


def test_a_run_names_what_it_replaced_also_when_resumed(settings, streams, tmp_path):
    streams["general"] = broken_stream(tmp_path / "broken", 1, 5)
    out = tmp_path / "out"
    fit(settings, streams, out)
    rows = [json.loads(line) for line in (out / "dropped.jsonl").read_text().splitlines()]
    readers = open_streams(streams, settings.stages)
    curriculum = settings.curriculum(sizes_of(readers))
    batches = Batches(readers, curriculum)
    expected = [
        {"n": n, **gone._asdict()}
        for n in curriculum.starts()
        for m in range(curriculum.at(n).micro_batches)
        for gone in batches[n, m].replaced
    ]
    assert rows == expected
    assert {row["key"] for row in rows} == {"bad0"}
    assert len(rows) > 2
    # From the checkpoint before the last one on, the same rows are written again, once.
    shutil.rmtree(max(out.glob("step-*")))
    fit(settings, streams, out)
    assert [json.loads(line) for line in (out / "dropped.jsonl").read_text().splitlines()] == rows


def test_a_run_over_broken_data_stops_and_says_where_to_look(settings, streams, tmp_path):
    streams["general"] = broken_stream(tmp_path / "broken", 6, 2)
    with pytest.raises(UserError, match=r"samples drawn are broken, more than 1%; dropped.jsonl"):
        fit(settings, streams, tmp_path / "out")
    assert len((tmp_path / "out/dropped.jsonl").read_text().splitlines()) > 10
