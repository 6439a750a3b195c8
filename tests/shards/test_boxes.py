"""Windows and outlines, where they should be."""

import numpy as np
import pytest

from shards.boxes import CHARACTER, LINE, cut, draw_boxes, outlines, window
from tests.conftest import make_sample, picture


def test_boxes_are_drawn_where_they_are():
    sample = make_sample(0)
    sample.meta["lines"] = [
        {"box": [5, 5, 20, 15], "characters": [[6, 6, 10, 14], [10, 14, 10, 14]]}
    ]
    drawn = draw_boxes(sample)
    assert tuple(drawn[5, 5]) == (230, 30, 30)
    assert tuple(drawn[6, 6]) == (40, 90, 255)
    assert np.array_equal(drawn[20:], picture(0)[20:])


def test_boxes_beyond_the_picture_are_cut_off():
    sample = make_sample(0)
    height, width = sample.pixels().shape[:2]
    sample.meta["lines"] = [{"box": [-3, 2, width + 9, height + 9]}, {"box": [-9, -9, -1, -1]}]
    drawn = draw_boxes(sample)
    assert (drawn[2] == (230, 30, 30)).all()
    assert np.array_equal(drawn[3:], picture(0)[3:])
    assert np.array_equal(drawn[:2], picture(0)[:2])


def test_enlarged_outlines_bound_enlarged_pixels():
    lines = [
        {"box": [12, 22, 18, 25], "characters": np.array([[12, 22, 14, 25], [14, 22, 14, 25]])}
    ]
    drawn = outlines(lines, (10, 20, 30, 40), times=4)
    assert drawn.shape == (80, 80)
    bounded = np.argwhere(drawn == LINE)
    assert bounded.min(0).tolist() == [8, 8]
    assert bounded.max(0).tolist() == [19, 31]
    assert {*np.argwhere(drawn == CHARACTER)[:, 1].tolist()} == {15}


@pytest.mark.parametrize(
    ("corner", "expected"),
    [
        ((30, 20), (26, 16, 46, 26)),
        ((0, 0), (0, 0, 20, 10)),
        ((99, 59), (80, 50, 100, 60)),
        ((30.4, 19.6, 90, 90), (26, 16, 46, 26)),
    ],
)
def test_a_window_begins_just_before_its_corner_and_lies_inside(corner, expected):
    pixels = picture(0, 60, 100)
    assert window(pixels, corner, 20, 10) == expected
    assert cut(pixels, corner, 20, 10).shape == (10, 20, 3)


def test_a_picture_smaller_than_its_window_is_taken_whole():
    assert window(picture(0, 6, 8), (5, 5), 20, 10) == (0, 0, 8, 6)
