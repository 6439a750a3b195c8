import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from shards import Sample, ShardError, ShardWriter, Stream, UserError, encode_png
from vae import Stage, to_pixels
from vae.training.curriculum import Curriculum
from vae.training.loader import (
    Batches,
    ImageCache,
    native_crop,
    open_streams,
    resized_crop,
    sizes_of,
)


def one_stage(shares, resolution=16, steps=6):
    return Stage(
        name="a", samples=4 * steps, batch=4, micro=4, resolution=resolution, shares=shares
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


def test_a_batch_is_float_pixels_in_range(streams):
    batch = batches_of(streams, BOTH)[12, 0]
    assert (batch.shape, batch.dtype) == ((4, 3, 16, 16), torch.float32)
    assert -1 <= batch.min() < -0.5
    assert 0.5 < batch.max() <= 1


def test_batches_depend_on_seed_and_place_alone(streams):
    first, again = (batches_of(streams, BOTH, 7) for _ in range(2))
    backwards = {at: again[at] for at in reversed(places(again))}
    assert all(torch.equal(first[at], backwards[at]) for at in places(first))
    assert not torch.equal(first[0, 0], first[4, 0])
    assert not torch.equal(first[0, 0], batches_of(streams, BOTH, 8)[0, 0])


def test_micro_batches_are_parts_of_the_step(streams):
    whole = one_stage(BOTH)
    parts = [opened(Batches, streams, [whole.model_copy(update={"micro": m})]) for m in (4, 2, 1)]
    for n in (0, 8):
        steps = [torch.cat([b[at] for at in places(b) if at[0] == n]) for b in parts]
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
        assert torch.equal(resumed[at], expected[at][0])
        assert resumed.opened == expected[at][1]


def test_a_draw_is_cropped_alike_in_any_curriculum(streams):
    alone = batches_of(streams, {"general": 1.0}, 5)
    beside = batches_of(streams, BOTH, 5)
    taken = [k for k, draw in enumerate(beside.curriculum.draws(0)) if draw.stream == "general"]
    assert taken
    assert torch.equal(beside[0, 0][taken], alone[0, 0][: len(taken)])


def test_worker_processes_draw_the_same_batches(streams):
    batches = batches_of(streams, BOTH, 7)
    rest = places(batches, 8)
    loader = DataLoader(batches, batch_size=None, sampler=rest, num_workers=2)
    for at, batch in zip(rest, loader, strict=True):
        assert torch.equal(batch, batches[at])
    assert torch.equal(pickle.loads(pickle.dumps(batches))[4, 0], batches[4, 0])


def test_text_is_never_resized(streams):
    page = batches_of(streams, {"synthetic": 1.0})
    originals = [page.readers["synthetic"][i].pixels() for i in range(3)]
    windows = {
        original[y : y + 16, x : x + 16].tobytes()
        for original in originals
        for y in range(15)
        for x in range(5)
    }
    assert all(crop.tobytes() in windows for crop in to_pixels(page[0, 0]))


def test_photographs_are_cropped_natively_unless_their_stream_is_resized(streams):
    only = {"general": 1.0}
    resized, native = (batches_of(streams, only, resized=r)[0, 0] for r in (("general",), ()))
    # Averaging noise over a larger crop narrows it.
    assert resized.std() < native.std()


def test_small_images_are_reflected():
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    crop = native_crop(pixels, 4, np.random.default_rng(0))
    np.testing.assert_array_equal(crop[:2, :3], pixels)
    np.testing.assert_array_equal(crop[2:, :3], pixels[::-1])


def test_resized_crop_keeps_a_flat_image_flat():
    crop = resized_crop(np.full((50, 70, 3), 9, np.uint8), 16, np.random.default_rng(1))
    assert crop.shape == (16, 16, 3)
    assert (crop == 9).all()


def shard_with_broken(folder, broken, whole):
    folder.mkdir()
    with ShardWriter(folder, 0, recipe="test") as shard:
        for i in range(broken):
            shard.write(Sample(f"bad{i}", b"no image", "png"))
        for i in range(whole):
            pixels = np.zeros((20, 20, 3), np.uint8)
            shard.write(Sample(f"good{i}", encode_png(pixels), "png"))
    return folder


def test_a_broken_image_is_replaced_by_another(tmp_path):
    folder = shard_with_broken(tmp_path / "s", 1, 9)
    batches = batches_of({"s": folder}, {"s": 1.0})
    assert all((batches[at] == -1).all() for at in places(batches))


def test_only_broken_images_stop_the_run_by_name(tmp_path):
    folder = shard_with_broken(tmp_path / "s", 2, 0)
    with pytest.raises(ShardError, match=r"stream s: 4 images in a row .* bad"):
        batches_of({"s": folder}, {"s": 1.0})[0, 0]


def test_missing_streams_are_named_before_training(streams):
    with pytest.raises(UserError, match="draw from other"):
        batches_of(streams, {"other": 1.0})


def test_the_cache_is_bounded_and_drops_the_oldest():
    image = np.zeros((10, 10, 3), np.uint8)
    cache = ImageCache(2 * image.nbytes)
    for i in range(3):
        cache.put(("s", i), (image, True))
        cache.get(("s", 0))
    assert [cache.get(("s", i)) is not None for i in range(3)] == [True, False, True]
    cache.put(("s", 9), (np.zeros((99, 99, 3), np.uint8), True))
    assert cache.size == 2 * image.nbytes
