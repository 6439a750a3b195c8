"""Store: where shards lie, a folder or a bucket, behind a few verbs on plain file names.

A file is whole or absent, also while another process writes it or after a crash: it is built
under a hidden name (or on the local disk, for a bucket) and then put in place at once.
`create` never overwrites, which is what makes two processes on one output safe.
"""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from shards.errors import UserError
from shards.store.base import MAX_BYTES, RandomAccessFile, Store
from shards.store.bucket import BUCKETS, PARALLEL_READS, Bucket
from shards.store.folder import Folder

__all__ = [
    "MAX_BYTES",
    "PARALLEL_READS",
    "Bucket",
    "Folder",
    "RandomAccessFile",
    "Store",
    "Where",
    "open_store",
    "sha256_of",
    "write_atomically",
]

Where = str | Path | Store
"""How callers name a store: a path, a URL, or the store itself."""


SLIPS = ("file:", "s3:", "gs:", "http:", "https:", "hf:")
"""How a URL begins, with too few slashes perhaps: no folder is meant (`./s3:` is one)."""


def open_store(where: Where) -> Store:
    """Open a folder's path or a URL: `file://`, `s3://`, `gs://`.

    Raises:
        UserError: for another scheme, a URL without a bucket, or one that lacks a slash.
    """
    if isinstance(where, Store):
        return where
    scheme, separator, _ = str(where).partition("://")
    if isinstance(where, Path) or not (separator or where.startswith(SLIPS)):
        return Folder(Path(where))
    parts = urlsplit(where)
    if separator and scheme == "file":
        return Folder(Path(unquote(parts.netloc + parts.path)))
    if scheme not in BUCKETS or not parts.netloc:
        raise UserError(
            f"{where} is not a store; give a folder, file:///FOLDER, s3://BUCKET/PREFIX or "
            "gs://BUCKET/PREFIX"
        )
    return Bucket(where)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a local file, read in pieces, in 64 hexadecimal digits.

    Raises:
        OSError: when it cannot be read.
    """
    return Folder(path.parent).sha256(path.name)


def write_atomically(path: Path, text: str) -> None:
    """Write a local text file so that a reader sees the whole of it or none, also after a crash."""
    Folder(path.parent).replace(path.name, text.encode())
