import os
import pickle
import re
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from shards import (
    Order,
    Sample,
    ShardError,
    ShardReader,
    ShardWriter,
    Stream,
    UserError,
    encode_png,
)
from vae import Stage
from vae.curriculum.curriculum import Curriculum
from vae.data.batch import Replaced
from vae.data.batches import Batches, open_streams, sizes_of
from vae.data.em import em_map
from vae.data.loader import announce, check_room, load
from vae.data.pictures import ImageCache, Picture


def one_stage(shares, resolution=16, steps=6):
    return Stage(
        name="a",
        samples=4 * steps,
        batch=4,
        micro=4,
        resolution=resolution,
        aspects=(1.0,),
        shares=shares,
    )


def opened(kind, streams, stages, seed=0, **more):
    readers = open_streams(streams, stages)
    return kind(readers, Curriculum(stages, sizes_of(readers), seed), **more)


def batches_of(streams, shares, seed=0, **more):
    return opened(Batches, streams, [one_stage(shares)], seed, **more)


def places(batches, start=0):
    """(n, m) of all micro-batches from a step on."""
    curriculum = batches.curriculum
    steps = map(curriculum.at, curriculum.starts(start))
    return [(knobs.n, m) for knobs in steps for m in range(knobs.micro_batches)]


BOTH = {"general": 1.0, "synthetic": 1.0}


def same(batch, other):
    """No bit differs."""
    assert (batch.em is None) == (other.em is None)
    return (
        torch.equal(batch.images, other.images)
        and (batch.em is None or torch.equal(batch.em, other.em))
        and batch.keys == other.keys
        and batch.replaced == other.replaced
    )


def test_a_batch_is_uint8_channels_last_with_the_keys_of_its_images(streams):
    batch = batches_of(streams, BOTH)[12, 0]
    assert (batch.images.shape, batch.images.dtype) == ((4, 3, 16, 16), torch.uint8)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert {key.partition("/")[0] for key in batch.keys} == {*BOTH}
    assert {key.partition("/")[2] for key in batch.keys} <= {"000000", "000001", "000002"}
    assert (batch.em, batch.replaced) == (None, ())


def test_batches_depend_on_seed_and_place_alone(streams):
    first, again = (batches_of(streams, BOTH, 7) for _ in range(2))
    backwards = {at: again[at] for at in reversed(places(again))}
    assert all(same(first[at], backwards[at]) for at in places(first))
    assert not same(first[0, 0], first[4, 0])
    assert not same(first[0, 0], batches_of(streams, BOTH, 8)[0, 0])


def test_micro_batches_are_parts_of_the_step(streams):
    whole = one_stage(BOTH)
    parts = [opened(Batches, streams, [whole.model_copy(update={"micro": m})]) for m in (4, 2, 1)]
    for n in (0, 8):
        steps = [torch.cat([b[at].images for at in places(b) if at[0] == n]) for b in parts]
        assert all(torch.equal(step, steps[0]) for step in steps)


class Drawn(Batches):
    """Notes the number of each sample it opens, by stream."""

    def _open(self, stream, index):
        self.opened = getattr(self, "opened", {})
        self.opened.setdefault(stream, []).append(index)
        return super()._open(stream, index)


def mixed(streams, seed=3):
    """Two stages whose shares move, 72 draws."""
    shares = {"general": {"from": 1.0, "to": 0.0}, "synthetic": {"from": 0.0, "to": 1.0}}
    ramp = Stage(name="a", samples=48, batch=4, micro=2, resolution=16, shares=shares)
    rest = Stage(name="b", samples=24, batch=3, micro=1, resolution=8, shares=BOTH)
    return opened(Drawn, streams, [ramp, rest], seed)


def test_every_epoch_of_every_stream_sees_each_sample_once(make_shard):
    sizes = {"general": 7, "synthetic": 5}
    streams = {name: make_shard(name, "text", count, (20, 20)) for name, count in sizes.items()}
    batches = mixed(streams)
    for at in places(batches):
        batches[at]
    for name, count in sizes.items():
        numbers = batches.opened[name]
        epochs = [numbers[start : start + count] for start in range(0, len(numbers), count)]
        assert len(epochs) > 3
        assert all(sorted(epoch) == list(range(count)) for epoch in epochs[:-1])
        assert len({*epochs[-1]}) == len(epochs[-1])
        assert epochs[0] != epochs[1]


