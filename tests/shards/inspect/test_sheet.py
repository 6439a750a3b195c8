"""Contact sheets: where pictures and captions stand."""

import numpy as np

from shards.inspect.sheet import GAP, LINE, lay_out
from tests.conftest import picture

WIDTH = 40


def test_rows_are_as_high_as_their_pictures_and_captions_are_kept_apart():
    high, low = picture(0, 50, WIDTH), picture(1, 20, 30)
    long = "a caption far too long for forty pixels"
    sheet = lay_out([[(high, "one"), (low, long)], [(low, "two")]])
    label = LINE + 2
    assert sheet.shape == (3 * GAP + 50 + 20 + 2 * label, 3 * GAP + 2 * WIDTH, 3)
    assert np.array_equal(sheet[GAP : GAP + 50, GAP : GAP + WIDTH], high)
    second = 2 * GAP + WIDTH
    # Pictures stand on their captions.
    assert np.array_equal(sheet[GAP + 30 : GAP + 50, second : second + 30], low)
    captions = sheet[GAP + 50 : GAP + 50 + label]
    assert (captions[:, second : second + WIDTH] != 255).any()
    assert (captions[:, GAP + WIDTH : second] == 255).all()
    assert (captions[:, second + WIDTH :] == 255).all()


def test_places_may_be_larger_than_pictures():
    sheet = lay_out([[(picture(0, 20, 30), "a\nb")]], width=64, height=48)
    assert sheet.shape == (2 * GAP + 48 + 2 * LINE + 2, 2 * GAP + 64, 3)
