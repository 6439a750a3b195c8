"""What is counted on shapes alone is what a real step does."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vae import PRESETS, VAE
from vae.inference.memory import SavedTensors
from vae.objective.alignment import Alignment, AlignmentSettings
from vae.objective.losses import Objective, Weights, build_objective
from vae.training.count import Outline, measure
from vae.training.step import Step

WEIGHTS = Weights(perceptual=0.1)
SHAPE = (64, 96)


def real(preset, weights=WEIGHTS):
    return Step(
        VAE(PRESETS[preset]), build_objective(weights, AlignmentSettings(), PRESETS[preset])
    )


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """A CPU has loops of its own for the norm; with torch's operations it works as a GPU does."""
    monkeypatch.setattr("vae.norm_silu._compiles", lambda x: False)


@pytest.mark.parametrize(
    ("preset", "dtype", "recompute"),
    [
        ("nano", torch.float32, False),
        ("nano", torch.bfloat16, True),
        ("tiny", torch.bfloat16, False),
    ],
)
def test_shapes_alone_take_what_a_real_step_takes(as_on_a_gpu, preset, dtype, recompute):
    how = {"recompute": recompute, "dtype": dtype}
    ours = Outline(PRESETS[preset], WEIGHTS).work(SHAPE, 2, WEIGHTS, **how)
    theirs = measure(real(preset), (2, 3, *SHAPE), WEIGHTS, **how)
    assert (ours.flop, ours.forward, ours.saved) == (theirs.flop, theirs.forward, theirs.saved)
    assert ours.peak == pytest.approx(theirs.peak, rel=0.02)
    assert ours.traffic == pytest.approx(theirs.traffic, rel=0.02)


def test_the_counts_are_those_of_torch_s_own_counters():
    step = real("tiny")
    images = torch.rand(2, 3, *SHAPE) * 2 - 1
    with FlopCounterMode(display=False) as counter:
        with SavedTensors(step) as saved:
            total, _ = step(images, WEIGHTS, None)
        total.backward()
    counted = Outline(PRESETS["tiny"], WEIGHTS).work(SHAPE, 2, WEIGHTS)
    assert counted.flop == pytest.approx(counter.get_total_flops(), rel=0.02)
    assert counted.saved == saved.bytes


def test_a_teacher_counts_with_its_attention(teacher):
    alignment = AlignmentSettings(teacher=teacher)
    weights = Weights(alignment=0.5)
    without = Outline(PRESETS["nano"], Weights()).work(SHAPE, 2, Weights())
    ours = Outline(PRESETS["nano"], weights, alignment)
    aligned = Alignment(alignment, PRESETS["nano"].channels, 16)
    step = Step(VAE(PRESETS["nano"]), Objective(alignment=aligned))
    theirs = measure(step, (2, 3, *SHAPE), weights)
    work, numbers = ours.work(SHAPE, 2, weights), ours.numbers()
    assert work.flop == theirs.flop > without.flop
    assert numbers.frozen == sum(p.numel() for p in aligned.teacher.parameters())
    assert numbers.learned == aligned.projection.weight.numel()


def test_work_grows_with_images_and_pixels_and_saves_by_recomputing():
    counted = Outline(PRESETS["tiny"], Weights())
    one, two, wide = (
        counted.work(shape, micro, Weights())
        for shape, micro in (((64, 64), 1), ((64, 64), 2), ((128, 64), 1))
    )
    assert two.flop / one.flop == pytest.approx(2, rel=0.02)
    assert two == pytest.approx(wide, rel=0.02)
    again = counted.work((64, 64), 2, Weights(), recompute=True)
    assert again.saved < two.saved
    assert again.flop > two.flop
    assert again.forward == two.forward
    assert again.peak < two.peak


def test_published_teachers_have_the_sizes_that_are_known():
    weights = Weights(alignment=0.5)
    frozen = Outline(PRESETS["nano"], weights).numbers().frozen
    # 304 million, of which blocks 13 to 24 of 12.6 million each do not run.
    assert frozen == pytest.approx(304.4e6 - 12 * 12.6e6, rel=0.01)


def test_a_half_that_stays_as_it_is_has_no_gradient():
    outlines = [Outline(PRESETS["nano"], WEIGHTS, learning=half) for half in ("all", "decoder")]
    both, one = (outline.work(SHAPE, 1, WEIGHTS) for outline in outlines)
    assert one.flop < both.flop
    assert one.saved < both.saved
    numbers = outlines[1].numbers()
    assert 0 < numbers.still < numbers.model == outlines[0].numbers().trained