def test_a_stream_is_drawn_in_the_order_in_which_stream_reads_it(streams):
    batches = mixed(streams)
    for at in places(batches):
        batches[at]
    for name, numbers in batches.opened.items():
        reader = batches.readers[name]
        stream = Stream(reader, 3)
        assert [reader[number].key for number in numbers] == [next(stream).key for _ in numbers]


def test_a_run_that_begins_at_any_step_draws_what_an_undisturbed_one_does(streams):
    whole = mixed(streams)
    expected = {}
    for at in places(whole):
        whole.opened = {}
        expected[at] = (whole[at], whole.opened)
    for at in reversed(places(whole)):
        resumed = mixed(streams)
        assert same(resumed[at], expected[at][0])
        assert resumed.opened == expected[at][1]


def test_a_draw_is_cropped_alike_in_any_curriculum(streams):
    alone = batches_of(streams, {"general": 1.0}, 5)
    beside = batches_of(streams, BOTH, 5)
    taken = [k for k, draw in enumerate(beside.curriculum.draws(0)) if draw.stream == "general"]
    assert taken
    assert torch.equal(beside[0, 0].images[taken], alone[0, 0].images[: len(taken)])


@pytest.mark.parametrize("loaders", [0, 2])
def test_loader_processes_draw_the_same_batches(streams, loaders):
    batches = batches_of(streams, BOTH, 7, em=True)
    rest = places(batches, 8)
    for at, batch in zip(rest, load(batches, iter(rest), loaders=loaders), strict=True):
        assert same(batch, batches[at])
    assert same(pickle.loads(pickle.dumps(batches))[4, 0], batches[4, 0])


def test_text_is_never_resized(streams):
    page = batches_of(streams, {"synthetic": 1.0})
    originals = [page.readers["synthetic"][i].pixels() for i in range(3)]
    windows = {
        original[y : y + 16, x : x + 16].tobytes()
        for original in originals
        for y in range(15)
        for x in range(5)
    }
    assert all(crop.numpy().tobytes() in windows for crop in page[0, 0].images.movedim(1, -1))


def test_photographs_are_cropped_natively_unless_their_stream_is_resized(streams):
    only = {"general": 1.0}
    resized, native = (
        batches_of(streams, only, resized=r)[0, 0].images for r in (("general",), ())
    )
    # Averaging noise over a larger crop narrows it.
    assert resized.float().std() < native.float().std()


def shard_with_broken(folder, broken, whole):
    folder.mkdir()
    with ShardWriter(folder, 0, recipe="test") as shard:
        for i in range(broken):
            size = {"width": 20, "height": 20}
            shard.write(Sample(f"bad{i}", b"no image", "png", meta=size))
        for i in range(whole):
            pixels = np.zeros((20, 20, 3), np.uint8)
            shard.write(Sample(f"good{i}", encode_png(pixels), "png"))
    return folder


def test_a_broken_image_is_replaced_by_the_one_its_draw_has_an_epoch_later(tmp_path):
    folder = shard_with_broken(tmp_path / "s", 1, 9)
    batches = batches_of({"s": folder}, {"s": 1.0})
    reader, order = batches.readers["s"], Order(10, 0)
    expected = []
    reason = "not a readable PNG, JPEG, WebP, TIFF, BMP, GIF, AVIF file"
    for at in places(batches):
        batch = batches[at]
        assert not batch.images.any()
        for key, draw in zip(batch.keys, batches.curriculum.draws(at[0]), strict=True):
            later = next(i for i in range(9) if reader[order[draw.number + 10 * i]].key != "bad0")
            assert key == f"s/{reader[order[draw.number + 10 * later]].key}"
            expected += later * [Replaced("s", "bad0", reason)]
    assert [gone for at in places(batches) for gone in batches[at].replaced] == expected
    assert len(expected) > 1


