"""A job whose shards take no work: what is left is the engine itself."""

from typing import Any

from pipelines.engine.jobs import Job
from pipelines.engine.signs import Tell, silently
from shards import Sidecar, Store


class EmptyJob(Job):
    """Shards that are said to be made, but are not."""

    shards: int = 100_000

    def count(self) -> int:
        """Return the number asked for."""
        return self.shards

    def inputs(self) -> dict[str, str]:
        """Depend on nothing."""
        return {}

    def identity(self) -> dict[str, Any]:
        """Name no recipe."""
        return {"kind": "EmptyJob"}

    def make_shard(self, index: int, out: Store, tell: Tell = silently) -> Sidecar:
        """Return a sidecar at once and write nothing."""
        del out, tell
        name = f"part-{index:06d}.tar"
        return Sidecar.of((), tar=name, shard=index, sha256="0" * 64, bytes=0, recipe="")
