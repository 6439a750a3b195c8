"""What a shard of a job holds."""

import numpy as np

from pipelines.engine.jobs import FilterJob
from shards import ShardReader, encode_png
from shards.store import open_store
from tests.conftest import picture


def test_of_a_large_image_a_piece_is_kept_as_it_is_and_a_small_one_whole(tmp_path):
    images = {"large": picture(1, 300, 700), "long": picture(2, 100, 300), "small": picture(3)}
    for folder in ("images", "out"):
        (tmp_path / folder).mkdir()
    for name, pixels in images.items():
        (tmp_path / f"images/{name}.png").write_bytes(encode_png(pixels))
    job = FilterJob.model_validate(
        {
            "images": tmp_path / "images",
            "piece": 256,
            "filter": [{"kind": "resolution", "minimum": 8}],
        }
    )
    job.make_shard(0, open_store(tmp_path / "out"))
    large, long, small = ShardReader(tmp_path / "out")
    for sample, name, size in ((large, "large", (256, 256)), (long, "long", (100, 256))):
        left, top = sample.meta["piece"]
        height, width = size
        assert (sample.meta["height"], sample.meta["width"]) == sample.pixels().shape[:2] == size
        assert np.array_equal(
            sample.pixels(), images[name][top : top + height, left : left + width]
        )
    assert small.image == (tmp_path / "images/small.png").read_bytes()
    assert "piece" not in small.meta