def damaged(folder, how):
    """A stream of two shards of five images each, one of them damaged."""
    folder.mkdir()
    for shard in range(2):
        with ShardWriter(folder, shard, recipe="test") as writer:
            for i in range(5):
                pixels = np.random.default_rng([shard, i]).integers(0, 256, (20, 20, 3), np.uint8)
                label = {"lines": [{"box": [0, 0, 9, 9], "size_px": 7}], "width": 20, "height": 20}
                writer.write(Sample(f"{shard}{i}", encode_png(pixels), "png", "x", label))
    place = ShardReader(folder).index.place(2)
    tar = folder / "part-000000.tar"
    data = bytearray(tar.read_bytes())
    files = {
        ending: (place.start + place.bounds[a], place.start + place.bounds[b])
        for ending, a, b in place.cuts
    }
    if how == "missing tar":
        tar.unlink()
        return folder
    if how == "truncated tar":
        del data[files["png"][0] + 100 :]
    elif how == "truncated image":
        data[files["png"][0] + 100 : files["png"][1]] = bytes(
            files["png"][1] - files["png"][0] - 100
        )
    elif how == "broken label":
        data[files["json"][0]] = ord("]")
    elif how == "label of other things":
        data[files["json"][0] : files["json"][1]] = b'{"lines":7}'.ljust(
            files["json"][1] - files["json"][0]
        )
    elif how == "broken text":
        data[files["txt"][0]] = 0xFF
    tar.write_bytes(data)
    return folder


@pytest.mark.parametrize(
    ("how", "gone", "reason"),
    [
        ("missing tar", 5, r"part-000000.tar cannot be opened: it is gone"),
        ("truncated tar", 3, r"part-000000.tar ends inside sample 0[2-4]"),
        ("truncated image", 1, "broken or truncated image data"),
        ("broken label", 1, "sample 02: its metadata is not JSON"),
        ("label of other things", 1, "sample 02: its lines are no lines"),
        ("broken text", 1, "sample 02: its text is not UTF-8"),
    ],
)
def test_what_is_damaged_is_named_and_the_rest_is_read(tmp_path, how, gone, reason):
    folder = damaged(tmp_path / "s", how)
    batches = batches_of({"s": folder}, {"s": 1.0}, em=True, resized=("s",))
    drawn = [batches[at] for at in places(batches)]
    replaced = [sample for batch in drawn for sample in batch.replaced]
    assert {sample.key for sample in replaced} == {
        f"0{i}" for i in range(5 - gone if gone != 1 else 2, 5 if gone != 1 else 3)
    }
    assert all(
        re.search(reason, sample.reason) and "\n" not in sample.reason for sample in replaced
    )
    kept = {key for batch in drawn for key in batch.keys}
    assert len(kept) == 10 - gone
    assert kept.isdisjoint(f"s/{sample.key}" for sample in replaced)


def test_labels_are_not_parsed_where_nobody_asks(tmp_path):
    folder = damaged(tmp_path / "s", "broken label")
    batches = batches_of({"s": folder}, {"s": 1.0}, resized=("s",))
    assert not any(batches[at].replaced for at in places(batches))


def test_an_image_smaller_than_its_sidecar_says_is_named(tmp_path):
    (tmp_path / "s").mkdir()
    pixels = encode_png(np.zeros((20, 20, 3), np.uint8))
    with ShardWriter(tmp_path / "s", 0, recipe="test") as writer:
        writer.write(Sample("small", pixels, "png", meta={"width": 30, "height": 30}))
    batches = opened(Batches, {"s": tmp_path / "s"}, [one_stage({"s": 1.0}, resolution=24)])
    with pytest.raises(ShardError, match=r"stream s: 64 .* small \(20x20 px, smaller than 24x24\)"):
        batches[0, 0]


@pytest.mark.parametrize("loaders", [0, 1])
def test_only_broken_images_stop_the_run_by_name_in_one_line(tmp_path, loaders):
    folder = shard_with_broken(tmp_path / "s", 2, 0)
    batches = batches_of({"s": folder}, {"s": 1.0})
    with pytest.raises(UserError, match=r"^stream s: 64 samples drawn in a row .* bad[^\n]*$"):
        next(load(batches, [(0, 0)], loaders=loaders))


class Deadly(Batches):
    def __getitem__(self, place):
        os.kill(os.getpid(), signal.SIGKILL)


class Warned(Batches):
    """Gets both signals that end a job, before each batch."""

    def __getitem__(self, place):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        return super().__getitem__(place)


