"""Store: where shards lie, a folder or a bucket, behind a few verbs on plain file names.

A file is whole or absent, also while another process writes it or after a crash: it is built
under a hidden name (or on the local disk, for a bucket) and then put in place at once.
`create` never overwrites, which is what makes two processes on one output safe.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote_to_bytes

from shards.errors import UserError
from shards.store.base import MAX_BYTES, RandomAccessFile, Store
from shards.store.bucket import BUCKETS, PARALLEL_READS, Bucket, Object
from shards.store.folder import Folder

__all__ = [
    "MAX_BYTES",
    "PARALLEL_READS",
    "Bucket",
    "Folder",
    "Object",
    "Places",
    "RandomAccessFile",
    "Store",
    "Where",
    "each_of",
    "local_path",
    "open_store",
    "sha256_of",
    "write_atomically",
]

Where = str | Path | Store
"""How callers name a place: a path, a URL, or the store itself."""

Places = Where | Sequence[Where]
"""One place, or several that are read as one, in order."""


SLIPS = ("file:", "s3:", "gs:", "http:", "https:", "hf:")
"""How a URL begins, with too few slashes perhaps: no folder is meant (`./s3:` is one)."""

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
"""What makes a text a URL."""


def open_store(where: Where) -> Store:
    """Open a place by its path or URL, `file://`, `s3://`, `gs://`; nothing is asked of it yet.

    A text that begins with `~` lies in a home folder, as in a shell; a Path is taken as it is.

    Raises:
        UserError: for an empty text, another scheme, a URL without a bucket or with parts that
            buckets do not have, or one that lacks a slash.
    """
    if isinstance(where, Store):
        return where
    if isinstance(where, Path):
        return Folder(where)
    scheme, separator, rest = where.partition("://")
    if separator and scheme == "file":
        return Folder(_path_of_url(where, rest))
    if separator and scheme in BUCKETS and rest.partition("/")[0]:
        return Bucket(_plain_url(where, rest))
    if not where or "\0" in where or URL.match(where) or where.startswith(SLIPS):
        raise UserError(
            f"{where or repr(where)} is not a store; give a path, file:///PATH, s3://BUCKET/PREFIX "
            "or gs://BUCKET/PREFIX"
        )
    try:
        return Folder(Path(where).expanduser() if where[0] == "~" else Path(where))
    except RuntimeError as error:
        raise UserError(f"{where}: nobody knows that home folder; give the whole path") from error


def each_of(places: Places) -> tuple[Where, ...]:
    """Return the places one by one."""
    return (places,) if isinstance(places, str | Path | Store) else tuple(places)


def local_path(where: Where) -> Path:
    """Return the local path that `where` names, for what cannot be done in a bucket.

    Raises:
        UserError: as `open_store`, and for a bucket.
    """
    store = open_store(where)
    if not isinstance(store, Folder):
        raise UserError(f"{store} is in a bucket; give a path of this machine")
    return store.path


def _path_of_url(where: str, rest: str) -> Path:
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost") or not slash or "%00" in path:
        raise UserError(f"{where} is not a store; write the whole path, as file:///data/pages")
    return Path(os.fsdecode(unquote_to_bytes(f"/{path}")))


def _plain_url(where: str, rest: str) -> str:
    """Return the URL of a bucket without slashes at its end.

    Raises:
        UserError: for what the client would read as another place than the one that was typed.
    """
    parts = rest.rstrip("/").split("/")
    if not {"", ".", ".."}.isdisjoint(parts) or "?" in rest or "#" in rest:
        raise UserError(
            f"{where} is not a store; leave out ?, #, // and dots between slashes (%3F and %23 "
            "stand for ? and #)"
        )
    return where.rstrip("/")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a local file, read in pieces, in 64 hexadecimal digits.

    Raises:
        OSError: when it cannot be read.
    """
    return Folder(path.parent).sha256(path.name)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a local file so that a reader sees the whole of it or none, also after a crash."""
    data = content.encode() if isinstance(content, str) else content
    Folder(path.parent).replace(path.name, data)
