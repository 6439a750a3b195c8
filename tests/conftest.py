"""Shared inputs, all made here: small pictures, small shards."""

from pathlib import Path

import hypothesis
import numpy as np
import pytest

import pipelines  # noqa: F401 - before torch is loaded, so that its threads wait asleep
from shards import RGB, Sample, ShardWriter, encode_png

# A busy machine is no fault of the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """Keep drawn glyphs out of the user's cache folder, in other processes too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NONPAREIL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def picture(seed: int, height: int = 40, width: int = 60) -> RGB:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def make_sample(i: int) -> Sample:
    meta = {"kind": "render", "width": 60, "height": 40, "language": "en", "characters": 5 + i}
    return Sample(f"{i:09d}", encode_png(picture(i)), "png", text=f"页 {i}", meta=meta)


@pytest.fixture
def shard_folder(tmp_path: Path) -> Path:
    """Two shards of three samples each."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for shard in range(2):
        with ShardWriter(folder, shard, recipe="r" * 64) as writer:
            writer.extend(make_sample(i) for i in range(3 * shard, 3 * shard + 3))
            writer.drop(f"photo{shard}.jpg", "blurry", scores={"sharpness": 0.1})
    return folder


@pytest.fixture(scope="session")
def s3():
    """Start an S3 server on loopback and name a bucket of it."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        import boto3

        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
        client.create_bucket(Bucket="pages")
        yield "s3://pages"
    server.stop()
