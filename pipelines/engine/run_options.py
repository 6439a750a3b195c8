"""How a run goes about its work: where, with how many workers, and which shards of the job.

None of it changes a byte of a shard, so none of it is part of a recipe.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from shards.errors import UserError

ENGINES = ("inline", "processes", "ray")
"""Where shards are made: in this process, in processes of this machine, on a Ray cluster."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a user may choose for one run.

    Args:
        engine: one of ENGINES.
        workers: how many shards at a time; 0 takes every core (or slot of the cluster).
        only: make these shards alone, and make them anew where they are finished; None makes
            every shard that is missing.

    Raises:
        UserError: when there is no such engine.
    """

    engine: str = "processes"
    workers: int = 0
    only: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise UserError(f"--engine {self.engine} is not one of {', '.join(ENGINES)}")

    def to_make(self, count: int, finished: set[int]) -> list[int]:
        """List, in order, the shards that a run of a job of `count` shards has to make."""
        if self.only is not None:
            return sorted(set(self.only))
        return [shard for shard in range(count) if shard not in finished]
