"""Repair: make whatever is broken look unmade, so that the next run makes exactly that again.

A shard counts as made when its sidecar is there. Repair removes temporary files of killed runs
and the sidecars of shards that are not what they promise. Tars always stay: a run puts its own in
their place.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from shards.dataset import Dataset
from shards.inspect.check import Advance, faults_of
from shards.store import Where


@dataclass(frozen=True, slots=True)
class Action:
    """What was done about one file (removed, left) and why.

    `remade` is the number of the shard that the next run makes because of it.
    """

    file: str
    done: str
    why: str
    remade: int | None = None

    def row(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


def repair(
    where: Where, *, deep: bool = False, dry_run: bool = False, advance: Advance | None = None
) -> Iterator[Action]:
    """Mend a folder or bucket and yield what was done, while it is done.

    Faults that another run would not mend, such as a key that occurs twice, are left and listed.

    Args:
        where: the folder or bucket. No run should be at work in it: of a shard that it remakes
            meanwhile the new sidecar could be taken for the broken one.
        deep: open every sample too, as `faults` does.
        dry_run: only list what would be done.
        advance: told about the progress of the check.

    Raises:
        UserError: when there is no such folder.
    """
    dataset = Dataset(where)
    store = dataset.store
    removed = "would remove" if dry_run else "removed"
    for path in store.abandoned() if dry_run else store.sweep():
        yield Action(path.name, removed, "temporary file of a killed run")
    gone: set[str] = set()
    for fault in faults_of(dataset, deep=deep, advance=advance):
        if not fault.mendable:
            yield Action(fault.file, "left", f"{fault.fault}; {fault.remedy}")
            continue
        name = f"{fault.file.partition('.')[0]}.json"
        if name in gone:
            continue
        gone.add(name)
        if not dry_run:
            store.delete(name)
        yield Action(name, removed, fault.fault, fault.shard)
