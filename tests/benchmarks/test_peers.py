"""The side-by-side benchmark: a peer that is missing or fails is named, and ends nothing."""

import json
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.peers import PeerResult, measure, measure_peers
from benchmarks.peers.__main__ import rows_of
from benchmarks.peers._harness import measure as measure_here
from benchmarks.peers._harness import read_spec
from benchmarks.peers.run_pillow import Pillow

FONT = str(files("fontpkg_arvo") / "files" / "Arvo-Regular.ttf")


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """Three pages, each with one line of capitals on black."""
    background = tmp_path / "page.png"
    Image.new("RGB", (64, 48)).save(background)
    line = {"text": "HHH", "x": 4, "y": 30, "size_px": 16, "font": FONT, "index": 0}
    page = {"background": str(background), "lines": [{**line, "colour": [255, 0, 0]}]}
    path = tmp_path / "spec.json"
    record = {"width": 64, "height": 48, "language": "en", "pages": [page] * 3}
    path.write_text(json.dumps(record))
    return path


@pytest.fixture
def venvs(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setattr(measure, "VENVS", tmp_path / "peers")
    return tmp_path / "peers"


def fake(venvs: Path, peer: str, script: str) -> None:
    python = venvs / peer / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)


def test_peers_that_are_not_installed_are_rows_that_say_so(spec, venvs):
    results = measure_peers(spec, 2, 1.0)
    assert [result.peer for result in results] == list(measure.PEERS)
    assert {result.error for result in results} == {"not installed"}
    assert [row.name for row in rows_of(results[0])] == ["pillow: not installed"]


def test_a_failing_or_silent_or_slow_peer_is_named_and_the_others_run(spec, venvs, monkeypatch):
    monkeypatch.setattr(measure, "GRACE_S", 0.5)
    fake(venvs, "neots", "echo first >&2; echo 'KeyError: 7' >&2; exit 1")
    fake(venvs, "typst", "echo hello")
    fake(venvs, "synthtiger", "exec sleep 20")
    fake(venvs, "pillow", f'exec "{sys.executable}" "$@"')
    results = {result.peer: result for result in measure_peers(spec, 2, 8.0)}
    assert results["neots"].error == "KeyError: 7"
    assert results["typst"].error == "no answer"
    assert results["synthtiger"].error.startswith("stopped after")
    assert (results["pillow"].error, results["pillow"].pages) == ("", 2)


def test_the_first_page_is_kept_with_its_text_on_the_baseline(spec, tmp_path):
    read = read_spec(spec)
    result = measure_here(Pillow(), read, read.pages[:2], 60.0, tmp_path / "x.png")
    assert (result.pages, result.characters) == (2, 6)
    assert 0 < result.encoded_per_second < result.pages_per_second
    rows, columns = np.nonzero(np.asarray(Image.open(tmp_path / "x.png"))[:, :, 0] > 128)
    assert rows.max() == 29
    assert 4 <= columns.min() <= 6


def test_a_spent_budget_still_draws_one_page(spec):
    read = read_spec(spec)
    assert measure_here(Pillow(), read, read.pages, 0.0, None).pages == 1


def test_rates_count_encoding_only_where_they_say_so():
    result = PeerResult("x", pages=6, characters=60, cpu_seconds=2.0, encode_seconds=1.0)
    assert (result.pages_per_second, result.encoded_per_second) == (3.0, 2.0)
    assert result.characters_per_second == 30.0
