"""Boxes: the arithmetic of rectangles, and how they travel."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from render.plan import EMPTY, Background, Box
from shards import Sample

SIDE = 24


@st.composite
def boxes(draw):
    left, top = draw(st.integers(0, SIDE - 4)), draw(st.integers(0, SIDE - 4))
    return Box(left, top, draw(st.integers(left + 1, SIDE)), draw(st.integers(top + 1, SIDE)))


def inside(box):
    """Paint a box: (h, w) True inside."""
    pixels = np.zeros((SIDE, SIDE), np.bool_)
    pixels[box.slices] = True
    return pixels


@given(boxes(), boxes())
def test_boxes_meet_and_unite_as_their_pixels_do(one, other):
    shared = one.intersection(other)
    both = inside(one) & inside(other)
    assert shared.empty == (not both.any())
    if not shared.empty:
        assert np.array_equal(inside(shared), both)
    union = Box.union([one, list(other)])
    assert inside(union)[inside(one) | inside(other)].all()
    assert {*union} <= {*one, *other}
    assert inside(one).sum() == one.width * one.height


@given(boxes(), boxes(), st.integers(0, 6))
def test_boxes_are_apart_when_neither_grown_reaches_the_other(one, other, gap):
    assert one.apart([other], gap) == one.grown(gap).intersection(other).empty
    assert one.apart([other], gap) == other.apart([one], gap)
    assert one.apart([], gap)


def test_boxes_keep_their_gap_in_both_directions():
    box = Box(10, 10, 20, 20)
    assert box.apart([Box(26, 10, 40, 20), Box(10, 0, 20, 4)], 6)
    assert not box.apart([Box(25, 10, 40, 20)], 6)


def test_boxes_grow_move_and_shrink():
    assert Box(1, 2, 4, 8).grown(2) == (-1, 0, 6, 10)
    assert Box(1, 2, 4, 8).moved(10, -2) == (11, 0, 14, 6)
    assert Box(0, 0, 10, 20).inner(3) == (3, 3, 7, 17)
    assert Box(0, 0, 10, 20).inner(30) == (4, 4, 6, 16)
    assert EMPTY.empty


def test_a_box_is_a_list_in_json():
    sample = Sample("0", b"", "png", "", {"ground": Background(crop=Box(1, 2, 3, 4))})
    assert json.loads(dict(sample.files())["json"])["ground"]["crop"] == [1, 2, 3, 4]