class Unsendable(Batches):
    """Makes batches that cannot cross to another process, as where shared memory is full."""

    def __getitem__(self, place):
        return super().__getitem__(place)._replace(keys=(lambda: None,))


@pytest.mark.parametrize("kind", [Deadly, Unsendable])
def test_a_loader_process_that_is_gone_is_one_line(streams, kind):
    batches = opened(kind, streams, [one_stage(BOTH)])
    with pytest.raises(UserError, match=r"^a loader process was killed .*--loaders[^\n]*$"):
        next(load(batches, [(0, 0)], loaders=1))


def test_signals_to_a_whole_job_leave_the_loaders_at_work(streams):
    batches = opened(Warned, streams, [one_stage(BOTH)])
    (batch,) = load(batches, [(0, 0)], loaders=1)
    assert same(batch, batches_of(streams, BOTH)[0, 0])


def test_the_map_of_the_em_is_cut_with_the_picture(tmp_path):
    """Pixels tell their place on the page, and so which pixel of its map belongs to them."""
    (tmp_path / "s").mkdir()
    y, x = np.mgrid[:40, :50].astype(np.uint8)
    label = {
        "lines": [{"box": [3, 5, 40, 15], "size_px": 9}, {"box": [9, 20, 45, 38], "size_px": 17}]
    }
    with ShardWriter(tmp_path / "s", 0, recipe="test") as writer:
        pixels = np.stack([y, x, np.zeros_like(x)], -1)
        writer.write(Sample("page", encode_png(pixels), "png", "x", label))
    whole = em_map(label, 40, 50, "page")
    batches = batches_of({"s": tmp_path / "s"}, {"s": 1.0}, em=True, resized=("s",))
    sizes = set()
    for at in places(batches):
        batch = batches[at]
        row, column, _ = batch.images.long().unbind(1)
        np.testing.assert_array_equal(batch.em, whole[row, column])
        sizes |= {*batch.em.unique().tolist()}
    assert sizes == {0, 9, 17}


def test_missing_streams_are_named_before_training(streams):
    with pytest.raises(UserError, match="draw from other"):
        batches_of(streams, {"other": 1.0})


def test_the_cache_is_bounded_and_drops_the_oldest():
    image = Picture(np.zeros((10, 10, 3), np.uint8), np.zeros((10, 10), np.uint8), True)
    cache = ImageCache(2 * image.nbytes)
    for i in range(3):
        cache.put(("s", i), image)
        cache.get(("s", 0))
    assert [cache.get(("s", i)) is not None for i in range(3)] == [True, False, True]
    cache.put(("s", 9), Picture(np.zeros((99, 99, 3), np.uint8), None, True))
    assert cache.size == 2 * image.nbytes == 800


def test_fingerprints_follow_what_the_streams_hold(streams, make_shard):
    prints = batches_of(streams, BOTH).fingerprints()
    assert {*prints} == {*BOTH}
    moved = {**streams, "general": make_shard("moved", "photo", 3, (40, 50))}
    assert batches_of(moved, BOTH).fingerprints() == prints
    other = {**streams, "general": make_shard("other", "photo", 4, (40, 50))}
    assert batches_of(other, BOTH).fingerprints() != prints


def test_far_more_loaders_than_cores_are_refused():
    announce({}, 2)
    with pytest.raises(UserError, match=r"loaders=100000: this machine has \d+ cores; give at"):
        announce({}, 100_000)


def test_batches_that_shared_memory_does_not_hold_are_refused(monkeypatch):
    stages = [one_stage(BOTH), one_stage(BOTH, resolution=64)]
    need = 4 * 64 * 64 * 4 * (2 * 3 + 1)
    for blocks in (need, need - 1):
        free = SimpleNamespace(f_bavail=blocks, f_frsize=1)
        monkeypatch.setattr(os, "statvfs", lambda path, free=free: free)
        for loaders, em in ((0, True), (2, True), (3, False)):
            check_room(stages, loaders, em=em)
        if blocks == need:
            check_room(stages, 3, em=True)
    with pytest.raises(UserError, match=r"of 3 loaders take up to 0 MB .*shm-size.*--loaders 0"):
        check_room(stages, 3, em=True)
