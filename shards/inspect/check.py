"""Check finished shards: is what lies on disk what the sidecars promise?

Checked of every shard: the sidecar can be read and (of a tar of ours) adds up to it, the SHA-256 of
the tar, the recipe, keys that occur twice, shards that are missing, and the manifest if there is
one. Deep: every member's header and CRC-32, that each picture decodes to the stated size, that a
sidecar says what the sample's JSON says, and pictures that occur twice.
"""

import hashlib
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

from shards.dataset import Damage, Dataset, read_files
from shards.errors import ShardError, UserError
from shards.manifest import MANIFEST, Manifest
from shards.sidecar import Entry, Sidecar, shard_name, shard_number
from shards.store import RandomAccessFile, Store, Where

MAX_GAPS = 1000
"""Missing shards that are named; a single file of a high number would make them billions."""

Advance = Callable[[int, int], None]
"""Told (shards checked, shards in all) after each shard."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with a shard: its number, which file, and what; `kind` is in REMEDIES.

    `shard` is -1 where the fault is none of a single shard.
    """

    shard: int
    file: str
    kind: str
    fault: str

    @property
    def remedy(self) -> str:
        """Say what to do about it."""
        return REMEDIES[self.kind]

    @property
    def mendable(self) -> bool:
        """Whether `repair` makes the next run remake the shard."""
        return self.remedy == REPAIR

    def row(self) -> dict[str, Any]:
        """Return the fields by name, and the remedy."""
        return {
            "shard": self.shard,
            "file": self.file,
            "kind": self.kind,
            "fault": self.fault,
            "remedy": self.remedy,
        }


def faults(where: Where, *, deep: bool = False, advance: Advance | None = None) -> Iterator[Fault]:
    """Yield every fault of the shards in a folder or bucket.

    First what is not there, then shard by shard. As many shards are read at once as there are
    cores. Keys (deep: and a digest of each picture) are held in memory, some 200 bytes a sample.

    Args:
        where: the folder or bucket.
        deep: open every sample too, see above.
        advance: told about the progress.

    Raises:
        UserError: when the folder is missing or holds no shard at all.
    """
    dataset = Dataset(where)
    if not dataset.numbers:
        raise UserError(f"{dataset.store} holds no shard (part-*.tar with part-*.json)")
    yield from faults_of(dataset, deep=deep, advance=advance)


def faults_of(
    dataset: Dataset, *, deep: bool = False, advance: Advance | None = None
) -> Iterator[Fault]:
    """Yield as `faults` does, of a dataset that was listed already and may be empty."""
    yield from unfinished(dataset)
    listed = dict[str, str]()
    try:
        manifest = Manifest.read(dataset.store)
        listed = {shard.url: shard.sha256 for shard in manifest.shardlist} if manifest else listed
    except ShardError as error:
        yield Fault(-1, MANIFEST, "manifest", str(error))
    yield from _gaps(dataset, listed)
    among = _Among()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        checked = pool.map(partial(_check, dataset, deep=deep), dataset.names)
        try:
            for done, check in enumerate(checked, 1):
                yield from check.faults
                if check.sidecar:
                    yield from _manifest_mismatch(check.sidecar, listed)
                    yield from among.repeated(check.sidecar, check.pictures)
                if advance:
                    advance(done, len(dataset.names))
        finally:
            pool.shutdown(cancel_futures=True)
    if not dataset.recipe:
        yield from among.other_recipes()


def unfinished(dataset: Dataset) -> Iterator[Fault]:
    """Yield a fault for each tar that waits for its sidecar."""
    for tar in dataset.unfinished:
        yield Fault(shard_number(tar), tar, "unfinished", "no sidecar: unfinished")


def _gaps(dataset: Dataset, listed: dict[str, str]) -> Iterator[Fault]:
    """Yield a fault for each shard that the manifest lists, or that later ones imply."""
    lost = {*map(shard_number, listed)}.difference(dataset.numbers)
    missing = {*islice(dataset.absent(), MAX_GAPS), *lost}
    for number in sorted(missing):
        yield Fault(number, f"{shard_name(number)}.tar", "gap", "missing shard")


def _manifest_mismatch(sidecar: Sidecar, listed: dict[str, str]) -> Iterator[Fault]:
    if listed and listed.get(sidecar.tar) != sidecar.sha256:
        yield Fault(sidecar.shard, sidecar.tar, "manifest", f"not as {MANIFEST} lists it")


@dataclass(slots=True)
class _Among:
    """What only shows between shards: where each key, picture and recipe was met first."""

    keys: dict[str, str] = field(default_factory=dict[str, str])
    pictures: dict[bytes, str] = field(default_factory=dict[bytes, str])
    recipes: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def repeated(self, sidecar: Sidecar, pictures: "Pictures") -> Iterator[Fault]:
        """Yield at most one fault for repeated keys and one for repeated pictures."""
        self.recipes.setdefault(sidecar.recipe, []).append(sidecar.tar)
        keys, same = dict[str, str](), list[str]()
        for entry in sidecar.entries:
            if entry.key in self.keys:
                keys[entry.key] = f"key {entry.key} also in {self.keys[entry.key]}"
            self.keys[entry.key] = sidecar.tar
        for key, digest in pictures:
            # Of a copied shard it says enough that its keys occur twice.
            if digest in self.pictures and key not in keys:
                same.append(f"picture of {key} also that of {self.pictures[digest]}")
            self.pictures[digest] = key
        for kind, repeats in (("key", [*keys.values()]), ("twin", same)):
            if repeats:
                more = f", and {len(repeats) - 1:,} more" if repeats[1:] else ""
                yield Fault(sidecar.shard, sidecar.tar, kind, repeats[0] + more)

    def other_recipes(self) -> Iterator[Fault]:
        """Yield a fault for each shard of a recipe but the most frequent."""
        for recipe, tars in sorted(self.recipes.items(), key=lambda pair: -len(pair[1]))[1:]:
            for tar in tars:
                fault = f"made by another recipe than most, {recipe[:12]}"
                yield Fault(shard_number(tar), tar, "mixed", fault)


