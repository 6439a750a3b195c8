"""What the newcomer's table is made of: load, surroundings, photographs, the size of packages."""

import os
from pathlib import Path

from benchmarks import newcomer
from shards import ImageSource


def at_work():
    """The processes of ours that never wait."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [it for it in children if b"while True" in Path(f"/proc/{it}/cmdline").read_bytes()]


def test_busy_processes_want_a_core_each_and_end_with_the_block():
    with newcomer.busy(2):
        assert len(at_work()) == 2
    assert at_work() == []


def test_nothing_says_how_threads_wait_but_the_row_itself(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setenv("GOMP_SPINCOUNT", "1")
    assert not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & newcomer._environment({}).keys()
    assert newcomer._environment({"OMP_WAIT_POLICY": "PASSIVE"})["OMP_WAIT_POLICY"] == "PASSIVE"


def test_photographs_of_ones_own_are_large_and_differ(tmp_path, monkeypatch):
    monkeypatch.setattr(newcomer, "PHOTOGRAPHS", 3)
    newcomer.photographs(tmp_path / "photographs")
    source = ImageSource.folder(tmp_path / "photographs")
    sizes = [source.read(i).pixels().shape[1::-1] for i in range(len(source))]
    assert sizes == list(newcomer.SIDES[:3])
    assert len({source.read(i).image for i in range(3)}) == 3


def test_what_an_extra_installs_is_weighed():
    sizes = newcomer._sizes("ocr")
    assert sizes["rapidocr"] > 10**6
    assert {"onnxruntime", "pillow"} <= sizes.keys()
    assert "torch" not in sizes
