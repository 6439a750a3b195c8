"""What the newcomer's table is made of: load, surroundings, photographs, the size of packages."""

import signal
import time
from pathlib import Path

from benchmarks import newcomer
from shards import ImageSource


def test_busy_processes_want_a_core_each_and_end_with_the_block():
    with newcomer.busy(2) as started:
        assert [process.poll() for process in started] == [None, None]
        for process in started:
            while not cpu_ticks(process.pid):
                assert process.poll() is None
                time.sleep(0.01)
    assert [process.returncode for process in started] == [-signal.SIGKILL] * 2


def cpu_ticks(pid):
    """What a process has had of a core, in the ticks of the kernel."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


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
