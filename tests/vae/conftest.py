import os
import tempfile
from multiprocessing import set_forkserver_preload
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import multiprocessing

from shards import Sample, ShardWriter, encode_png
from vae import TrainSettings, VAESettings
from vae.training.ranks import Ranks


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


TINY = {
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


@pytest.fixture
def tiny():
    return VAESettings(**TINY)


@pytest.fixture
def images():
    return torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(5)) * 2 - 1


def write_shard(folder, kind, count, size, seed=0):
    folder.mkdir()
    rng = np.random.default_rng(seed)
    with ShardWriter(folder, 0, recipe="test") as shard:
        for i in range(count):
            pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
            shard.write(Sample(f"{i:06d}", encode_png(pixels), "png", meta={"kind": kind}))
    return folder


@pytest.fixture
def streams(tmp_path):
    return {
        "general": write_shard(tmp_path / "general", "photo", 3, (40, 50)),
        "synthetic": write_shard(tmp_path / "synthetic", "text", 3, (30, 20), seed=1),
    }


@pytest.fixture
def make_shard(tmp_path):
    def make(name, kind, count, size):
        return write_shard(tmp_path / name, kind, count, size)

    return make


@pytest.fixture(scope="session")
def settings():
    stages = (
        {
            "name": "one",
            "samples": 16,
            "batch": 4,
            "micro": 2,
            "resolution": 8,
            "aspects": [1.0],
            "shares": {"general": 1.0},
        },
        {
            "name": "two",
            "samples": 8,
            "batch": 2,
            "micro": 1,
            "resolution": 16,
            "aspects": [1.0],
            "shares": {"general": {"from": 0.5, "to": 0.0}, "synthetic": {"from": 0.5, "to": 1.0}},
        },
    )
    return TrainSettings(
        preset="nano",
        overrides=TINY,
        stages=stages,
        rate={"warmup": 6},
        log_every=2,
        watch_every=12,
        checkpoint_every=10,
    )


@pytest.fixture(scope="session")
def teacher(tmp_path_factory):
    """A folder with a DINOv2 of four narrow blocks and random weights."""
    from transformers import Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("teacher")
    shape = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "image_size": 56}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Dinov2Model(Dinov2Config(**shape, initializer_range=0.2)).save_pretrained(folder)
    return str(folder)


def on_ranks(world, work, *arguments, timeout=600):
    """Run work(ranks, *arguments) in `world` new processes; return what each of them returned.

    It raises what a rank raised.
    """
    with tempfile.TemporaryDirectory() as folder:
        # In a file: of tensors in arguments, processes would share the memory.
        torch.save((work, arguments), f"{folder}/work.pt")
        # Ranks are forked from a process that only imports: each would spend seconds on it.
        set_forkserver_preload(["tests.vae.conftest", "torch.distributed.fsdp"])
        started = multiprocessing.start_processes(
            _on_rank, (world, folder), world, join=False, start_method="forkserver"
        )
        try:
            # It returns False whenever one of them is done, and raises what one of them raised.
            assert any(started.join(timeout=timeout) for _ in range(world))
            return [torch.load(f"{folder}/{k}.pt", weights_only=False) for k in range(world)]
        finally:
            for process in started.processes:
                process.kill()


def _on_rank(rank, world, folder):
    torch.set_num_threads(1)
    work, arguments = torch.load(f"{folder}/work.pt", weights_only=False)
    ranks = Ranks.join(rank, world, f"file://{folder}/meeting", timeout=300)
    result = work(ranks, *arguments)
    ranks.leave()
    torch.save(result, Path(folder) / f"{rank}.pt")
    os._exit(0)  # as pipelines/engine/ranks.py ends them, and for its reason
