import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from vae.training.average import GROWTH, Average, decay

GOOD, BAD = torch.tensor(0.0), torch.tensor(1.0)


def moving(model, by=1.0):
    with torch.no_grad():
        for p in model.parameters():
            p += by


def bits(average):
    return {name: value.clone() for name, value in average.tensors.items()}


@given(half_life=st.integers(1, 10**6), n=st.integers(1, 10**8), cuts=st.integers(1, 50))
def test_a_half_life_halves_what_was_there_whatever_the_steps(half_life, n, cuts):
    n = max(n, round(half_life / GROWTH) + 1)
    kept = decay(n, 1, half_life) ** half_life
    assert kept == pytest.approx(0.5)
    assert decay(n, cuts, half_life) == pytest.approx(decay(n, 1, half_life) ** cuts)


def test_the_first_samples_are_soon_forgotten():
    assert decay(0, 16, 500_000) == 0
    assert decay(1000, round(1000 * GROWTH), 500_000) == pytest.approx(0.5)


def test_the_average_follows_the_weights_and_holds_at_a_bad_step():
    model = nn.Conv2d(2, 3, 1)
    average = Average(model, half_life=10)
    moving(model)
    average.update(model, 0, 10, GOOD)
    first = bits(average)
    assert all(torch.equal(first[name], p) for name, p in model.named_parameters())
    moving(model)
    before = bits(average)
    average.update(model, 1000, 10, BAD)
    assert all(
        torch.equal(a, b) for a, b in zip(before.values(), bits(average).values(), strict=True)
    )
    average.update(model, 1000, 10, GOOD)
    for name, p in model.named_parameters():
        assert torch.allclose(average.tensors[name], p - 0.5)


def test_a_model_has_the_average_for_a_while_and_then_its_own_bits_again(images):
    model = nn.Conv2d(3, 3, 1).to(memory_format=torch.channels_last)
    average = Average(model, half_life=10)
    own = model(images)
    moving(model)
    moved, kept = model(images), bits(average)
    with average.in_place_of(model):
        assert torch.equal(model(images), own)
    assert torch.equal(model(images), moved)
    assert all(
        torch.equal(a, b) for a, b in zip(kept.values(), bits(average).values(), strict=True)
    )
