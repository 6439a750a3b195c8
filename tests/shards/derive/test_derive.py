"""Choosing samples and writing new datasets of them, as a person and as a program do."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shards import Dataset, Sample, ShardReader, ShardWriter, UserError, open_store
from shards.derive.choice import Choice, chosen
from shards.derive.copying import copy
from shards.derive.table import COLUMNS, draw
from shards.inspect.check import faults
from tests.command import mistake, nonpareil, run_module
from tests.conftest import make_sample

LANGUAGES = ("en", "zh", "")


def known(i):
    """A sample whose facts follow from its number."""
    facts = {"language": LANGUAGES[i % 3], "characters": i, "scores": {"contrast": i / 4}}
    facts |= {"size_px": [5 + i % 9, 20]} if i % 3 < 2 else {}
    plain = make_sample(i)
    return Sample(plain.key, plain.image, "png", text=plain.text, meta=plain.meta | facts)


def write(folder, numbers, size, recipe="r" * 64):
    folder.mkdir(exist_ok=True)
    numbers = list(numbers)
    for shard, first in enumerate(range(0, len(numbers), size)):
        with ShardWriter(folder, shard, recipe=recipe, versions={"pillow": "12"}) as writer:
            writer.extend(known(i) for i in numbers[first : first + size])
    return folder


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    return write(tmp_path_factory.mktemp("derive") / "pages", range(40), 7)


def keys(folder, **choice):
    parts = chosen([Dataset(folder)], Choice(**choice))
    return [int(entry.key) for part in parts for entry in part.entries]


CONDITIONS = {
    "language = 'zh' and size_px < 9": lambda i: i % 3 == 1 and 5 + i % 9 < 9,
    "size_px is null": lambda i: i % 3 == 2,
    "characters >= 30 or key = '000000004'": lambda i: i >= 30 or i == 4,
    "scores['contrast'] > 8.9": lambda i: i / 4 > 8.9,
    "scores['unknown'] > 0": lambda i: False,
    "shard = 2 and width = 60": lambda i: i // 7 == 2,
    "key in (select '00000000' || x from range(3) as t(x))": lambda i: i < 3,
}


@pytest.mark.parametrize("where", CONDITIONS)
def test_a_condition_chooses_what_it_says(pages, where):
    assert keys(pages, where=where) == [i for i in range(40) if CONDITIONS[where](i)]


def test_conditions_are_asked_of_many_shards_at_once(pages, monkeypatch):
    monkeypatch.setattr("shards.derive.choice.BATCH", 10)
    assert keys(pages, where="characters % 5 = 0") == list(range(0, 40, 5))


@pytest.mark.parametrize(
    "where",
    [
        "nope = 1",
        "size_px <",
        "true) or (true",
        "true; drop table x",
        "sum(width) > 3",
        "key",
        "exists(select * from read_text('/etc/hostname'))",
        "exists(select * from '/etc/hostname')",
    ],
)
def test_what_is_no_condition_is_refused_in_one_line(pages, where):
    said = mistake("shards", "ls", pages, "--where", where)
    assert f"--where {where}: " in said
    assert ", ".join(COLUMNS) in said


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(count=st.integers(1, 50), more=st.integers(0, 9), seed=st.integers(0, 2**64 - 1))
def test_a_random_choice_is_of_the_seed_alone_and_holds_smaller_ones(pages, count, more, seed):
    some = keys(pages, sample=count, seed=seed)
    assert len(some) == min(count, 40)
    assert some == sorted(some) == keys(pages, sample=count, seed=seed)
    assert {*some} <= {*keys(pages, sample=count + more, seed=seed)}


def test_draws_split_samples_into_shares_whatever_dataset_they_are_in(pages, tmp_path):
    other = write(tmp_path / "other", range(20, 40), 3)
    for share in (0.3, 0.9):
        low = keys(pages, where=f"draw < {share}", seed=5)
        high = keys(pages, where=f"draw >= {share}", seed=5)
        assert sorted(low + high) == list(range(40))
        assert [i for i in low if i >= 20] == keys(other, where=f"draw < {share}", seed=5)
        assert low == [i for i in range(40) if draw(f"{i:09d}", 5) < share * 2**64]
    assert keys(pages, sample=9, limit=4, seed=1) == keys(pages, sample=9, seed=1)[:4]


def stored(folder):
    """Every sample of a folder: its key, its files, and what its sidecar says beside."""
    for sidecar in Dataset(folder).sidecars():
        tar = (folder / sidecar.tar).read_bytes()
        for entry in sidecar.entries:
            files = {e: tar[offset : offset + size] for e, (offset, size) in entry.files.items()}
            yield entry.key, files, entry.model_dump(exclude={"key", "files"})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10)
@given(size=st.integers(1, 45), limit=st.integers(1, 45))
def test_a_copy_keeps_every_byte_in_shards_of_another_size(pages, tmp_path_factory, size, limit):
    out = tmp_path_factory.mktemp("copy") / "out"
    totals = copy([Dataset(pages)], open_store(out), Choice(limit=limit), samples_per_shard=size)
    assert totals.samples == min(limit, 40)
    assert list(stored(out)) == list(stored(pages))[:limit]
    assert {len(sidecar.entries) for sidecar in list(Dataset(out).sidecars())[:-1]} <= {size}
    assert list(faults(out, deep=True)) == []


def test_a_copy_that_was_stopped_goes_on(pages, tmp_path):
    out = tmp_path / "out"
    command = ["copy", pages, "--out", out, "--samples-per-shard", 9, "--where", "width > 0"]
    first = run_module("shards", *command).stdout
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (out / "part-000001.json").unlink()
    (out / "part-000003.tar").unlink()
    (out / "part-000003.json").unlink()
    untouched = (out / "part-000000.tar").stat().st_mtime_ns
    assert run_module("shards", *command).stdout == first
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert (out / "part-000000.tar").stat().st_mtime_ns == untouched
    assert "was made by another recipe" in mistake("shards", *command, "--limit", 3)
    assert json.loads(nonpareil("finalize", out, "--json").stdout)["samples"] == 40
    (out / "part-000004.json").unlink()
    assert "has 4 of 5 shards" in mistake("finalize", out)


def test_datasets_are_merged_where_that_is_asked_for(pages, tmp_path):
    other = write(tmp_path / "other", range(30, 50), 5, recipe="s" * 64)
    both = ["copy", pages, other, "--out", tmp_path / "out"]
    assert "2 recipes made these shards" in mistake("shards", *both)
    assert "key 000000030 is in " in mistake("shards", *both, "--mixed")
    assert "1 --prefix for 2 datasets" in mistake("shards", *both, "--mixed", "--prefix", "a")
    dotted = ["--mixed", "--prefix", "a.b", "--prefix", ""]
    assert "--prefix a.b: a key has no '.'" in mistake("shards", *both, *dotted)
    assert "is given twice" in mistake("shards", "copy", pages, pages, *both[3:])
    assert not (tmp_path / "out").exists()
    out = tmp_path / "named"
    named = ["--mixed", "--prefix", "a-", "--prefix", ""]
    nonpareil("shards", "copy", pages, other, "--out", out, *named)
    reader = ShardReader(out)
    assert len(reader) == 60
    assert reader[reader.find("a-000000030")] != reader[reader.find("000000030")]
    assert reader[reader.find("a-000000030")].text == "页 30"
    apart = ["--mixed", "--where", "characters < 30 or shard > 0"]
    assert "key 000000035 is in " in mistake("shards", *both[:-1], tmp_path / "x", *apart)
    assert {fault.kind for fault in faults(out, deep=True)} == {"twin"}


def test_only_whole_datasets_are_copied(tmp_path):
    pages = write(tmp_path / "pages", range(6), 2)
    out = ["--out", tmp_path / "out"]
    assert "no sample is chosen" in mistake("shards", "copy", pages, *out, "--where", "width = 1")
    (pages / "part-000001.json").rename(tmp_path / "kept.json")
    assert "part-000001.tar is damaged or unfinished" in mistake("shards", "copy", pages, *out)
    (pages / "part-000001.tar").unlink()
    assert "misses shard 1" in mistake("shards", "copy", pages, *out)
    assert not (tmp_path / "out").exists()
    nonpareil("shards", "copy", pages, *out, "--allow-missing")
    assert [sample.key[-1] for sample in ShardReader(tmp_path / "out")] == ["0", "1", "4", "5"]
    tar = pages / "part-000002.tar"
    tar.write_bytes(tar.read_bytes().replace("页".encode(), b"xxx"))
    broken = ["copy", pages, "--out", tmp_path / "new", "--allow-missing"]
    assert "bytes of sample 000000004 are not those written" in mistake("shards", *broken)


def test_buckets_are_copied_and_tabled(pages, tmp_path, s3):
    url = f"{s3}/{tmp_path.name}"
    nonpareil("shards", "copy", pages, "--out", f"{url}/a", "--limit", 9)
    nonpareil("shards", "copy", f"{url}/a", "--out", f"{url}/b", "--samples-per-shard", 2)
    nonpareil("shards", "copy", f"{url}/b", "--out", tmp_path / "back")
    assert list(stored(tmp_path / "back")) == list(stored(pages))[:9]
    nonpareil("shards", "table", f"{url}/b", "--out", f"{url}/tables/b.parquet")
    assert open_store(f"{url}/tables").read("b.parquet")[:4] == b"PAR1"


def test_a_table_holds_what_sidecars_say(pages, tmp_path, monkeypatch):
    from pyarrow import parquet

    monkeypatch.setattr("shards.derive.parquet.ROW_GROUP", 9)
    out = tmp_path / "pages.parquet"
    made = run_module("shards", "table", pages, "--out", out, "--seed", 3, "--json").stdout
    assert json.loads(made) == {"table": str(out), "rows": 40, "bytes": out.stat().st_size}
    table = parquet.read_table(out)
    assert table.column_names == list(COLUMNS)
    row = table.to_pylist()[16]
    assert row.pop("bytes") == sum(len(data) for data in list(stored(pages))[16][1].values())
    assert row == {
        "key": "000000016",
        "shard": 2,
        "width": 60,
        "height": 40,
        "language": "zh",
        "characters": 16,
        "size_px": 12.0,
        "largest_px": 20.0,
        "scores": [("contrast", 4.0)],
        "draw": draw("000000016", 3) / 2**64,
    }
    assert "does not end in .parquet" in mistake("shards", "table", pages, "--out", "x.csv")
    nothing = ["table", pages, "--out", tmp_path / "none.parquet", "--where", "width = 1"]
    assert "no sample of " in mistake("shards", *nothing)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pages.parquet"]


@pytest.mark.parametrize("package", ["duckdb", "pyarrow"])
def test_without_the_packages_one_line_says_which(pages, monkeypatch, package):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(UserError, match=r"pip install nonpareil\[sql\]"):
        keys(pages, where="true")
    assert len(keys(pages, limit=3)) == 3


def test_help_names_every_column():
    said = " ".join(run_module("shards", "table", "--help").stdout.split())
    assert all(f" {name}" in said for name in COLUMNS)
