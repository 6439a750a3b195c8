"""Looking into many shards: how soon a person sees something, and when all is said."""

import os
import pty
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks._rows import Row, main
from shards import Sample, ShardWriter

SHARDS = 10_000
SAMPLES = 20
"""Samples a shard: a sidecar of some 8 kB."""

FIRST_S = 0.5
"""Seconds to the first output that a person does not wait for."""

MEMORY = Path("/dev/shm")
"""Where the shards lie, so that writing them does not wait for a disk."""

STEERING = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]")
"""Bytes that steer a terminal and show nothing."""

ZH = "language = 'zh' and size_px < 9"
"""A condition that holds for a fifth of the samples."""

VERBS = {
    "ls": ["ls", "{shards}"],
    "ls --where": ["ls", "{shards}", "--where", ZH],
    "stats": ["stats", "{shards}"],
    "verify": ["verify", "{shards}"],
    "table": ["table", "{shards}", "--out", "{out}/table.parquet"],
    "copy --where": ["copy", "{shards}", "--out", "{out}/copy", "--where", ZH],
}
"""What is asked of the shards; what is written goes into a folder of its own."""


def measure(quick: bool) -> list[Row]:
    """Seconds to the first output on a terminal and to the end, page cache warm."""
    shards = SHARDS // 10 if quick else SHARDS
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        folder = Path(name) / "shards"
        folder.mkdir()
        _write(folder, shards)
        for verb, words in VERBS.items():
            tried: list[tuple[float, float]] = []
            for attempt in range(3):
                out = Path(name) / f"{verb} {attempt}"
                out.mkdir()
                tried.append(_seconds([word.format(shards=folder, out=out) for word in words]))
            title = f"{verb} of {shards:,} shards"
            first, last = (min(times) for times in zip(*tried, strict=True))
            rows.append(Row(f"{title}: first output", first, "s", FIRST_S, "lower"))
            rows.append(Row(f"{title}: all", last, "s", better="lower"))
    return rows


def _write(folder: Path, shards: int) -> None:
    for shard in range(shards):
        with ShardWriter(folder, shard, recipe="r" * 64) as writer:
            for i in range(shard * SAMPLES, (shard + 1) * SAMPLES):
                meta = {
                    "width": 256,
                    "height": 256,
                    "language": ("en", "zh")[i % 2],
                    "characters": i % 200,
                    "size_px": (7.0 + i % 5, 14.0),
                    "scores": {"contrast": i % 97 / 7},
                }
                writer.write(Sample(f"{i:09d}", i.to_bytes(8), "png", meta=meta))


def _seconds(words: Sequence[str]) -> tuple[float, float]:
    """Run a command on a terminal of its own; return the seconds to its first word and to its end.

    Raises:
        RuntimeError: when it fails.
    """
    ours, theirs = pty.openpty()
    start = time.perf_counter()
    command = [sys.executable, "-m", "shards", *words]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs) as child:
        os.close(theirs)
        first, seen = 0.0, b""
        while data := _read(ours):
            if not first and STEERING.sub(b"", seen := seen + data).strip():
                first = time.perf_counter() - start
    last = time.perf_counter() - start
    os.close(ours)
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {child.returncode}")
    return first, last


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # how Linux says that nobody writes to it any more
        return b""


if __name__ == "__main__":
    main(measure)
