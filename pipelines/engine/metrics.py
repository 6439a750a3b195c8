"""Gauges of a run in Ray's metrics, which every node offers to Prometheus.

The driver sets them: it knows the whole run, and workers come and go. Names begin with
`ray_nonpareil_` in Prometheus; the tag `output` tells runs apart.
"""

import importlib
from functools import cached_property
from typing import Any

from pipelines.engine.attempts import Made
from pipelines.engine.quarantine import Failure
from pipelines.engine.status import Status

SECONDS = [1, 3, 10, 30, 100, 300, 1000, 3000]
"""Edges of the histogram of seconds a shard (our choice: half decades, up to an hour)."""


class Gauges:
    """Show statuses as metrics."""

    def __init__(self, output: str) -> None:
        """Name the output; metrics are made at the first status, when Ray is up."""
        self.output = {"output": output}

    @cached_property
    def _metrics(self) -> dict[str, Any]:
        ray: Any = importlib.import_module("ray.util.metrics")  # untyped in part
        tags = ("output",)
        return {
            "shards": ray.Gauge("nonpareil_shards", "Shards by state.", (*tags, "state")),
            "samples": ray.Gauge("nonpareil_samples", "Samples in finished shards.", tags),
            "bytes": ray.Gauge("nonpareil_bytes", "Bytes of finished tars.", tags),
            "rate": ray.Gauge("nonpareil_samples_per_second", "Samples a second.", tags),
            "dropped": ray.Gauge("nonpareil_dropped", "Images dropped.", (*tags, "reason")),
            "unreadable": ray.Gauge("nonpareil_unreadable", "Files that cannot be opened.", tags),
            "seconds": ray.Histogram(
                "nonpareil_shard_seconds", "Wall time of a shard.", SECONDS, tags
            ),
        }

    def show(self, status: Status, latest: Made | Failure | None) -> None:
        """Set every gauge, and add the time that the latest shard took."""
        if latest is None and status.state == "running":
            return  # nothing has happened, and Ray may not be up yet
        metrics = self._metrics
        for state in ("done", "total", "failed"):
            metrics["shards"].set(getattr(status, state), {**self.output, "state": state})
        metrics["samples"].set(status.samples, self.output)
        metrics["bytes"].set(status.bytes, self.output)
        metrics["rate"].set(status.samples_per_second, self.output)
        for reason, count in status.dropped.items():
            metrics["dropped"].set(count, {**self.output, "reason": reason})
        metrics["unreadable"].set(status.unreadable, self.output)
        seconds = getattr(latest, "seconds", None)
        if seconds:
            metrics["seconds"].observe(seconds, self.output)

    def close(self) -> None:
        """Leave the last values; they go with the driver."""
