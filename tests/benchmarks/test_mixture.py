"""The pages of the mixture benchmark are measured in a process of their own."""

from benchmarks.mixture import HERE, _cpu_seconds
from benchmarks.render import HEADLINE


def test_pages_are_measured_in_a_tree_and_leave_their_glyphs(tmp_path):
    settings = HEADLINE | {"width": 128, "height": 128, "flat_share": 1, "han_variants": None}
    assert 0 < _cpu_seconds(HERE, settings, tmp_path / "atlas", 2) < 60
    assert any((tmp_path / "atlas").iterdir())
