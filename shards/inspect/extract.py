"""Extract: samples out of their tars, as plain files that never take the place of others."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import closing

from shards.dataset import Dataset, read_files
from shards.errors import ShardError, UserError
from shards.sidecar import read_sidecar, sidecar_name
from shards.store import Store, Where, open_store

Stored = tuple[str, dict[str, bytes]]
"""A sample as it is stored: its key, and its files by ending."""


def select(
    where: Where, keys: Collection[str] = (), *, shards: Collection[int] = ()
) -> Iterator[Stored]:
    """Yield the samples with these keys, in these shards; all where nothing is named.

    Sidecars are read one after the other, and none after the last key was found.

    Raises:
        UserError: when a key or a shard is not there, or no sample at all.
        ShardError: when a shard is not what its sidecar says.
    """
    store = open_store(where)
    missing, is_empty = set(keys), not shards
    try:
        wanted = (read_sidecar(store, sidecar_name(shard)) for shard in sorted(shards))
        for sidecar in wanted if shards else Dataset(store).sidecars():
            is_empty = is_empty and not sidecar.entries
            entries = [entry for entry in sidecar.entries if not keys or entry.key in missing]
            if not entries:
                continue
            with closing(store.open(sidecar.tar)) as tar:
                for entry in entries:
                    missing.discard(entry.key)
                    yield entry.key, read_files(tar, entry)
            if keys and not missing:
                return
    except FileNotFoundError as error:
        raise ShardError(
            f"{store} has not all of what was asked for ({error.filename or error}); list the "
            "shards with shards ls"
        ) from error
    if is_empty:
        raise Dataset(store).nothing()
    if missing:
        raise UserError(f"no sample {min(missing)!r} in {store}; list them with shards ls --keys")


def extract(samples: Iterable[Stored], out: Where) -> Iterator[dict[str, int]]:
    """Write samples into a folder or bucket and yield the files of each, with their bytes.

    Keys and endings hold no slash (`shards.sidecar`), so no name leads out of the folder.

    Raises:
        UserError: when a file is there already and holds something else.
    """
    store = open_store(out)
    for key, files in samples:
        store.make()
        for ending, data in files.items():
            write_new(store, f"{key}.{ending}", data)
        yield {f"{key}.{ending}": len(data) for ending, data in files.items()}


def write_new(store: Store, name: str, data: bytes) -> None:
    """Write a file that is not there yet; one that holds the same bytes may be.

    Raises:
        UserError: when another file is in its place, which stays.
    """
    if store.create(name, data):
        return
    try:
        same = store.read(name) == data
    except OSError:  # a folder, or a link to nowhere
        same = False
    if not same:
        raise UserError(f"{store}/{name} is there already; give another place to write to")
