"""The fit of the sharpness filter: its list is there, and it separates what can be separated."""

import numpy as np

from benchmarks.sharpness import PHOTOGRAPHS, SHARP, SPOILT, Case, cases, fit, photographs


def made(copy: str, *marks: float) -> Case:
    """A copy of two tiles, of which the sharper one has these marks."""
    return Case("any", "one", copy, np.array([[0.0, 0.0, 0.0], marks]))


def test_every_photograph_of_the_list_comes_with_pip():
    found = list(photographs([0.5]))
    assert {name for name, _ in found} == set(PHOTOGRAPHS)
    assert all(min(crop.shape[:2]) >= 128 for _, crop in found)


def test_the_fit_keeps_sharp_and_drops_spoilt_tiles():
    rng = np.random.default_rng(0)
    held = [made("as it is", 0.9, 0.0, slope) for slope in rng.uniform(0.8, 1, 20)]
    held += [made("gaussian of 2 px", 0.1, -1.0, slope) for slope in rng.uniform(0.1, 0.5, 20)]
    found = fit(held)
    assert all((found.sharpness(case) > 0.5) == (case.copy in SHARP) for case in held)


def test_each_copy_of_a_crop_is_measured_once_and_the_same_every_time():
    crop = next(iter(photographs([0.5])))
    first, again = (list(cases("photographs", [crop])) for _ in range(2))
    assert [case.copy for case in first] == [*SHARP, *SPOILT][: len(first)]
    assert all(np.array_equal(a.tiles, b.tiles) for a, b in zip(first, again, strict=True))
