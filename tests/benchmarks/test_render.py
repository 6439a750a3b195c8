"""The stages of the render benchmark are functions that are there."""

import pytest

from benchmarks.render import STAGES, _resolved


@pytest.mark.parametrize("name", [name for names in STAGES.values() for name in names])
def test_each_stage_is_a_function(name):
    path, _, attribute = name.rpartition(".")
    assert callable(getattr(_resolved(path), attribute))
