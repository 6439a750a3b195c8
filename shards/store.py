"""Store: where shards lie, a folder or a bucket, behind a few verbs on plain file names.

A file is whole or absent, also while another process writes it or after a crash: it is built
under a hidden name (or on the local disk, for a bucket) and then put in place at once.
`create` never overwrites, which is what makes two processes on one output safe.
"""

import os
import platform
import re
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

from shards.ahead import ahead
from shards.errors import StoreError, UserError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

BUCKETS = ("s3", "gs")
"""Schemes of object storage; obstore takes credentials and endpoint from the environment, as
AWS_ACCESS_KEY_ID, AWS_REGION and AWS_ENDPOINT_URL."""

STALE_SECONDS = 3600
"""A temporary file that nobody wrote to for so long is abandoned (our choice: a shard is written
without a pause, sample by sample)."""

PARALLEL_READS = 32
"""Small files asked for at once from a bucket, whose answers take milliseconds each."""


class Ranges(Protocol):
    """A file open for positional reads, from any thread."""

    size: int

    def read(self, start: int, length: int) -> bytes:
        """Return `length` bytes from `start`; fewer where the file ends."""
        ...

    def map(self) -> mmap | None:
        """Map the file into memory, which outlives `close`; None where it is remote or empty."""
        ...

    def close(self) -> None:
        """Let the file go."""
        ...


class Store(ABC):
    """Files with plain names, without folders. `str()` of a store opens it again elsewhere."""

    @abstractmethod
    def names(self) -> list[str]:
        """Return the sorted names of all that lies here; hidden files are not counted.

        Raises:
            UserError: when there is no such folder.
        """

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Return the bytes of every file that `names` lists, in one go.

        Raises:
            UserError: when there is no such folder.
        """

    @abstractmethod
    def size(self, name: str) -> int:
        """Return the bytes of a file.

        Raises:
            FileNotFoundError: when there is none.
        """

    @abstractmethod
    def open(self, name: str) -> Ranges:
        """Open a file for positional reads.

        Raises:
            FileNotFoundError: when there is none.
        """

    @abstractmethod
    def replace(self, name: str, data: bytes) -> None:
        """Write a file, in place of an older one if there is."""

    @abstractmethod
    def create(self, name: str, data: bytes) -> bool:
        """Write a file only where none is, and say whether it was written.

        Of two processes that try, one gets True; the other leaves the file of the first as it is.
        """

    @abstractmethod
    def staging(self, name: str) -> Path:
        """Return the local path at which to build a large file; this thread's own."""

    @abstractmethod
    def put(self, staged: Path, name: str) -> None:
        """Move a file from staging to its name, in place of an older one if there is."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove a file; nothing happens when there is none."""

    @abstractmethod
    def abandoned(self) -> list[Path]:
        """List the local files that killed processes left in staging.

        A file is abandoned when its process, one of this machine, is gone, or when nobody wrote
        to it for STALE_SECONDS. Others stay: a second run may be at work in the same store.
        """

    def read(self, name: str) -> bytes:
        """Return a whole file.

        Raises:
            FileNotFoundError: when there is none.
        """
        file = self.open(name)
        try:
            return file.read(0, file.size)
        finally:
            file.close()

    def exists(self, name: str) -> bool:
        """Is there a file of this name?"""
        try:
            self.size(name)
        except FileNotFoundError:
            return False
        return True

    def read_all(self, names: Iterable[str]) -> Iterator[bytes]:
        """Read many small files, in the order of `names`."""
        return map(self.read, names)

    def read_tails(self, sizes: Mapping[str, int], length: int) -> Iterator[bytes]:
        """Read the last `length` bytes of many files of known sizes, or all of a shorter one."""
        return map(partial(self._tail, length=length), sizes.items())

    def _tail(self, named: tuple[str, int], *, length: int) -> bytes:
        name, size = named
        file = self.open(name)
        try:
            return file.read(max(0, size - length), length)
        finally:
            file.close()

    def sweep(self) -> list[Path]:
        """Remove what `abandoned` lists, and return it."""
        removed = self.abandoned()
        for path in removed:
            path.unlink(missing_ok=True)
        return removed


