"""Killing a training run at random moments: what it goes on from, and whether it ends the same."""

import errno
import json
import math
import os
import resource
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load

import vae.training.guard
import vae.training.train
from benchmarks._rows import Row, main
from benchmarks.faults import FAILING, failing_store
from shards import Sample, ShardWriter, encode_png
from shards.signals import Asked
from shards.store import Where, open_store
from vae import Stage, TrainSettings, Weights, fit
from vae.training.checkpoint import HEADER, OPTIMIZER, folders, newest
from vae.training.ranks import Ranks
from vae.training.record import DROPPED, SKIPPED
from vae.training.reductions import Reduce

KILLS = 24
"""Moments of a kill -9, for each number of ranks and of loaders: random ones, and random saves."""

LOADERS = (0, 2)

WORLDS = {"1 rank": (1,), "2 ranks": (2,), "4 ranks": (4,), "1, 2, 4 ranks in turn": (1, 2, 4)}
"""With how many ranks a run is started each time."""

TURNS = (1, 2, 4, 1)
"""The ranks of the quarters of one run that nobody kills."""

CLOSE = 1e-5
"""Most that gradients may differ which are added up in another order, relative to their size."""

SMALL = {
    "factor": 4,
    "channels": 6,
    "patch": 2,
    "encoder_width": 4,
    "decoder_width": 4,
    "multipliers": [1, 2],
    "encoder_blocks": 1,
    "decoder_blocks": 1,
    "mid_blocks": 1,
    "skip": "global-learned",
    "mirror": True,
    "feed_mirror": True,
}
"""A model with every kind of weight, small, so that hundreds of runs take minutes."""

SAMPLES, BATCH, IMAGES = 192, 8, 64

BAD = {"loss": 40, "gradient": 88, "spike": 136}
"""What is injected, and the n of the step that gets it."""

FORK = get_context("fork")
"""Children need not import torch again, and a kill comes at a moment of training."""