Pictures = list[tuple[str, bytes]]
"""The key of each picture, and a digest of its bytes."""


@dataclass(slots=True)
class _Check:
    """What came of checking one shard; without a sidecar there is nothing to compare."""

    faults: list[Fault] = field(default_factory=list[Fault])
    sidecar: Sidecar | None = None
    pictures: Pictures = field(default_factory=list[tuple[str, bytes]])


def _check(dataset: Dataset, name: str, *, deep: bool) -> _Check:
    """Check one shard by itself, cheapest question first."""
    check, file = _Check(), name
    try:
        check.sidecar, damage = dataset.examine(name)
        if check.sidecar:
            file = check.sidecar.tar
        if damage:
            damages = [damage]
        else:
            assert check.sidecar
            damages = _tar_damages(dataset.store, check.sidecar)
            if deep and not damages:
                damages = _samples_damages(dataset.store, check.sidecar, check.pictures)
    except FileNotFoundError:  # since it was listed
        damages = [Damage("tar", "missing tar")]
    except OSError as error:
        damages = [Damage("unreadable", f"cannot be read: {error.strerror or error}")]
    check.faults = [Fault(shard_number(name), file, *damage) for damage in damages]
    return check


def _tar_damages(store: Store, sidecar: Sidecar) -> list[Damage]:
    """Say how a tar of the right length differs from its sidecar as a whole."""
    if not (sidecar.foreign or _adds_up(sidecar)):
        return [Damage("layout", "altered sidecar: its offsets do not add up to the tar")]
    if store.sha256(sidecar.tar) != sidecar.sha256:
        return [Damage("sha256", "sha256 differs: altered bytes")]
    return []


def _adds_up(sidecar: Sidecar) -> bool:
    """Whether the members lie one after the other, as ShardWriter puts them, and fill the tar."""
    end = 0
    for entry in sidecar.entries:
        for offset, size in entry.files.values():
            if offset != end + tarfile.BLOCKSIZE:
                return False
            end = offset + size + -size % tarfile.BLOCKSIZE
    end += 2 * tarfile.BLOCKSIZE
    return end + -end % tarfile.RECORDSIZE == sidecar.bytes


def _samples_damages(store: Store, sidecar: Sidecar, pictures: Pictures) -> list[Damage]:
    """Open every sample; digests of the pictures are added to `pictures`."""
    with closing(store.open(sidecar.tar)) as tar:
        return [
            Damage(kind, f"sample {entry.key}: {fault}")
            for entry in sidecar.entries
            for kind, fault in _sample_damages(tar, entry, pictures, foreign=sidecar.foreign)
        ]


def _sample_damages(
    tar: RandomAccessFile, entry: Entry, pictures: Pictures, *, foreign: bool
) -> Iterator[Damage]:
    """Yield what is wrong with one sample, and add the digest of its picture to `pictures`.

    In a `foreign` tar members may be called otherwise than the sample.
    """
    from shards.sample import Sample

    for ending, (offset, size) in entry.files.items():
        if not foreign and _member(tar, offset) != (f"{entry.key}.{ending}", size):
            yield Damage("layout", f"the tar has no such .{ending} at byte {offset:,}")
            return
    try:
        files = read_files(tar, entry)
    except ShardError as error:
        yield Damage("picture", str(error))
        return
    if zlib.crc32(b"".join(files.values())) != entry.crc32:
        yield Damage("crc32", "crc32 differs")
        return
    try:
        sample = Sample.of_files(entry.key, files)
        height, width, _ = sample.pixels().shape
        meta, _ = sample.meta, sample.text
    except UserError as error:
        yield Damage("picture", str(error))
        return
    pictures.append((entry.key, hashlib.blake2b(sample.image, digest_size=16).digest()))
    said = entry.model_dump(mode="json", exclude={"key", "files", "crc32"}, exclude_defaults=True)
    for place, truth in (("picture", {"width": width, "height": height}), ("json", meta)):
        for name in said.keys() & truth.keys():
            if said[name] != truth[name]:
                differs = f"{name} is {truth[name]} in its {place}, {said[name]} in the sidecar"
                yield Damage("entry", differs)


def _member(tar: RandomAccessFile, offset: int) -> tuple[str, int] | None:
    """Return name and size of the regular file whose bytes begin at `offset`, from its header."""
    header = tar.read(offset - tarfile.BLOCKSIZE, tarfile.BLOCKSIZE)
    try:
        member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return None
    return (member.name, member.size) if member.isreg() else None


RERUN = "give the same command again"
REPAIR = "nonpareil shards repair PATH, then the command that made it"

REMEDIES = {
    "unfinished": RERUN,
    "gap": RERUN,
    "sidecar": REPAIR,
    "tar": REPAIR,
    "size": REPAIR,
    "layout": REPAIR,
    "sha256": REPAIR,
    "crc32": REPAIR,
    "entry": REPAIR,
    "picture": "it was made so: look at what made it",
    "unreadable": "look at the disk and the permissions",
    "key": "delete tar and sidecar of the copy",
    "twin": "leave one of them out where the samples come from",
    "recipe": REPAIR,
    "mixed": "keep one recipe a folder",
    "manifest": "nonpareil finalize PATH, if it is the manifest that is old",
}
"""What to do about each kind of fault. A new kind is a line here and the check that finds it."""
