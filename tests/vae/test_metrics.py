import math

import pytest
import torch

from vae import METRICS, Mean, ned
from vae.metrics import psnr


def test_psnr_by_hand():
    image = torch.zeros(2, 3, 4, 4)
    other = torch.stack([torch.full((3, 4, 4), 0.1), torch.full((3, 4, 4), 0.01)])
    assert psnr(other, image).tolist() == pytest.approx([20.0, 40.0])
    assert psnr(image, image).tolist() == [math.inf, math.inf]


def test_ssim_of_flat_images_by_its_formula():
    a, b = torch.full((1, 3, 16, 16), 0.5), torch.full((1, 3, 16, 16), 0.25)
    c1 = 0.01**2
    expected = (2 * 0.5 * 0.25 + c1) / (0.5**2 + 0.25**2 + c1)
    assert METRICS["ssim"](a, b).item() == pytest.approx(expected, abs=1e-5)
    assert METRICS["ssim"](a, a).item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "value"),
    [
        ("abcd", "abcd", 1.0),
        ("abcd", "abxd", 0.75),
        ("ab", "abcd", 0.5),
        ("小字", "小学", 0.5),
        ("abcd", "", 0.0),
        ("", "abcd", None),
        ("A b", "a b", 2 / 3),
    ],
)
def test_ned_by_hand(reference, hypothesis, value):
    assert ned(reference, hypothesis) == (None if value is None else pytest.approx(value))


def test_mean_leaves_out_what_is_not_finite_and_counts_it():
    mean = Mean()
    assert math.isnan(mean.compute())
    mean.update([1.0, math.inf, None, 2.0, math.nan])
    assert (mean.compute(), mean.count, mean.skipped) == (1.5, 2, 3)
