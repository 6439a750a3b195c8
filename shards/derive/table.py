"""The table of samples: what sidecars say of each, as columns that SQL and Parquet know."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from shards.errors import UserError
from shards.sidecar import Entry, Sidecar

if TYPE_CHECKING:
    import pyarrow as pa


class Column(NamedTuple):
    """A column: its type as Arrow calls it, and what it holds."""

    kind: str
    meaning: str


COLUMNS = {
    "key": Column("string", "the sample's key"),
    "shard": Column("int64", "the number of its shard"),
    "width": Column("int64", "of its picture, px"),
    "height": Column("int64", "of its picture, px"),
    "bytes": Column("int64", "of all its files"),
    "language": Column("string", "of its text; empty without one"),
    "characters": Column("int64", "that its text has"),
    "size_px": Column("double", "smallest em of its text, px; null without one"),
    "largest_px": Column("double", "largest em of its text, px"),
    "scores": Column("map<string, double>", "what filters measured, as scores['sharpness']"),
    "draw": Column("double", "a number in [0, 1) by key and seed, for random shares"),
}


def draw(key: str, seed: int) -> int:
    """Return 64 random bits of a key: the same in every dataset, so that shares never overlap."""
    state = hashlib.blake2b(key.encode(), digest_size=8, salt=seed.to_bytes(16, "little"))
    return int.from_bytes(state.digest(), "big")


def table_of(samples: Sequence[tuple[Sidecar, Entry]], seed: int) -> "pa.Table":
    """Return the table of some samples, in their order, a row each, by COLUMNS.

    Raises:
        UserError: without the package that makes tables.
    """
    arrow = _arrow()
    held = {
        "key": [entry.key for _, entry in samples],
        "shard": [sidecar.shard for sidecar, _ in samples],
        "width": [entry.width for _, entry in samples],
        "height": [entry.height for _, entry in samples],
        "bytes": [sum(size for _, size in entry.files.values()) for _, entry in samples],
        "language": [entry.language for _, entry in samples],
        "characters": [entry.characters for _, entry in samples],
        "size_px": [entry.size_px and entry.size_px[0] for _, entry in samples],
        "largest_px": [entry.size_px and entry.size_px[1] for _, entry in samples],
        "scores": [list(entry.scores.items()) for _, entry in samples],
        "draw": [draw(entry.key, seed) / 2**64 for _, entry in samples],
    }
    kinds = {"string": arrow.string(), "int64": arrow.int64(), "double": arrow.float64()}
    kinds["map<string, double>"] = arrow.map_(arrow.string(), arrow.float64())
    schema = arrow.schema([(name, kinds[column.kind]) for name, column in COLUMNS.items()])
    return arrow.table(held, schema=schema)


def _arrow() -> Any:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise UserError("tables of samples need pyarrow: pip install nonpareil[sql]") from error
    return pa
