"""Small recipes that run the real thing."""

import pytest

from pipelines.engine.jobs import RenderJob
from pipelines.engine.run_options import RunOptions

SMALL_PAGES = {
    "shards": 3,
    "samples_per_shard": 2,
    "render": {"width": 96, "height": 64, "size_px": [7, 12]},
}

INLINE = RunOptions("inline")


@pytest.fixture
def job() -> RenderJob:
    return RenderJob.model_validate(SMALL_PAGES)
