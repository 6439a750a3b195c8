"""The nodes of a cluster as a run sees them: which of them fail where others succeed.

A shard that fails is tried on another node before it is tried again on the same one. A node that
fails several shards which others then make, and makes none itself meanwhile, gets no more of them;
nor does one that says itself that it cannot work. Such a node is shunned, and named with its
reason. A name is the address of a node, with the first digits of the number that Ray gave it.
"""

import logging
from collections import defaultdict
from collections.abc import Set
from dataclasses import dataclass, field

from shards.errors import UserError

FAULTS = 3
"""Shards that a node may fail, and others make, before it is shunned (our choice: as many as the
attempts of a shard)."""

log = logging.getLogger(__name__)


@dataclass
class Nodes:
    """What became of shards on each node.

    `names` has the name of each by its number. `shunned` maps names to reasons. `working` holds
    those that are up: it is empty where a run stays on this machine.
    """

    names: dict[str, str] = field(default_factory=dict[str, str])
    working: frozenset[str] = frozenset()
    shunned: dict[str, str] = field(default_factory=dict[str, str])
    _tried: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    _blame: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    _errors: dict[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])

    def avoided(self, shard: int) -> frozenset[str]:
        """Return the nodes on which not to try a shard now: never all that could make it."""
        shunned, tried = frozenset(self.shunned), self._tried.get(shard, set[str]())
        return shunned | tried if self.working - shunned - tried else shunned

    def failed(self, shard: int, node: str, error: str) -> None:
        """Note that a node failed a shard."""
        self._tried[shard].add(node)
        self._errors[node, shard] = error

    def made(self, shard: int, node: str) -> None:
        """Note that a node made a shard, and blame those that had failed it."""
        self._blame.pop(node, None)
        for other in self._tried.pop(shard, set[str]()) - {node}:
            blame = self._blame[other]
            blame[shard] = self._errors.pop((other, shard))
            if len(blame) >= FAULTS:
                self.shun(other, f"failed {len(blame)} shards that others made: {blame[shard]}")

    def shun(self, node: str, reason: str) -> None:
        """Give a node no more shards."""
        if node not in self.shunned:
            self.shunned[node] = reason
            log.warning("node %s gets no more shards: %s", node, reason)

    def require_any(self, working: Set[str]) -> None:
        """Take note of the nodes that are up, and check that one of them may work.

        Raises:
            UserError: when all are shunned.
        """
        self.working = frozenset(working)
        if working and not self.working - self.shunned.keys():
            raise UserError(
                f"no node of the cluster is left that can work on this: {self.in_words()}; mend "
                "one and give the same command again: what is finished is kept"
            )

    def in_words(self) -> str:
        """Name the nodes that are shunned, each with its reason."""
        return "; ".join(f"{node}: {reason}" for node, reason in sorted(self.shunned.items()))
