"""Tars that others made: an index by scanning their headers, within bounds.

What WebDataset readers take for a sample is taken for one here: neighbouring files whose names
agree up to the first dot of the last part of the path. Nothing is ever extracted; a name is only
a key.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import groupby, pairwise
from operator import attrgetter
from typing import NamedTuple

from shards.ahead import ahead
from shards.errors import OUR_HOST, ShardError, UserError
from shards.images.formats import READABLE
from shards.index import MAX_SPAN, Index, Known
from shards.skipped import Skip, Skips, skipped_in_words
from shards.store import MAX_BYTES, PARALLEL_READS, Bucket, Store
from shards.tars.members import Member, members

NO_SAMPLE = "file of no sample"
"""Why WebDataset readers pass over a file: its name has no ending, or nothing before it."""

TWICE = "file that its sample has already"
APART = "sample whose files overlap or lie far apart"


class File(NamedTuple):
    """A file of a sample: (archive, key) of the sample, its ending, where it lies in its tar."""

    sample: tuple[int, str]
    ending: str
    member: Member


def scan(store: Store, *, strict: bool) -> Index:
    """Index every tar of a folder or bucket, in order of name.

    Raises:
        UserError: when there is no such folder, or no sample in any of its tars.
        ShardError: where `strict`, at the first thing that has to be left out, with its name;
            without it all of them are in the index's `skips`.
    """

    def samples(name: str) -> tuple[str, int, list[Known], Skips]:
        skips = Skips()

        def note(skip: Skip) -> None:
            if strict and skip.reason != NO_SAMPLE:
                raise ShardError(
                    f"{store}/{name} is refused: {skip.reason}: {skip.name}; fetch it again, or "
                    "give on_error='skip'"
                )
            skips.add(skip._replace(name=f"{name}/{skip.name}"))

        try:
            with closing(store.open(name)) as file:
                known = list(samples_of(files_of(members(file), note), note))
                return name, file.size, known, skips
        except OSError as error:
            if error.errno in OUR_HOST:
                raise
            note(Skip("", (error.strerror or "cannot be read").lower()))
            return name, 0, [], skips

    index = Index()
    names = [name for name in store.names() if name.endswith(".tar")]
    window = PARALLEL_READS if isinstance(store, Bucket) else 0
    for name, size, known, skips in ahead(samples, names, window):
        index.add_tar(name, size, known)
        index.skips.merge(skips)
    if names and not len(index):
        why = skipped_in_words(index.skips.counts) or "they are empty"
        raise UserError(f"{store} holds no sample in any of its tars ({why}); give others")
    return index


def files_of(entries: Iterable[Member | Skip], note: Callable[[Skip], None]) -> Iterator[File]:
    """Yield the files that belong to samples; tell `note` of everything else."""
    for entry in entries:
        if isinstance(entry, Skip):
            note(entry)
        elif split := key_and_ending(entry.name):
            yield File((entry.archive, split[0]), split[1], entry)
        else:
            note(Skip(entry.name, NO_SAMPLE))


def key_and_ending(name: str) -> tuple[str, str] | None:
    """Split the name of a file in a tar into its sample's key and its ending; None if it has none.

    The ending is in small letters, and ours where others write it in another way.
    """
    parts = re.fullmatch(r"((?:.*/)?[^./]+)\.([^/]+)", name, re.DOTALL)
    if parts is None:
        return None
    ending = parts[2].lower()
    return parts[1], READABLE.get(ending, ending)


def samples_of(files: Iterable[File], note: Callable[[Skip], None]) -> Iterator[Known]:
    """Yield what an index takes of the samples that the files of a tar make."""
    for (_, key), group in groupby(files, attrgetter("sample")):
        held: dict[str, tuple[int, int]] = {}
        for file in group:
            if file.ending in held:
                note(Skip(file.member.name, TWICE))
            else:
                held[file.ending] = file.member.offset, file.member.size
        # Links may lead anywhere; a sample is read in one piece.
        held = dict(sorted(held.items(), key=lambda item: item[1]))
        if _apart([*held.values()]):
            note(Skip(key, APART))
        else:
            yield key, held, 0, (0, 0)


def _apart(places: Sequence[tuple[int, int]]) -> bool:
    """Whether files, in order, overlap, or have more between them than is read for one sample."""
    overlap = any(offset + size > after for (offset, size), (after, _) in pairwise(places))
    span = sum(places[-1]) - places[0][0]
    return overlap or span >= min(MAX_SPAN, sum(size for _, size in places) + MAX_BYTES)
