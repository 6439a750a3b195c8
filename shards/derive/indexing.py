"""Index: sidecars for tars that others made, so that every command knows them; their bytes stay.

A folder of links to the tars, with a sidecar beside each. What a sample of WebDataset is, is
settled in shards/foreign.py; a picture that cannot be opened is dropped, so is one beside text or
metadata that cannot be read, and everything else that is no sample is counted.
"""

import hashlib
import os
import re
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from mmap import mmap
from pathlib import Path
from zlib import crc32

from shards.ahead import ahead
from shards.dataset import Dataset
from shards.errors import ShardError, Unreadable, UserError, foreign
from shards.foreign import files_of, samples_of
from shards.images.decoding import open_bounded, oriented_size
from shards.images.formats import READABLE
from shards.index import Files, Known
from shards.outputs import claim, digest_of
from shards.sample import Sample
from shards.sidecar import UNREADABLE, Dropped, Entry, Sidecar, shard_name, sidecar_names
from shards.skipped import Skip, Skips, readable
from shards.store import Folder
from shards.store.staging import hidden
from shards.tars.members import members
from shards.totals import Totals

NO_KEY = re.compile(r"[./\\\x00-\x1f]")
"""What a key may not have: a name with folders keeps them as words joined by underscores."""

NO_PICTURE = "no picture"
"""The reason under which a sample without a picture is dropped."""

ODD_ENDING = "sample with an ending that is no word"


def index(source: Folder, out: Folder, advance: Callable[[int, int], None] | None = None) -> Totals:
    """Write sidecars for every tar in `source` into `out`, beside links to them, in order of name.

    Every byte is read once, for its SHA-256; as many tars at a time as there are cores.

    Raises:
        UserError: when `source` holds no tar, or `out` something else.
        OSError: when a tar cannot be read.
    """
    names = [name for name in source.names() if name.endswith(".tar")]
    if not names:
        raise UserError(f"{source} holds no .tar; give the folder of WebDataset tars")
    if sidecar_names(source.names()):
        raise UserError(f"{source} has sidecars already; give it to the other commands as it is")
    sizes = source.sizes()
    listed = hashlib.sha256(
        "".join(f"{readable(name)}\0{sizes[name]}\0" for name in names).encode()
    )
    identity = {
        "kind": "Index",
        "inputs": {"tars": len(names), "listed": listed.hexdigest()},
        "places": {"tars": str(source)},
    }
    claim(out, identity)
    finished = {summary.shard for summary in Dataset(out).whole()}
    waiting = [number for number in range(len(names)) if number not in finished]
    make = partial(_make, source, out, names, digest_of(identity))
    for done, _ in enumerate(ahead(make, waiting, os.cpu_count() or 1), len(finished) + 1):
        if advance:
            advance(done, len(names))
    return Dataset(out).totals()


def _make(source: Folder, out: Folder, names: list[str], recipe: str, number: int) -> None:
    """Write link and sidecar of one tar."""
    path = source.path / names[number]
    sidecar = _describe(path, number, recipe)
    link = out.path / sidecar.tar
    temporary = hidden(link)
    with suppress(FileNotFoundError):
        temporary.unlink()
    temporary.symlink_to(path.resolve())
    temporary.replace(link)
    out.create(sidecar.name, sidecar.text().encode())


def _describe(path: Path, number: int, recipe: str) -> Sidecar:
    entries, dropped, skips = dict[str, Entry](), list[Dropped](), Skips()
    with closing(Folder(path.parent).open(path.name)) as file:
        data = file.map() or b""
        samples = samples_of(files_of(members(file), skips.add), skips.add)
        for known in samples:
            _add(known, data, entries, dropped, skips)
        return Sidecar.of(
            list(entries.values()),
            dropped,
            skips.rows(),
            tar=f"{shard_name(number)}.tar",
            shard=number,
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=file.size,
            recipe=recipe,
            foreign=True,
        )


def _add(
    known: Known,
    data: mmap | bytes,
    entries: dict[str, Entry],
    dropped: list[Dropped],
    skips: Skips,
) -> None:
    """Add a sample to the entries, or say why not."""
    name, places, _, _ = known
    name = readable(name)
    key = NO_KEY.sub("_", name)
    if key in entries:
        skips.add(Skip(name, "sample whose key another one has"))
        return
    ending = next((ending for ending in READABLE.values() if ending in places), "")
    if not ending:
        dropped.append(Dropped(source=name, reason=NO_PICTURE))
        return
    checksum = 0
    for offset, size in places.values():
        checksum = crc32(data[offset : offset + size], checksum)
    offset, size = places[ending]
    try:
        with foreign(name, "its head cannot be read"):
            width, height = oriented_size(open_bounded(data[offset : offset + size], name))
        _read_beside(name, places, data)
    except Unreadable as error:
        dropped.append(Dropped(source=name, reason=UNREADABLE, detail=error.reason))
        return
    try:
        entries[key] = Entry(key=key, files={**places}, crc32=checksum, width=width, height=height)
    except ValueError:  # the name of an ending, as nothing else comes from the tar
        skips.add(Skip(name, ODD_ENDING))


def _read_beside(name: str, places: Files, data: mmap | bytes) -> None:
    """Raise Unreadable where the text or the metadata beside an image are none."""
    beside = {
        ending: data[offset : offset + size]
        for ending, (offset, size) in places.items()
        if ending in ("txt", "json")
    }
    sample = Sample(name, b"", "", beside.get("txt", b""), beside.get("json"))
    try:
        _ = sample.text, sample.meta
    except ShardError as error:
        raise Unreadable(name, str(error).rpartition(": ")[2]) from error
