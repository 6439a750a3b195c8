"""Bucket: a store in object storage. obstore is imported at the first call, not before."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from mmap import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote
from urllib.request import Request, urlopen

from shards.ahead import ahead
from shards.caches import private_folder
from shards.errors import StoreError, UserError
from shards.store.answers import answers, explained
from shards.store.base import RandomAccessFile, Store, plain
from shards.store.staging import Useless, abandoned_in, hidden

if TYPE_CHECKING:
    from obstore.store import ObjectStore

BUCKETS = ("s3", "gs")
"""Schemes of object storage; obstore takes credentials and endpoint from the environment, as
AWS_ACCESS_KEY_ID, AWS_REGION and AWS_ENDPOINT_URL."""

PARALLEL_READS = 32
"""Small files asked for at once from a bucket, whose answers take milliseconds each."""

NO_BULK = r"\b(?:400|403|405|501) |NotImplemented|MethodNotAllowed|AccessDenied|MalformedXML"
"""How servers refuse to delete many objects at once: some lack the call, some deny it alone."""

ANSWER_S = 60.0
"""Seconds that the deletion of one object may take (our choice)."""

TRIES, TRYING = 10, timedelta(seconds=60)
"""How often a call that failed is tried again, and until when (our choice: a server that accepts
and never answers costs two times the 30 s of a call, not the 180 s of obstore's own choice; ten
quick refusals are over before)."""


class Bucket(Store):
    """A prefix of an object store, by URL. Calls that fail are tried again, up to TRIES times."""

    def __init__(self, url: str) -> None:
        """Name the prefix; nothing is asked of the store yet."""
        self.url = url.rstrip("/")
        self._singly = False  # does the server delete one object a call only?

    def __str__(self) -> str:
        """Return the URL."""
        return self.url

    def __reduce__(self) -> tuple[type["Bucket"], tuple[str]]:
        """Open again in another process: connections cannot be sent."""
        return type(self), (self.url,)

    def __eq__(self, other: object) -> bool:
        """Compare the URLs, as paths are compared."""
        return isinstance(other, Bucket) and self.url == other.url

    def __hash__(self) -> int:
        """Digest the URL."""
        return hash(self.url)

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
        with answers(self.url):
            return from_url(self.url, retry_config={"max_retries": TRIES, "retry_timeout": TRYING})

    def inside(self, name: str) -> "Bucket":
        """Return the prefix below this one."""
        return Bucket(f"{self.url}/{re.sub('[%?#]', lambda sign: quote(sign[0]), plain(name))}")

    def above(self) -> "tuple[Bucket, str]":
        """Split the URL; what was quoted in the name is plain again."""
        above, _, name = self.url.rpartition("/")
        if above.endswith("/"):
            raise UserError(f"{self.url} is a bucket; give the name of a file in it")
        return Bucket(above), unquote(name)

    def make(self) -> None:
        """Do nothing: a prefix is there as soon as an object is."""

    def move(self, name: str, to: str) -> None:
        """Copy one object after the other, then delete them."""
        import obstore

        self.remove(to)
        below = self._below(name)
        if not below:
            raise FileNotFoundError(f"{self.url}/{name}")
        with answers(self.url):
            for path in below:
                obstore.copy(self.objects, path, f"{to}/{path.removeprefix(f'{name}/')}")
        self._delete(below)

    def remove(self, name: str) -> None:
        """Delete all objects below."""
        self._delete(self._below(name))

    def _below(self, name: str) -> list[str]:
        import obstore

        with answers(self.url):
            pages = list(obstore.list(self.objects, prefix=plain(name)))
        return [meta["path"] for page in pages for meta in page]

    def names(self) -> list[str]:
        """List what lies right below the prefix, the names of further prefixes included."""
        import obstore

        with answers(self.url):
            listing = obstore.list_with_delimiter(self.objects)
        paths = [*listing["common_prefixes"], *(meta["path"] for meta in listing["objects"])]
        names = (path.rpartition("/")[2] for path in paths)
        return sorted(name for name in names if not name.startswith("."))

    def all_objects(self) -> Iterator["Object"]:
        """List all objects below the prefix, however deep, 1,000 a request."""
        import obstore

        with answers(self.url):
            for page in obstore.list(self.objects):
                yield from (Object(self, meta["path"], meta["size"]) for meta in page)

    def sizes(self) -> dict[str, int]:
        """Take the sizes from the listing."""
        import obstore

        with answers(self.url):
            objects = obstore.list_with_delimiter(self.objects)["objects"]
        named = ((meta["path"].rpartition("/")[2], meta["size"]) for meta in objects)
        return {name: size for name, size in named if not name.startswith(".")}

    def size(self, name: str) -> int:
        """Ask for the bytes of an object."""
        import obstore

        with answers(self.url):
            return obstore.head(self.objects, plain(name))["size"]

    def open(self, name: str) -> RandomAccessFile:
        """Ask for the size; ranges are fetched when they are read."""
        return _RemoteFile(self, name, self.size(name))

    def read(self, name: str) -> bytes:
        """Fetch a whole object in one call."""
        import obstore

        with answers(self.url):
            return bytes(obstore.get(self.objects, plain(name)).bytes())

    def read_all(self, names: Iterable[str]) -> Iterator[bytes]:
        """Fetch PARALLEL_READS objects at a time."""
        return ahead(self.read, names, PARALLEL_READS)

    def read_tails(
        self, names: Iterable[str], length: int, sizes: Mapping[str, int]
    ) -> Iterator[bytes]:
        """Fetch the ends of PARALLEL_READS objects at a time."""

        def tail(name: str) -> bytes:
            file = _RemoteFile(self, plain(name), sizes[name])
            return file.read(max(0, file.size - length), length)

        return ahead(tail, names, PARALLEL_READS)

    def replace(self, name: str, data: bytes) -> None:
        """Put an object; readers see the old one or the new one."""
        import obstore

        with answers(self.url):
            obstore.put(self.objects, plain(name), data)

    def create(self, name: str, data: bytes) -> bool:
        """Put an object under the condition that there is none (If-None-Match)."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with answers(self.url):
            try:
                obstore.put(self.objects, plain(name), data, mode="create")
            except AlreadyExistsError:
                return False
        return True

    def staging(self, name: str) -> Path:
        """Return a path in this user's temporary folder."""
        return hidden(private_folder() / plain(name))

    def put(self, staged: Path, name: str) -> None:
        """Upload a file, in parts where it is large; it appears when the last part is there."""
        import obstore

        with answers(self.url):
            obstore.put(self.objects, plain(name), staged)
        staged.unlink()

    def delete(self, name: str) -> None:
        """Delete an object if it is there."""
        with suppress(FileNotFoundError):
            self._delete([plain(name)])

    def _delete(self, paths: Sequence[str]) -> None:
        """Delete many at once or, where the server has no such call or denies it, one by one."""
        import obstore

        if paths and not self._singly:
            try:
                with answers(self.url):
                    obstore.delete(self.objects, paths)
                return
            except StoreError as error:
                if not self.url.startswith("s3:") or not re.search(NO_BULK, str(error.__cause__)):
                    raise
        for path in paths:
            objects: Any = self.objects  # obstore's types name the three kinds that sign
            with answers(self.url):
                address = obstore.sign(objects, "DELETE", path, timedelta(minutes=15))
            self._delete_at(address)
            self._singly = True

    def _delete_at(self, address: str) -> None:
        try:
            with urlopen(Request(address, method="DELETE"), timeout=ANSWER_S):
                return
        except HTTPError as error:
            if error.code == 404:
                return
            said = error.read().decode(errors="replace")
            raise StoreError(
                f"{self.url}: {explained(f'{error.code} {error.reason} {said}')}"
            ) from None
        except (URLError, TimeoutError, ConnectionError) as error:
            raise StoreError(f"{self.url}: {explained(f'{error} TimedOut')}") from None

    def abandoned(self, useless: Useless | None = None) -> list[Path]:
        """List what killed processes of this machine left in its temporary folder."""
        del useless
        return abandoned_in(private_folder())


class Object(NamedTuple):
    """An object that was listed: its path below the prefix of a bucket, and its bytes."""

    bucket: Bucket
    path: str
    size: int

    def open(self) -> RandomAccessFile:
        """Open it for reads by ranges, without asking for its size."""
        return _RemoteFile(self.bucket, self.path, self.size)


class _RemoteFile:
    def __init__(self, bucket: Bucket, name: str, size: int) -> None:
        self._bucket, self._name, self.size = bucket, name, size

    def read(self, start: int, length: int) -> bytes:
        import obstore

        end = min(start + length, self.size)
        if start >= end:
            return b""
        with answers(self._bucket.url):
            return bytes(obstore.get_range(self._bucket.objects, self._name, start=start, end=end))

    def map(self) -> mmap | None:
        return None

    def close(self) -> None:
        return