class Folder(Store):
    """A folder of the local or a shared file system."""

    def __init__(self, path: Path) -> None:
        """Name the folder; it need not exist yet."""
        self.path = path

    def __str__(self) -> str:
        """Return the path."""
        return str(self.path)

    def names(self) -> list[str]:
        """List the folder."""
        try:
            return sorted(
                path.name for path in self.path.iterdir() if not path.name.startswith(".")
            )
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UserError(
                f"{self.path} is not a folder; give the --out of a render or filter run"
            ) from error

    def sizes(self) -> dict[str, int]:
        """Ask for each; a file that goes meanwhile is left out."""
        found: dict[str, int] = {}
        for name in self.names():
            with suppress(FileNotFoundError):
                found[name] = self.size(name)
        return found

    def size(self, name: str) -> int:
        """Return the bytes of a file."""
        return (self.path / _plain(name)).stat().st_size

    def open(self, name: str) -> Ranges:
        """Open a file for positional reads."""
        return _LocalRanges(self.path / _plain(name))

    def replace(self, name: str, data: bytes) -> None:
        """Write a file under a hidden name, flush it, and rename it."""
        temporary = self.staging(name)
        try:
            _write_durably(temporary, data)
            temporary.replace(self.path / name)
        finally:
            temporary.unlink(missing_ok=True)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file under a hidden name and link it: unlike a rename, that never overwrites."""
        temporary = self.staging(name)
        try:
            _write_durably(temporary, data)
            os.link(temporary, self.path / name)
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def staging(self, name: str) -> Path:
        """Return a hidden path in the folder itself, from which a rename is atomic."""
        return _temporary(self.path / _plain(name))

    def put(self, staged: Path, name: str) -> None:
        """Rename, and flush the folder, or a power cut could keep what is written next alone."""
        staged.replace(self.path / name)
        handle = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def delete(self, name: str) -> None:
        """Remove a file if it is there."""
        (self.path / _plain(name)).unlink(missing_ok=True)

    def abandoned(self) -> list[Path]:
        """List the hidden files that killed processes left in the folder."""
        return _abandoned_in(self.path)


class Bucket(Store):
    """A prefix of an object store, by URL. Calls that fail are tried again, up to 10 times."""

    def __init__(self, url: str) -> None:
        """Name the prefix; nothing is asked of the store yet."""
        self.url = url.rstrip("/")

    def __str__(self) -> str:
        """Return the URL."""
        return self.url

    def __reduce__(self) -> tuple[type["Bucket"], tuple[str]]:
        """Open again in another process: connections cannot be sent."""
        return type(self), (self.url,)

    @cached_property
    def objects(self) -> "ObjectStore":
        """Return obstore's client for this URL.

        Raises:
            UserError: when obstore is missing or the URL names no bucket.
        """
        try:
            from obstore.store import from_url
        except ImportError as error:
            raise UserError(f"{self.url} needs obstore; pip install 'nonpareil[cloud]'") from error
        with _answers(self.url):
            return from_url(self.url)

    def names(self) -> list[str]:
        """List what lies right below the prefix, the names of further prefixes included."""
        import obstore

        with _answers(self.url):
            found = obstore.list_with_delimiter(self.objects)
        paths = [*found["common_prefixes"], *(meta["path"] for meta in found["objects"])]
        names = (path.rpartition("/")[2] for path in paths)
        return sorted(name for name in names if not name.startswith("."))

    def sizes(self) -> dict[str, int]:
        """Take the sizes from the listing."""
        import obstore

        with _answers(self.url):
            found = obstore.list_with_delimiter(self.objects)["objects"]
        named = ((meta["path"].rpartition("/")[2], meta["size"]) for meta in found)
        return {name: size for name, size in named if not name.startswith(".")}

    def size(self, name: str) -> int:
        """Ask for the bytes of an object."""
        import obstore

        with _answers(self.url):
            return obstore.head(self.objects, _plain(name))["size"]

    def open(self, name: str) -> Ranges:
        """Ask for the size; ranges are fetched when they are read."""
        return _RemoteRanges(self, name, self.size(name))

    def read(self, name: str) -> bytes:
        """Fetch a whole object in one call."""
        import obstore

        with _answers(self.url):
            return bytes(obstore.get(self.objects, _plain(name)).bytes())

    def read_all(self, names: Iterable[str]) -> Iterator[bytes]:
        """Fetch PARALLEL_READS objects at a time."""
        return ahead(self.read, names, PARALLEL_READS)

    def read_tails(self, sizes: Mapping[str, int], length: int) -> Iterator[bytes]:
        """Fetch the ends of PARALLEL_READS objects at a time."""
        return ahead(partial(self._tail, length=length), sizes.items(), PARALLEL_READS)

    def _tail(self, named: tuple[str, int], *, length: int) -> bytes:
        name, size = named
        return _RemoteRanges(self, _plain(name), size).read(max(0, size - length), length)

    def replace(self, name: str, data: bytes) -> None:
        """Put an object; readers see the old one or the new one."""
        import obstore

        with _answers(self.url):
            obstore.put(self.objects, _plain(name), data)

    def create(self, name: str, data: bytes) -> bool:
        """Put an object under the condition that there is none (If-None-Match)."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with _answers(self.url):
            try:
                obstore.put(self.objects, _plain(name), data, mode="create")
            except AlreadyExistsError:
                return False
        return True

    def staging(self, name: str) -> Path:
        """Return a path in this machine's temporary folder."""
        folder = _bucket_staging()
        folder.mkdir(exist_ok=True)
        return _temporary(folder / _plain(name))

    def put(self, staged: Path, name: str) -> None:
        """Upload a file, in parts where it is large; it appears when the last part is there."""
        import obstore

        with _answers(self.url):
            obstore.put(self.objects, _plain(name), staged)
        staged.unlink()

    def delete(self, name: str) -> None:
        """Delete an object if it is there."""
        import obstore

        with _answers(self.url):
            try:
                obstore.delete(self.objects, _plain(name))
            except FileNotFoundError:
                return

    def abandoned(self) -> list[Path]:
        """List what killed processes of this machine left in its temporary folder."""
        return _abandoned_in(_bucket_staging())


