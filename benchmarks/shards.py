"""Reading shards: our reader beside webdataset and wids, on the same tars in one run."""

import importlib
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from benchmarks._rows import Row, main, rate
from benchmarks._slow_s3 import slow_s3
from shards import Order, Sample, ShardReader, ShardWriter, Stream
from shards.sidecar import VERSION, shard_name, sidecar_name

SHARDS, SAMPLES, BYTES = 4, 1000, 26_000
"""Four tars of a thousand JPEG of 256 px, by their size; the bytes are noise, never decoded."""

PACE = 100
"""Samples/s that a trainer takes in the test of the loader: a step of 0.32 s for 32 images."""

LATENCY = 0.02
"""Seconds that the object store takes for each call."""

BATCH = 64

Samples = Callable[[], Iterable[object]]


def measure(quick: bool) -> list[Row]:
    """Samples per second, read but not decoded: warm cache, cold disk, slow object store."""
    warnings.simplefilter("ignore")
    seconds = 0.6 if quick else 6.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder, SHARDS)
        return [
            *_cold(folder, rounds=1 if quick else 5),  # before anything maps the tars
            *_warm(folder, seconds),
            *_loaders(folder, seconds),
            *_index(folder, shards=1000 if quick else 10_000),
            *_bucket(samples=200 if quick else 1000),
        ]


def _warm(folder: Path, seconds: float) -> list[Row]:
    """One core, everything in the page cache; "parsed" also parses each sample's JSON."""
    numbers, reader = _shuffled(), ShardReader(folder)
    peer, index = _webdataset(folder), _wids(folder)
    checked = ShardReader(folder, check=True)
    work: dict[str, Samples] = {
        "ShardReader in order": lambda: reader,
        "wids in order": lambda: (index[i] for i in range(len(index))),
        "webdataset in order": lambda: peer,
        "ShardReader in order, parsed": lambda: (sample.meta for sample in reader),
        "wids in order, parsed": lambda: (
            orjson.loads(index[i][".json"].read()) for i in range(len(index))
        ),
        "webdataset in order, parsed": lambda: (orjson.loads(sample["json"]) for sample in peer),
        "ShardReader at random": lambda: (reader[i] for i in numbers),
        "wids at random": lambda: (index[i] for i in numbers),
        "Stream": lambda: islice(Stream(reader, 0), len(reader)),
        "ShardReader in order, CRC-32 checked": lambda: checked,
    }
    found = _rates(work, seconds)
    ours = found["ShardReader in order"]
    parsed = found["ShardReader in order, parsed"]
    return [
        *(Row(name, value, "samples/s") for name, value in found.items()),
        Row("in order / webdataset", ours / found["webdataset in order"], "ratio", 5.0),
        Row("in order / wids", ours / found["wids in order"], "ratio", 2.0),
        Row("parsed / webdataset", parsed / found["webdataset in order, parsed"], "ratio", 5.0),
        Row("parsed / wids", parsed / found["wids in order, parsed"], "ratio", 2.0),
        Row(
            "at random / wids",
            found["ShardReader at random"] / found["wids at random"],
            "ratio",
            2.0,
        ),
    ]


def _loaders(folder: Path, seconds: float) -> list[Row]:
    """Batches of 64 in two worker processes of torch, which hand over the number of samples."""
    from torch.utils.data import DataLoader

    def batches(data: Any, **options: Any) -> Samples:
        loader: Any = DataLoader(
            data, BATCH, num_workers=2, collate_fn=len, persistent_workers=True, **options
        )
        return lambda: (sample for batch in loader for sample in range(batch))

    work = {
        "ShardReader, 2-worker DataLoader": batches(ShardReader(folder), sampler=_shuffled()),
        "wids, 2-worker DataLoader": batches(_wids(folder), sampler=_shuffled()),
        "webdataset, 2-worker DataLoader": batches(_webdataset(folder)),
    }
    return [
        Row(name, rate(_counted(samples), seconds=seconds), "samples/s")
        for name, samples in work.items()
    ]


def _cold(folder: Path, *, rounds: int) -> list[Row]:
    """Shuffled, from a disk whose pages are not in memory; mapped anew each time."""

    def cold(window: int) -> float:
        best = 0.0
        for seed in range(rounds):
            _forget(folder)
            with ShardReader(folder) as reader:
                numbers = Order(len(reader), seed).slice()
                start = time.perf_counter()
                read = sum(1 for _ in reader.read(islice(numbers, 1000), window=window))
                best = max(best, read / (time.perf_counter() - start))
        return best

    return [
        Row("cold disk, shuffled, no read-ahead", cold(0), "samples/s"),
        Row("cold disk, shuffled, read-ahead 32", cold(32), "samples/s"),
    ]


