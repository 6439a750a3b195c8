"""Killing a training run at random moments: what it goes on from, and whether it ends the same."""

import os
import resource
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import torch

from benchmarks._rows import Row, main
from benchmarks.faults import FAILING, failing_store
from shards import Sample, ShardWriter, encode_png
from shards.store import Where, open_store
from vae import Stage, TrainSettings, fit
from vae.training.checkpoint import HEADER, folders, newest
from vae.training.ranks import Ranks

KILLS = 24
"""Random moments of a kill -9, for each number of loaders."""

LOADERS = (0, 2)

WORLDS = {"1 rank": (1,), "2 ranks": (2,), "4 ranks": (4,), "1, 2, 4 ranks in turn": (1, 2, 4)}
"""With how many ranks a run is started each time."""

FORK = get_context("fork")
"""Children need not import torch again, and a kill comes at a moment of training."""


def measure(quick: bool) -> list[Row]:
    """Runs of nano that are killed, cut, or short of disk, against one that is left alone."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        trial = Trial(Path(name))
        rows: list[Row] = []
        for title in ("1 rank", "1, 2, 4 ranks in turn") if quick else WORLDS:
            for loaders in LOADERS:
                rows += trial.killed(title, loaders, 3 if quick else KILLS)
        return [*rows, *trial.damaged(), trial.full_disk(), *trial.failing_bucket()]


class Trial:
    """One run of nano, and what it ends with where nothing disturbs it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        self.data.mkdir()
        rng = np.random.default_rng(0)
        with ShardWriter(self.data, 0, recipe="noise") as shard:
            for i in range(16):
                pixels = rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)
                shard.write(Sample(f"{i:06d}", encode_png(pixels), "png", meta={"kind": "photo"}))
        stage = Stage.model_validate(
            {
                "name": "noise",
                "samples": 320,
                "batch": 8,
                "micro": 2,
                "resolution": 32,
                "aspects": [1.0],
                "shares": {"noise": 1.0},
            }
        )
        self.settings = TrainSettings(
            stages=(stage,),
            resized=(),
            skip_start=0,
            latent_batches=1,
            log_every=4,
            checkpoint_every=16,
        )
        start = time.perf_counter()
        self.start(folder / "whole").ended()
        self.seconds = time.perf_counter() - start
        self.whole = content(folder / "whole")

    def start(
        self, out: Where, loaders: int = 0, world: int = 1, before: Callable[[], object] = int
    ) -> "Started":
        """Start or go on with a run, each rank in a process group of its own."""
        meeting = f"file://{self.folder}/meeting-{secrets.token_hex(4)}"
        arguments = (self, out, loaders, world, meeting, before)
        ranks = [FORK.Process(target=_train, args=(rank, *arguments)) for rank in range(world)]
        for rank in ranks:
            rank.start()
        return Started(ranks)

    def killed(self, title: str, loaders: int, kills: int) -> list[Row]:
        """Kill runs until there were so many kills; let the last one end."""
        rng, worlds = np.random.default_rng(loaders), WORLDS[title]
        done = saving = runs = differing = digests = 0
        out = self.folder / "killed"
        while done < kills or out.exists():
            world = worlds[(done + runs) % len(worlds)]
            started = self.start(out, loaders, world)
            if done < kills and started.killed(rng.uniform(0, self.seconds * world)):
                done += 1
                store = open_store(out)
                cut = [name for name in folders(store) if not store.inside(name).exists(HEADER)]
                saving += bool(cut)
                continue
            started.ended()
            left, digest = content(out)
            runs += 1
            differing += differ(left, self.whole[0])
            digests += digest != self.whole[1]
            shutil.rmtree(out)
        title = f"{title}, {loaders} loaders, {done} x kill -9"
        return [
            Row(f"{title}: of these while a checkpoint was written", saving, "kills"),
            Row(f"{title}: runs ended", runs, "runs"),
            Row(f"{title}: differing bytes", differing, "bytes", 0.0, "lower"),
            Row(f"{title}: other digests of the samples drawn", digests, "runs", 0.0, "lower"),
        ]

    def damaged(self) -> list[Row]:
        """Go on from an output whose newest checkpoint is cut or lacks a file."""
        rows: list[Row] = []
        for file in ("model.safetensors", "average.safetensors", "optimizer.safetensors", HEADER):
            for how in ("cut", "missing"):
                out = self.folder / "damaged"
                shutil.copytree(self.folder / "whole", out)
                path = out / newest(out).header.name / file
                path.unlink() if how == "missing" else os.truncate(path, path.stat().st_size // 2)
                self.start(out).ended()
                title = f"{file} of the newest checkpoint {how}: differing bytes at the end"
                rows.append(
                    Row(title, differ(content(out)[0], self.whole[0]), "bytes", 0.0, "lower")
                )
                shutil.rmtree(out)
        return rows

    def full_disk(self) -> Row:
        """Let no file grow above 300 kB, which the moments do, then go on without that."""
        out = self.folder / "full"
        limit = 300_000

        def small() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        (limited,) = self.start(out, before=small).ranks
        limited.join()
        assert limited.exitcode, "the limit stops a run"
        self.start(out).ended()
        title = "files cannot grow, then they can: differing bytes at the end"
        return Row(title, differ(content(out)[0], self.whole[0]), "bytes", 0.0, "lower")

    def failing_bucket(self) -> list[Row]:
        """Write to a bucket that fails now and then."""
        with failing_store(1) as (url, server):
            server.share = 0.05
            out = f"{url}/run"
            fit(self.settings, {"noise": self.data}, out)
            server.share = 0.0
            differing = differ(content(out)[0], self.whole[0])
        return [
            Row(f"{FAILING}: calls that failed", server.failed, "calls"),
            Row(f"{FAILING}: differing bytes at the end", differing, "bytes", 0.0, "lower"),
        ]


class Started:
    """The ranks of a run that was started."""

    def __init__(self, ranks: Sequence[BaseProcess]) -> None:
        self.ranks = ranks

    def killed(self, after: float) -> bool:
        """Kill all of them after so many seconds, unless they have ended by then."""
        self.ranks[0].join(after)
        if not any(rank.is_alive() for rank in self.ranks):
            return False
        for rank in self.ranks:
            with suppress(ProcessLookupError):
                os.killpg(rank.pid or 0, signal.SIGKILL)
        for rank in self.ranks:
            rank.kill()  # should the signal have come before its group was made
            rank.join()
        return True

    def ended(self) -> None:
        """Wait for a run that nobody kills."""
        for rank in self.ranks:
            rank.join()
            if rank.exitcode:
                raise RuntimeError(f"a run ended with {rank.exitcode}")


def _train(
    rank: int,
    trial: Trial,
    out: Where,
    loaders: int,
    world: int,
    meeting: str,
    before: Callable[[], object],
) -> None:
    os.setpgid(0, 0)
    before()
    ranks = Ranks.join(rank, world, meeting)
    fit(trial.settings, {"noise": trial.data}, out, ranks=ranks, loaders=loaders)
    ranks.leave()


def content(out: Where) -> tuple[dict[str, bytes], str]:
    """Return the tensors of a run's newest checkpoint, and the digest of the samples drawn."""
    checkpoint = newest(out)
    files = {name: checkpoint.store.read(name) for name in checkpoint.header.sha256}
    return files, f"{checkpoint.header.step} {checkpoint.header.drawn}"


def differ(a: dict[str, bytes], b: dict[str, bytes]) -> int:
    """Count the bytes that differ; a file that only one has counts whole."""
    total = 0
    for name in a.keys() | b.keys():
        x, y = (np.frombuffer(files.get(name, b""), np.uint8) for files in (a, b))
        both = min(len(x), len(y))
        total += int((x[:both] != y[:both]).sum()) + abs(len(x) - len(y))
    return total


if __name__ == "__main__":
    main(measure)
