"""Run every installed peer in its own environment, one thread, one after another."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
VENVS = ROOT / "runs" / "peers"

PEERS = {
    "pillow": ("pillow==13.0.0", "numpy==2.4.6"),
    "neots": ("neots==0.3.4", "pillow==13.0.0", "numpy==2.4.6"),
    "typst": ("typst==0.15.2", "pillow==13.0.0", "numpy==2.4.6"),
    "doctr_synth": ("doctr-synth-generator==0.4.1", "pillow==13.0.0", "numpy==2.4.6"),
    # It calls ImageFont.getsize, gone from Pillow 10; its imgaug reads np.sctypes, not in NumPy 2.
    "synthtiger": (
        "synthtiger==1.2.1",
        "pillow==9.5.0",
        "numpy==1.26.4",
        "opencv-python==4.11.0.86",
        "scikit-image==0.24.0",
        "scipy==1.17.1",
    ),
}
"""Peer: what its environment holds. `run_NAME.py` beside this file says how it is used."""

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
}

GRACE_S = 60.0
"""How much longer than its share a peer may take, start included, before it is stopped."""


@dataclass(frozen=True)
class PeerResult:
    """What one peer did; `error` says why it did nothing.

    `cpu_seconds` and `wall_seconds` count drawing alone, `encode_seconds` the CPU time of encoding
    the same pages as JPEG (quality 95, 4:4:4) with Pillow. `peak_mb` is the memory of the process.
    """

    peer: str
    version: str = ""
    pages: int = 0
    characters: int = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_mb: float = 0.0
    encode_seconds: float = 0.0
    note: str = ""
    error: str = ""

    @property
    def pages_per_second(self) -> float:
        """Pages drawn per CPU second; 0 where there are none."""
        return self.pages / self.cpu_seconds if self.pages else 0.0

    @property
    def encoded_per_second(self) -> float:
        """Pages drawn and encoded as JPEG per CPU second; 0 where there are none."""
        return self.pages / (self.cpu_seconds + self.encode_seconds) if self.pages else 0.0

    @property
    def characters_per_second(self) -> float:
        """Characters drawn per CPU second; 0 where there are none."""
        return self.characters / self.cpu_seconds if self.pages else 0.0


def install_peers() -> Iterator[tuple[str, str]]:
    """Make the environment of every peer; yield its name and why it failed, or an empty string."""
    for peer, requirements in PEERS.items():
        made = _call([sys.executable, "-m", "venv", str(_venv(peer))], timeout=None)
        pip = [str(_python(peer)), "-m", "pip", "install", "--quiet", *requirements]
        done = made if made.returncode else _call(pip, timeout=None)
        yield peer, _last_line(done.stderr) if done.returncode else ""


def measure_peers(
    spec: Path, pages: int, budget_s: float, pictures: Path | None = None
) -> list[PeerResult]:
    """Measure every peer on the first `pages` pages of `spec`, in about `budget_s` seconds.

    Each peer draws for an equal share of the budget and starts before that, in one to four seconds.
    It draws fewer pages where the share is too short, but at least one. The last page of the spec
    warms up and is not counted.
    `pictures` is a folder that gets the first page of each as `PEER.png`.
    """
    installed = [peer for peer in PEERS if _python(peer).exists()]
    share = budget_s / max(1, len(installed))
    results: list[PeerResult] = []
    for peer in PEERS:
        if peer in installed:
            results.append(_measure(peer, spec, pages, share, pictures))
        else:
            results.append(PeerResult(peer, error="not installed"))
    return results


def _measure(
    peer: str, spec: Path, pages: int, seconds: float, pictures: Path | None
) -> PeerResult:
    command = [str(_python(peer)), "-m", f"benchmarks.peers.run_{peer}", str(spec.resolve())]
    command += ["--pages", str(pages), "--seconds", str(seconds)]
    if pictures:
        pictures.mkdir(parents=True, exist_ok=True)
        command += ["--picture", str(pictures.resolve() / f"{peer}.png")]
    try:
        done = _call(command, timeout=seconds + GRACE_S)
    except subprocess.TimeoutExpired:
        return PeerResult(peer, error=f"stopped after {seconds + GRACE_S:.0f} s")
    if done.returncode:
        return PeerResult(peer, error=_last_line(done.stderr) or f"exit code {done.returncode}")
    # Libraries greet on standard output too.
    answers = [line for line in done.stdout.splitlines() if line.startswith('{"peer"')]
    return PeerResult(**json.loads(answers[-1])) if answers else PeerResult(peer, error="no answer")


def _call(command: list[str], *, timeout: float | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **ONE_THREAD},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def _python(peer: str) -> Path:
    return _venv(peer) / "bin" / "python"


def _venv(peer: str) -> Path:
    # Named so that linters, searches and the tests of this house pass it by.
    return VENVS / peer / ".venv"


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1].strip()
