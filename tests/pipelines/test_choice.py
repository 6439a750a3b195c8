"""`--shards`: these shards alone, and anew."""

import json

import pytest

from pipelines.engine.jobs import RenderJob
from pipelines.engine.run_options import RunOptions
from pipelines.engine.workers import Changed, Run
from shards import UserError
from shards.inspect.check import faults
from shards.numbers import parse_numbers
from tests.pipelines.conftest import INLINE, SMALL_PAGES
from tests.pipelines.engine.test_workers import sums


@pytest.mark.parametrize(
    ("text", "chosen"),
    [("7", [7]), ("1,4-6", [1, 4, 5, 6]), (" 3 - 4 , 3", [3, 4]), ("0-9", list(range(10)))],
)
def test_choices_are_read(text, chosen):
    assert parse_numbers(text, 10) == chosen


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "5-3", "1,,2", "1..3", "0x1", "٣", "1-2-3"])
def test_other_words_are_one_line(text):
    with pytest.raises(UserError, match=r"write it as 7, 123-130 or 1,4-6"):
        parse_numbers(text, 10)


@pytest.mark.parametrize("text", ["10", "0-99999999"])
def test_shards_that_the_job_has_not_are_refused(text):
    with pytest.raises(UserError, match=r"the recipe has 10 shards, 0 to 9"):
        parse_numbers(text, 10)


def test_only_the_chosen_shards_are_made(job, tmp_path):
    list(Run(job, tmp_path, RunOptions("inline", only=[2])))
    assert list(sums(tmp_path)) == [2]


def test_a_finished_shard_is_made_anew_with_the_same_bytes(job, tmp_path):
    list(Run(job, tmp_path, INLINE))
    before = sums(tmp_path)
    with (tmp_path / "part-000001.tar").open("r+b") as tar:
        tar.seek(600)
        tar.write(b"damage")
    made = list(Run(job, tmp_path, RunOptions("inline", only=[1])))
    assert [one.shard for one in made] == [1]
    assert sums(tmp_path) == before
    assert list(faults(tmp_path)) == []


def test_other_bytes_than_before_are_told(job, tmp_path):
    list(Run(job, tmp_path, INLINE))
    path = tmp_path / "part-000001.json"
    held = json.loads(path.read_text())
    held["sha256"] = "0" * 64
    held["versions"]["numpy"] = "1.0"
    path.write_text(json.dumps(held))
    with pytest.raises(Changed, match=r"shard 1 has other bytes .*000000000000 → .*numpy 1.0 → "):
        list(Run(job, tmp_path, RunOptions("inline", only=[0, 1])))
    assert Changed.exit_code == 1
    assert list(faults(tmp_path)) == []


def test_a_choice_does_not_unmake_the_others_when_it_is_cut_short(tmp_path):
    job = RenderJob.model_validate(SMALL_PAGES)
    list(Run(job, tmp_path, INLINE))
    run = iter(Run(job, tmp_path, RunOptions("inline", only=[0, 1])))
    next(run)
    run.close()
    assert list(sums(tmp_path)) == [0, 2]
    list(Run(job, tmp_path, INLINE))
    assert list(sums(tmp_path)) == [0, 1, 2]
