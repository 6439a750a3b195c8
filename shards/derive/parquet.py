"""The table of samples as a Parquet file, for pandas, Polars, DuckDB and Spark."""

from collections.abc import Callable
from contextlib import ExitStack

from shards.dataset import Dataset
from shards.derive.choice import Choice, chosen
from shards.derive.table import table_of
from shards.errors import UserError
from shards.store import Store
from shards.store.staging import naming

ROW_GROUP = 2**17
"""Rows that are held and written at once (our choice: what pyarrow's own readers like)."""


def write_table(
    dataset: Dataset,
    choice: Choice,
    store: Store,
    name: str,
    advance: Callable[[int, int], None] | None = None,
) -> tuple[int, int]:
    """Write the chosen samples, by COLUMNS, and return the number of rows and of bytes.

    The file is whole or not there. `advance` is told the number of the shard and of all.

    Raises:
        UserError: when there is no sample to write, or no package that writes it.
    """
    if not dataset.names:
        raise dataset.nothing()
    empty = table_of((), choice.seed)
    from pyarrow import parquet

    staged = store.staging(name)
    rows = 0
    with naming(staged), ExitStack() as last:
        last.callback(staged.unlink, missing_ok=True)
        with parquet.ParquetWriter(staged, empty.schema, compression="zstd") as writer:
            samples = []
            for part in chosen([dataset], choice):
                samples += [(part.sidecar, entry) for entry in part.entries]
                if advance:
                    advance(part.sidecar.shard, len(dataset.names))
                if len(samples) >= ROW_GROUP:
                    writer.write_table(table_of(samples, choice.seed))
                    rows, samples = rows + len(samples), []
            writer.write_table(table_of(samples, choice.seed))
        rows += len(samples)
        if not rows:
            raise UserError(f"no sample of {dataset.store} is chosen: {choice.where}")
        size = staged.stat().st_size
        store.put(staged, name)
    return rows, size
