"""What a plan says of a run is what the run does, and what it refuses never starts."""

from collections import Counter

import numpy as np
import pytest
import torch

from shards import UserError
from vae import TrainSettings
from vae.training.budget import GPUS
from vae.training.check import check, check_apart
from vae.training.count import Outline
from vae.training.plan import Mode, chosen, epochs, plan

SIZES = {
    "general": np.array([[40, 50]] * 3, np.uint16),
    "synthetic": np.array([[30, 20], [6, 40]], np.uint16),
}
KEPT, AGAIN = (Mode(torch.bfloat16, recompute, "fast") for recompute in (False, True))


def altered(settings, **fields):
    return TrainSettings.model_validate(settings.model_dump() | fields)


def with_stage(settings, number, **fields):
    stages = [stage.model_dump() for stage in settings.stages]
    stages[number] |= fields
    return altered(settings, stages=stages)


def test_a_plan_draws_what_the_run_draws(settings):
    settings = with_stage(settings, 1, aspects=[0.5, 1.0, 2.0], also={8: 0.5}, samples=32)
    curriculum = settings.curriculum(SIZES)
    planned = plan(settings, curriculum)
    for stretch in planned.stretches:
        knobs = [at for at in map(curriculum.at, curriculum.starts()) if at.stage == stretch.stage]
        draws = Counter(draw.stream for at in knobs for draw in curriculum.draws(at.n))
        assert {name: seen.drawn for name, seen in stretch.streams.items()} == draws
        assert stretch.shapes == Counter(at.shape for at in knobs)
        assert stretch.steps == len(knobs)
    seen = planned.stretches[1].streams["synthetic"]
    assert (seen.images, seen.held) == (2, 1)


def test_work_is_that_of_all_micro_batches_on_all_ranks(settings):
    curriculum = settings.curriculum(SIZES)
    one, two = (plan(settings, curriculum, world=world) for world in (1, 2))
    mode = Mode(torch.float32, False, "fast")
    for alone, shared in zip(one.stretches, two.stretches, strict=True):
        assert alone.flop(mode) == shared.flop(mode)
        assert (alone.parts, shared.parts) == (2, 1)
    first = one.stretches[0]
    assert first.flop(mode) == 4 * 2 * first.work[mode].flop


def test_hours_and_modes_follow_from_the_gpu(settings):
    settings = altered(settings, precision="bfloat16")
    curriculum = settings.curriculum(SIZES)
    planned = plan(settings, curriculum, gpu=GPUS["h100"], utilisation=0.4)
    modes = [chosen(stretch, GPUS["h100"].memory) for stretch in planned.stretches]
    assert modes == [KEPT, KEPT]
    assert chosen(planned.stretches[0], 0) == AGAIN
    assert chosen(planned.stretches[0], None) == KEPT
    seconds = sum(s.steps * s.paces[KEPT].seconds for s in planned.stretches)
    assert planned.hours(modes) == pytest.approx(seconds / 3600)
    settings = with_stage(with_stage(settings, 0, recompute="on"), 1, recompute="off")
    planned = plan(settings, settings.curriculum(SIZES), gpu=GPUS["h100"])
    assert [chosen(stretch, 0) for stretch in planned.stretches] == [AGAIN, KEPT]


def test_memory_is_that_of_the_shapes_drawn_and_of_what_lpips_sees(settings):
    settings = with_stage(settings, 0, resolution=64, aspects=[0.25, 1.0])
    stages = [settings.stages[0].model_dump()]

    def work(settings, sizes):
        curriculum = settings.curriculum({"general": np.array([sizes], np.uint16)})
        return plan(settings, curriculum).stretches[0].work[Mode(torch.float32, False, "fast")]

    square, tall = [(64, 64)], [(256, 32)]
    cropped = altered(settings, stages=stages, weights={"lpips": 1.0}, lpips_side=32)
    whole = altered(cropped, lpips_side=None)
    seen = work(cropped, *square)
    assert seen.peak < work(whole, *square).peak / 2
    # 128 x 32 px hold as many pixels, but the crop for LPIPS is as large only where it may be.
    assert work(cropped, *tall).flop == pytest.approx(seen.flop, rel=0.02)
    narrow = altered(cropped, lpips_side=48)
    assert work(narrow, *tall).peak < 0.8 * work(narrow, *square).peak
    # Four small images are seen whole where one large is seen in part.
    small = altered(cropped, stages=[stages[0] | {"also": {32: 0.5}, "samples": 64}])
    many = work(small, *square)
    assert many.peak > 1.5 * seen.peak
    assert many.flop < 1.01 * outlined(small, (32, 32), 8)


def outlined(settings, shape, images):
    """Return the FLOP of a micro-batch."""
    outline = Outline(settings.model(), settings.weights, lpips_side=settings.lpips_side)
    return outline.work(shape, images, settings.weights).flop


def test_epochs_add_up_over_stages(settings):
    curriculum = settings.curriculum(SIZES)
    drawn = Counter(d.stream for n in curriculum.starts() for d in curriculum.draws(n))
    assert epochs(curriculum)["general"] == pytest.approx(drawn["general"] / 3)
    assert epochs(curriculum)["synthetic"] == drawn["synthetic"]


@pytest.mark.parametrize(
    ("change", "streams", "world", "said"),
    [
        ({}, {}, 3, "cannot be shared by 3 ranks"),
        ({}, {"spare": 1}, 1, "no stage draws from spare"),
        ({"max_epochs": 2.0}, {}, 1, "stream general: an image would be seen"),
    ],
)
def test_what_cannot_train_is_refused_in_one_line(settings, change, streams, world, said):
    settings = altered(settings, **change)
    curriculum = settings.curriculum(SIZES)
    with pytest.raises(UserError, match=said) as refused:
        check(settings, curriculum, {**SIZES, **streams}, SIZES, world)
    assert "\n" not in str(refused.value)


def test_a_vgg_that_is_not_there_is_refused(settings, tmp_path):
    settings = with_stage(settings, 0, resolution=16)
    settings = altered(settings, weights={"lpips": 1.0}, vgg=tmp_path / "vgg.pth")
    with pytest.raises(UserError, match="is no file; give VGG16"):
        check(settings, settings.curriculum(SIZES), SIZES, SIZES, 1)


def test_nothing_is_written_among_what_is_read(tmp_path):
    photos, buckets = tmp_path / "photos", {"pages": "s3://b/pages", "web": "https://h/{0..9}.tar"}
    read = {"general": str(photos), **buckets}
    check_apart(tmp_path / "run", read)
    check_apart("s3://b/pages2", read)
    check_apart(tmp_path, read)
    for out, name in (
        (photos, "general"),
        (tmp_path / "x" / ".." / "photos" / "run", "general"),
        ("s3://b/pages/run", "pages"),
    ):
        with pytest.raises(UserError, match=f"lies in {name}=.*, which the run reads"):
            check_apart(out, read)


def test_what_can_train_passes(settings):
    check(altered(settings, max_epochs=100.0), settings.curriculum(SIZES), SIZES, SIZES, 2)
