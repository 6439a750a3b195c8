"""Streams of several ranks, stopped and resumed with other numbers of ranks."""

import json
from itertools import islice

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shards import (
    Sample,
    ShardError,
    ShardReader,
    ShardWriter,
    Stream,
    UserError,
    encode_png,
)
from tests.conftest import make_sample


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream")
    for shard in range(3):
        with ShardWriter(folder, shard, recipe="r") as writer:
            writer.extend(make_sample(i) for i in range(5 * shard, 5 * shard + 5))
    with ShardReader(folder) as reader:
        yield reader


def keys(stream, steps):
    return [int(sample.key) for sample in islice(stream, steps)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 2**64 - 1),
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 12)), min_size=1, max_size=4),
)
def test_every_sample_once_an_epoch_at_any_number_of_ranks(reader, seed, runs):
    state, drawn = Stream(reader, seed).state(), []
    for world, steps in runs:
        ranks = [Stream.restore(reader, state, rank=r, world=world) for r in range(world)]
        drawn += [
            key for step in zip(*(keys(r, steps) for r in ranks), strict=True) for key in step
        ]
        states = [rank.state() for rank in ranks]
        state = json.loads(json.dumps(states[0]))
        assert states == [state] * world
        assert state["draws"] == len(drawn)
    assert drawn == keys(Stream(reader, seed), len(drawn))
    for epoch in range(len(drawn) // 15):
        assert sorted(drawn[15 * epoch : 15 * epoch + 15]) == list(range(15))


@pytest.mark.parametrize("window", [0, 1, 32])
def test_the_state_counts_what_was_used_not_what_was_fetched(reader, window):
    stream = Stream(reader, 3, window=window)
    first = keys(stream, 7)
    assert stream.state()["draws"] == 7
    assert first + keys(Stream.restore(reader, stream.state()), 20) == keys(Stream(reader, 3), 27)


def test_a_state_says_how_far_and_of_what(reader):
    state = Stream(reader, 9, draws=10**15).state()
    assert all(isinstance(value, int) for value in state.values())
    assert len(json.dumps(state)) < 100
    assert len(keys(Stream.restore(reader, state), 2)) == 2


def test_a_state_of_other_samples_is_refused(reader, shard_folder):
    state = Stream(reader, 1).state()
    with (
        ShardReader(shard_folder) as other,
        pytest.raises(UserError, match=r"other samples \(15\)"),
    ):
        Stream.restore(other, state)
    with pytest.raises(UserError, match="begin anew"):
        Stream.restore(reader, {**state, "fingerprint": state["fingerprint"] ^ 1})
    with pytest.raises(UserError, match="holds draws, fingerprint, samples, seed; given was seed"):
        Stream.restore(reader, {"seed": 1})


def test_other_pictures_under_the_same_keys_are_other_samples(tmp_path):
    readers = []
    for folder, seed in (("first", 0), ("second", 1), ("moved", 0)):
        (tmp_path / folder).mkdir()
        with ShardWriter(tmp_path / folder, 0, recipe="r") as writer:
            pixels = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
            writer.write(Sample("000000", encode_png(pixels), "png"))
        readers.append(ShardReader(tmp_path / folder))
    first, second, moved = readers
    state = Stream(first, 1).state()
    with pytest.raises(UserError, match="of other samples"):
        Stream.restore(second, state)
    assert Stream.restore(moved, state).state() == state


def test_ranks_stay_in_step_over_broken_samples(shard_folder):
    (shard_folder / "part-000001.tar").unlink()
    with ShardReader(shard_folder, on_error="skip") as reader:
        ranks = [Stream(reader, 5, rank=r, world=2) for r in range(2)]
        drawn = [keys(rank, 30) for rank in ranks]
        assert {key for rank in drawn for key in rank} == {0, 1, 2}
        assert ranks[0].state() == ranks[1].state()
        assert set(reader.skipped) == {3, 4, 5}
        # What takes a broken sample's place depends on the draw alone.
        again = [Stream(reader, 5, rank=r, world=3) for r in range(3)]
        mixed = [key for step in zip(*(keys(r, 20) for r in again), strict=True) for key in step]
        assert mixed == [key for step in zip(*drawn, strict=True) for key in step]


def test_broken_samples_raise_unless_skipped(shard_folder):
    (shard_folder / "part-000001.tar").unlink()
    with ShardReader(shard_folder) as reader, pytest.raises(ShardError, match="it is gone"):
        keys(Stream(reader, 5), 6)


def test_only_broken_samples_stop_the_run(shard_folder):
    for tar in shard_folder.glob("*.tar"):
        tar.unlink()
    with (
        ShardReader(shard_folder, on_error="skip") as reader,
        pytest.raises(ShardError, match="64 samples drawn in a row cannot be read, the last"),
    ):
        next(Stream(reader, 0))