def _forget(folder: Path) -> None:
    """Ask the kernel to drop the pages of the tars, which it does unless they are mapped."""
    for tar in folder.glob("*.tar"):
        handle = os.open(tar, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def _index(folder: Path, *, shards: int) -> list[Row]:
    """What it takes to know where everything is; times of opening are processor time."""
    block = np.arange(1024)
    order = Order(2 * 10**9, 0)

    def drawn() -> int:
        return len(order.many(block))

    def scanned() -> int:
        return len(ShardReader.foreign(folder))

    with tempfile.TemporaryDirectory() as name:
        _write_sidecars(Path(name), shards, samples=100)
        start = time.process_time()
        with ShardReader(name) as many:
            opened = time.process_time() - start
            start = time.process_time()
            many.find(f"{len(many) - 1:09d}")
            first = time.process_time() - start
            size = many.index.nbytes / len(many)
            keys = [f"{i:09d}" for i in range(0, len(many), 97)]

            def looked_up() -> int:
                return sum(many.find(key) >= 0 for key in keys)

            found = rate(looked_up, seconds=1)
    return [
        Row(f"open {shards:,} shards of 100 samples", opened, "core s", better="lower"),
        Row("index", size, "bytes/sample", 80.0, "lower"),
        Row(f"first find among {shards * 100:,} keys", first, "core s", better="lower"),
        Row("find", found, "keys/s"),
        Row("Order of 2e9 samples", rate(drawn, seconds=1), "draws/s"),
        Row("scan of foreign tars", rate(scanned, seconds=1), "samples/s"),
    ]


def _bucket(*, samples: int) -> list[Row]:
    """Shuffled, from S3 (moto) that takes 20 ms a call: one by one, ahead, in two workers."""
    from torch.utils.data import DataLoader

    with slow_s3(LATENCY) as where:
        _write(where, 1, samples)
        with ShardReader(where) as reader:
            numbers = list(islice(Order(samples, 0).slice(), samples))

            def ahead(window: int, count: int) -> float:
                start = time.perf_counter()
                read = sum(1 for _ in reader.read(numbers[:count], window=window))
                return read / (time.perf_counter() - start)

            alone, together = ahead(0, samples // 5), ahead(32, samples)
            data: Any = reader
            loader: Any = DataLoader(
                data,
                32,
                sampler=numbers,
                num_workers=2,
                collate_fn=len,
                persistent_workers=True,
                multiprocessing_context="spawn",
            )
            sum(loader)  # the workers start
            start = time.perf_counter()
            loaded = sum(loader) / (time.perf_counter() - start)
            waited = _waiting(loader, PACE)
    return [
        Row("S3 at 20 ms, one by one", alone, "samples/s"),
        Row("S3 at 20 ms, read-ahead 32", together, "samples/s"),
        Row("S3 at 20 ms, 2-worker DataLoader", loaded, "samples/s"),
        Row(
            f"S3 at 20 ms: a trainer of {PACE} samples/s waits",
            waited,
            "of its time",
            0.05,
            "lower",
        ),
        Row("S3: read-ahead / one by one", together / alone, "ratio", 3.0),
    ]


def _waiting(loader: Any, pace: float) -> float:
    """Return the share of its time that a trainer of `pace` samples/s waits for its loader.

    The first batch does not count: it starts the epoch.
    """
    waited = busy = 0.0
    batches = iter(loader)
    next(batches)
    while True:
        start = time.perf_counter()
        batch = next(batches, 0)
        if not batch:
            return waited / (waited + busy)
        waited += time.perf_counter() - start
        time.sleep(batch / pace)
        busy += batch / pace


def _rates(work: dict[str, Samples], seconds: float) -> dict[str, float]:
    """Return samples per second of processor time, the best of rounds that take turns.

    Processor time, as the page cache makes nobody wait, and other programs then do not count.
    """
    best = dict.fromkeys(work, 0.0)
    for _ in range(max(3, round(seconds))):
        for name, samples in work.items():
            start = time.process_time()
            read = sum(1 for _ in samples())
            best[name] = max(best[name], read / (time.process_time() - start))
    return best


def _counted(samples: Samples) -> Callable[[], int]:
    return lambda: sum(1 for _ in samples())


def _shuffled() -> list[int]:
    return np.random.default_rng(0).permutation(SHARDS * SAMPLES).tolist()


def _webdataset(folder: Path) -> Any:
    webdataset: Any = importlib.import_module("webdataset")  # exposes no types
    tars = sorted(str(tar) for tar in folder.glob("*.tar"))
    return webdataset.WebDataset(tars, shardshuffle=False)


def _wids(folder: Path) -> Any:
    """Open with wids, which reads its index from JSON and decodes nothing when told so."""
    wids: Any = importlib.import_module("wids")
    shards = [{"url": str(tar), "nsamples": SAMPLES} for tar in sorted(folder.glob("*.tar"))]
    (folder / "wids.json").write_text(json.dumps({"wids_version": 1, "shardlist": shards}))
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        return wids.ShardListDataset(
            str(folder / "wids.json"), cache_dir=str(folder), keep=True, transformations=[]
        )


def _samples(count: int, first: int) -> Iterator[Sample]:
    noise = np.random.default_rng(first)
    for i in range(first, first + count):
        yield Sample(f"{i:09d}", noise.bytes(BYTES), "jpg", meta={"kind": "photo", "number": i})


def _write(where: Path | str, shards: int, samples: int = SAMPLES) -> None:
    for shard in range(shards):
        with ShardWriter(where, shard, recipe="benchmark") as writer:
            writer.extend(_samples(samples, shard * samples))


def _write_sidecars(folder: Path, shards: int, *, samples: int) -> None:
    """Write the sidecars of tars that are never opened."""
    for shard in range(shards):
        entries = [
            {
                "key": f"{shard * samples + i:09d}",
                "files": {"jpg": [i * 30_000 + 512, BYTES], "json": [i * 30_000 + 27_136, 300]},
                "crc32": i,
                "width": 256,
                "height": 256,
                "language": "en",
            }
            for i in range(samples)
        ]
        sums = {"samples": samples, "characters": 0, "dropped": {}, "unreadable": []}
        sidecar = {
            "version": VERSION,
            "tar": f"{shard_name(shard)}.tar",
            "shard": shard,
            "sha256": "0" * 64,
            "bytes": samples * 30_000,
            "recipe": "benchmark",
            "sums": sums,
            "entries": entries,
        }
        data = orjson.dumps(sidecar, option=orjson.OPT_INDENT_2)
        (folder / sidecar_name(shard)).write_bytes(data)


if __name__ == "__main__":
    main(measure)