Where = str | Path | Store
"""How callers name a store: a path, a URL, or the store itself."""


def open_store(where: Where) -> Store:
    """Open a folder's path or a URL: `file://`, `s3://`, `gs://`.

    Raises:
        UserError: for another scheme, or a URL without a bucket.
    """
    if isinstance(where, Store):
        return where
    scheme, separator, _ = str(where).partition("://")
    if isinstance(where, Path) or not separator:
        return Folder(Path(where))
    parts = urlsplit(where)
    if scheme == "file":
        return Folder(Path(unquote(parts.netloc + parts.path)))
    if scheme not in BUCKETS or not parts.netloc:
        raise UserError(
            f"{where} is not a store; give a folder, file:///FOLDER, s3://BUCKET/PREFIX or "
            "gs://BUCKET/PREFIX"
        )
    return Bucket(where)


def write_atomically(path: Path, text: str) -> None:
    """Write a local text file so that a reader sees the whole of it or none, also after a crash."""
    Folder(path.parent).replace(path.name, text.encode())


class _LocalRanges:
    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self._handle).st_size

    def read(self, start: int, length: int) -> bytes:
        return os.pread(self._handle, length, start)

    def map(self) -> mmap | None:
        return mmap(self._handle, 0, access=ACCESS_READ) if self.size else None

    def close(self) -> None:
        os.close(self._handle)


class _RemoteRanges:
    def __init__(self, bucket: Bucket, name: str, size: int) -> None:
        self._bucket, self._name, self.size = bucket, name, size

    def read(self, start: int, length: int) -> bytes:
        import obstore

        end = min(start + length, self.size)
        if start >= end:
            return b""
        with _answers(self._bucket.url):
            return bytes(obstore.get_range(self._bucket.objects, self._name, start=start, end=end))

    def map(self) -> mmap | None:
        return None

    def close(self) -> None:
        return


@contextmanager
def _answers(url: str) -> Generator[None, None, None]:
    """Turn an error of the object store into one line; a missing file stays what it is."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        if not type(error).__module__.startswith("obstore"):
            raise
        # obstore's message is a tree over many lines; what the server itself said is the point.
        said = re.search(r"<Message>(.*?)</Message>", str(error))
        why = said[1] if said else " ".join(str(error).split())[:200]
        raise StoreError(
            f"{url}: {why}; check the URL, the credentials and the "
            "endpoint in the environment, then run the same command again"
        ) from error


def _plain(name: str) -> str:
    if not name or "/" in name or "\\" in name or name in (".", ".."):
        raise UserError(f"{name!r} is not a plain file name")
    return name


def _bucket_staging() -> Path:
    return Path(tempfile.gettempdir()) / f"nonpareil-{os.getuid()}"


def _temporary(path: Path) -> Path:
    """Name the file that becomes `path`: hidden, beside it, and this thread's own."""
    owner = f"{platform.node()}.{os.getpid()}.{threading.get_ident()}"
    return path.with_name(f".{path.name}.{owner}.tmp")


def _abandoned_in(folder: Path) -> list[Path]:
    found: list[Path] = []
    for path in sorted(folder.glob(".*.tmp")):
        try:
            if _is_abandoned(path):
                found.append(path)
        except FileNotFoundError:
            continue  # its owner has just put it in place
    return found


def _is_abandoned(path: Path) -> bool:
    here = re.fullmatch(rf"\..*\.{re.escape(platform.node())}\.(\d+)\.\d+\.tmp", path.name)
    if here and not _alive(int(here[1])):
        return True
    return time.time() - path.stat().st_mtime > STALE_SECONDS


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    try:
        status = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return True  # no such folder on this system
    # A process that was killed answers signals until its parent has taken note.
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