def measure(quick: bool) -> list[Row]:
    """Runs that are killed, cut, or short of disk, against one that is left alone."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        trial, kills = Trial(Path(name) / "well"), 3 if quick else KILLS
        rows: list[Row] = []
        for title in ("1 rank", "1, 2, 4 ranks in turn") if quick else WORLDS:
            for loaders in LOADERS:
                rows += trial.killed(title, loaders, kills)
        faulty = Trial(Path(name) / "faulty", before=inject, damaged=True)
        rows += [*faulty.named(), *faulty.killed("1 rank", 0, kills, "faults injected")]
        for reduce in ("exact", "fast", "shard"):
            rows += trial.turned(reduce)
        return [*rows, *trial.damaged(), trial.full_disk(), *trial.failing_bucket()]


class Trial:
    """A short run of a small model, and what it ends with where nobody disturbs it."""

    def __init__(
        self, folder: Path, *, before: Callable[[], object] = int, damaged: bool = False
    ) -> None:
        """Train once. `before` is called in each process before it trains."""
        self.folder, self.data, self.before = folder, folder / "data", before
        self.data.mkdir(parents=True)
        rng = np.random.default_rng(0)
        with ShardWriter(self.data, 0, recipe="noise") as shard:
            for i in range(IMAGES):
                pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
                meta = {"kind": "photo", "width": 24, "height": 24}
                shard.write(Sample(f"{i:06d}", encode_png(pixels), "png", meta=meta))
        if damaged:
            damage(next(self.data.glob("*.tar")))
        # What is imported and compiled here, children need not import and compile again.
        fit(_settings(BATCH), {"noise": self.data}, folder / "first")
        self.settings = _settings(SAMPLES)
        self._cpu: dict[tuple[int, int], float] = {}
        self.start(folder / "whole").ended()
        self.whole = content(folder / "whole")

    def start(
        self,
        out: Where,
        loaders: int = 0,
        world: int = 1,
        *,
        settings: TrainSettings | None = None,
        before: Callable[[], object] | None = None,
        **options: Any,
    ) -> "Started":
        """Start or go on with a run, each rank in a process group of its own."""
        meeting = f"file://{self.folder}/meeting-{secrets.token_hex(4)}"
        options |= {"loaders": loaders, "settings": settings or self.settings}
        arguments = (world, meeting, self, out, before or self.before, options)
        ranks = [FORK.Process(target=_train, args=(rank, *arguments)) for rank in range(world)]
        for rank in ranks:
            rank.start()
        return Started(ranks)

    def killed(self, title: str, loaders: int, kills: int, about: str = "") -> list[Row]:
        """Kill runs until there were so many kills; let the last one end.

        Each second kill waits for the next checkpoint that is being written.
        """
        rng, worlds = np.random.default_rng([loaders, len(title)]), WORLDS[title]
        done = saving = runs = differing = digests = 0
        out = self.folder / "killed"
        while done < kills or out.exists():
            world = worlds[(done + runs) % len(worlds)]
            moment = rng.uniform(0, self.cpu(world, loaders))
            started = self.start(out, loaders, world)
            if done < kills and started.killed(moment, out if done % 2 else None):
                done += 1
                saving += _unfinished(out)
                continue
            started.ended()
            left, digest = content(out)
            runs += 1
            differing += differ(left, self.whole[0])
            digests += digest != self.whole[1]
            shutil.rmtree(out)
        title = f"{title}, {about or f'{loaders} loaders'}"
        return [
            Row(f"{title}: kills", done, "kills"),
            Row(f"{title}: during a save", saving, "kills", 1.0),
            Row(f"{title}: runs ended", runs, "runs"),
            Row(f"{title}: differing", differing, "bytes", 0.0, "lower"),
            Row(f"{title}: other digests", digests, "runs", 0.0, "lower"),
        ]

    def cpu(self, world: int, loaders: int) -> float:
        """Return the CPU seconds of rank 0 in a run that is left alone.

        By them moments are chosen: a second on the clock is another part of a run where other
        programs are at work.
        """
        if (world, loaders) not in self._cpu:
            out = self.folder / "alone"
            self.start(out, loaders, world).ended()
            assert not differ(content(out)[0], self.whole[0]), f"{world} ranks end otherwise"
            shutil.rmtree(out)
            self._cpu[world, loaders] = float((self.folder / "seconds").read_text())
        return self._cpu[world, loaders]

    def turned(self, reduce: Reduce) -> list[Row]:
        """Train a quarter of a run with each number of TURNS.

        What adds up in another order ends with other weights, the more so the longer it runs. So
        these start from trained weights and hardly move them: AdamW's first moment is a mean of
        the gradients of all steps, and shows how far those are apart.
        """
        settings, expected = self.settings, self.whole
        if reduce != "exact":
            rate = settings.rate.model_copy(update={"peak": 1e-12})
            update = {"init": str(self.folder / "whole"), "rate": rate}
            settings = settings.model_copy(update=update)
            still = self.folder / "still"
            if not still.exists():
                self.start(still, settings=settings).ended()
            expected = content(still)
        out = self.folder / reduce
        for k, world in enumerate(TURNS, 1):
            until = SAMPLES * k // len(TURNS)
            self.start(out, world=world, settings=settings, reduce=reduce, until=until).ended()
        left, digest = content(out)
        about = f"{', '.join(map(str, TURNS))} ranks in one run, {reduce}"
        other = Row(f"{about}: other digests", int(digest != expected[1]), "runs", 0.0, "lower")
        if reduce == "exact":
            count = differ(left, expected[0])
            return [Row(f"{about}: differing", count, "bytes", 0.0, "lower"), other]
        ours, theirs = (_means(files) for files in (left, expected[0]))
        apart = float((ours - theirs).norm() / theirs.norm())
        return [
            Row(f"{about}: gradients apart", 1e6 * apart, "millionths", 1e6 * CLOSE, "lower"),
            other,
        ]

    def named(self) -> list[Row]:
        """Count what the undisturbed run wrote down of the faults that were injected."""
        held = {name: self.whole[0][name].decode().splitlines() for name in (SKIPPED, DROPPED)}
        reasons = {json.loads(line)["reason"].partition(": ")[0] for line in held[DROPPED]}
        assert len(reasons) > 1, "an image and the tar are damaged"
        return [
            Row("faults injected: steps skipped", len(held[SKIPPED]), "steps", len(BAD)),
            Row("faults injected: samples replaced", len(held[DROPPED]), "samples", 2),
        ]

    def damaged(self) -> list[Row]:
        """Go on from an output whose newest checkpoint is cut or lacks a file."""
        rows: list[Row] = []
        for file in ("model.safetensors", "average.safetensors", OPTIMIZER, HEADER):
            for how in ("cut", "missing"):
                out = self.folder / "damaged"
                shutil.copytree(self.folder / "whole", out)
                path = out / newest(out).header.name / file
                path.unlink() if how == "missing" else os.truncate(path, path.stat().st_size // 2)
                self.start(out).ended()
                title = f"{file} of the newest checkpoint {how}: differing"
                rows.append(
                    Row(title, differ(content(out)[0], self.whole[0]), "bytes", 0.0, "lower")
                )
                shutil.rmtree(out)
        return rows

    def full_disk(self) -> Row:
        """Let no file grow to the size of the moments, then go on without that."""
        out = self.folder / "full"
        limit = len(self.whole[0][OPTIMIZER]) - 1

        def small() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        (limited,) = self.start(out, before=small).ranks
        limited.join()
        assert limited.exitcode, "the limit stops a run"
        self.start(out).ended()
        title = "files cannot grow, then they can: differing"
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
            Row(f"{FAILING}: calls that failed", server.failed, "calls", 1.0),
            Row(f"{FAILING}: differing", differing, "bytes", 0.0, "lower"),
        ]


class Started:
    """The ranks of a run that was started."""

    def __init__(self, ranks: Sequence[BaseProcess]) -> None:
        self.ranks = ranks

    def killed(self, cpu: float, saving: Path | None) -> bool:
        """Kill all when rank 0 has used so many CPU seconds, unless they have ended by then.

        Where `saving` is an output, wait on until a checkpoint is being written there.
        """
        while self.at_work and _cpu_seconds(self.ranks[0].pid or 0) < cpu:
            time.sleep(0.002)
        while self.at_work and saving is not None and not _unfinished(saving):
            time.sleep(0.001)
        if not self.at_work:
            return False
        for rank in self.ranks:
            with suppress(ProcessLookupError):
                os.killpg(rank.pid or 0, signal.SIGKILL)
        for rank in self.ranks:
            rank.kill()  # should the signal have come before its group was made
            rank.join()
        return True

    @property
    def at_work(self) -> bool:
        """Whether any of them is."""
        return any(rank.is_alive() for rank in self.ranks)

    def ended(self) -> None:
        """Wait for a run that nobody kills."""
        for rank in self.ranks:
            rank.join()
            if rank.exitcode:
                raise RuntimeError(f"a run ended with {rank.exitcode}")


def _settings(samples: int) -> TrainSettings:
    stage = Stage.model_validate(
        {
            "name": "noise",
            "samples": samples,
            "batch": BATCH,
            "micro": 2,
            "resolution": 16,
            "aspects": [1.0],
            "shares": {"noise": 1.0},
        }
    )
    return TrainSettings(
        overrides=SMALL,
        stages=(stage,),
        weights=Weights(perceptual=0),
        resized=(),
        skip_start=0,
        latent_batches=1,
        log_every=2,
        checkpoint_every=2 * BATCH,
    )


def _train(
    rank: int,
    world: int,
    meeting: str,
    trial: Trial,
    out: Where,
    before: Callable[[], object],
    options: dict[str, Any],
) -> None:
    """Be one rank of a run, up to n=`until` if that is among the options of `fit`."""
    os.setpgid(0, 0)
    before()
    ranks, asked = Ranks.join(rank, world, meeting), Asked()
    until = options.pop("until", SAMPLES)

    def stop(row: Mapping[str, Any]) -> None:
        if row["n"] >= until < SAMPLES:
            asked.by = signal.SIGTERM

    settings = options.pop("settings")
    options |= {"ranks": ranks, "progress": stop, "asked": asked}
    try:
        with suppress(SystemExit):
            fit(settings, {"noise": trial.data}, out, **options)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        sys.exit(1)
    ranks.leave()
    if not rank:
        (trial.folder / "seconds").write_text(str(time.process_time()))


def inject() -> None:
    """Ruin some steps of this process."""
    vae.training.guard.RING = 2
    whole = vae.training.train.take

    def take(reduction: Any, images: Any, knobs: Any, *rest: Any) -> Any:
        outcome = whole(reduction, images, knobs, *rest)
        factor = 1e6 if knobs.n == BAD["spike"] else math.nan
        if knobs.n in BAD.values():
            for p in reduction.parameters:
                p.grad.mul_(factor)
            outcome = outcome._replace(norm=outcome.norm * factor)
        if knobs.n == BAD["loss"]:
            outcome.losses.mul_(factor)
        return outcome

    vae.training.train.take = take


def damage(tar: Path) -> None:
    """Break an image in the first half of a tar, and cut its end off."""
    data = bytearray(tar.read_bytes())
    start = data.index(b"\x89PNG", len(data) // 3) + 100
    data[start : start + 500] = bytes(500)
    last = data.rindex(b"\x89PNG")
    tar.write_bytes(data[: last + 100])


def content(out: Where) -> tuple[dict[str, bytes], str]:
    """Return what a run ends with, as bytes by file, and the digest of the samples drawn.

    That is the tensors of its newest checkpoint, and what it wrote down of faults.
    """
    checkpoint, store = newest(out), open_store(out)
    files = {name: checkpoint.store.read(name) for name in checkpoint.header.sha256}
    files |= {name: store.read(name) for name in (SKIPPED, DROPPED) if store.exists(name)}
    return files, f"{checkpoint.header.step} {checkpoint.header.drawn}"


def differ(a: dict[str, bytes], b: dict[str, bytes]) -> int:
    """Count the bytes that differ; a file that only one has counts whole."""
    total = 0
    for name in a.keys() | b.keys():
        x, y = (np.frombuffer(files.get(name, b""), np.uint8) for files in (a, b))
        both = min(len(x), len(y))
        total += int((x[:both] != y[:both]).sum()) + abs(len(x) - len(y))
    return total


def _means(files: Mapping[str, bytes]) -> torch.Tensor:
    """Return AdamW's first moments, one after the other."""
    moments = load(files[OPTIMIZER])
    return torch.cat(
        [moments[name].double().flatten() for name in sorted(moments) if name.endswith("exp_avg")]
    )


def _unfinished(out: Path) -> bool:
    """Say whether the newest checkpoint is one that is being written, or was when it was killed."""
    store = open_store(out)
    names = folders(store)
    return bool(names) and not store.inside(names[-1]).exists(HEADER)


def _cpu_seconds(pid: int) -> float:
    """Return what a process has used, 0 where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main(measure)
