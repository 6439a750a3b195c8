"""Reading shards: our reader beside webdataset, on the same tars in one run."""

import importlib
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._rows import Row, main, rate
from shards import Sample, ShardReader, ShardWriter

SAMPLES = 4000
BYTES = 26_000


def measure(quick: bool) -> list[Row]:
    """Samples per second, read but not decoded, one process, warm cache."""
    warnings.simplefilter("ignore")
    webdataset: Any = importlib.import_module("webdataset")  # exposes no types

    seconds = 3.0 if quick else 10.0
    with tempfile.TemporaryDirectory() as folder:
        tar = _write(Path(folder))

        def peer() -> int:
            return sum(1 for _ in webdataset.WebDataset(str(tar), shardshuffle=False))

        with ShardReader(Path(folder)) as reader:
            order = np.random.default_rng(0).permutation(len(reader)).tolist()

            def in_order() -> int:
                return sum(1 for _ in reader)

            def at_random() -> int:
                return sum(1 for i in order if reader[i])

            ours, random = rate(in_order, seconds=seconds), rate(at_random, seconds=seconds)
        theirs = rate(peer, seconds=seconds)
    return [
        Row("ShardReader in order", ours, "samples/s"),
        Row("ShardReader at random", random, "samples/s"),
        Row("webdataset in order", theirs, "samples/s"),
        Row("in order / webdataset", ours / theirs, "ratio", 1.0),
    ]


def _write(folder: Path) -> Path:
    noise = np.random.default_rng(0)
    with ShardWriter(folder, 0, recipe="benchmark") as writer:
        for i in range(SAMPLES):
            writer.write(Sample(f"{i:09d}", noise.bytes(BYTES), "jpg", meta={"kind": "photo"}))
    return folder / writer.tar


if __name__ == "__main__":
    main(measure)
