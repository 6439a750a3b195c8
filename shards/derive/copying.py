"""Copy: a new dataset out of samples of others, whose bytes stay what they are.

Datasets are merged, cut down, split by shares and put into shards of another size all in this one
way. Each new shard is a pure function of the samples chosen and of its number, so a copy that was
killed goes on where it stopped, as every other run that writes shards.
"""

import hashlib
import json
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from shards.ahead import ahead
from shards.dataset import Dataset, read_files
from shards.derive.choice import Choice, chosen
from shards.derive.table import draw
from shards.errors import ShardError, UserError
from shards.outputs import PROGRESS, claim, digest_of
from shards.reader import WINDOW
from shards.sidecar import KEY, read_sidecar, sidecar_name
from shards.store import Bucket, Store
from shards.totals import Totals
from shards.writer import ShardWriter

Advance = Callable[[int, int], None]
"""Told (samples written or found written, samples in all)."""


class Picks(NamedTuple):
    """Samples chosen of one shard: its dataset, its number, places among its entries."""

    dataset: int
    shard: int
    places: NDArray[np.uint32]


def copy(
    datasets: Sequence[Dataset],
    out: Store,
    choice: Choice,
    *,
    samples_per_shard: int,
    prefixes: Sequence[str] = (),
    mixed: bool = False,
    allow_missing: bool = False,
    advance: Advance | None = None,
) -> Totals:
    """Write the chosen samples of `datasets`, one after the other, into shards in `out`.

    Args:
        datasets: where the samples come from.
        out: a folder or bucket; nothing is written there before the choice is made.
        choice: which samples.
        samples_per_shard: samples of each new shard; the last one may have fewer.
        prefixes: what the new keys of each dataset begin with, where those of two would collide.
        mixed: let shards of several recipes come together.
        allow_missing: copy what there is of a dataset that misses shards.
        advance: told about the progress.

    Raises:
        UserError: when nothing is chosen, a dataset is damaged or unfinished, keys collide,
            recipes are mixed unasked, or `out` holds something else.
    """
    if prefixes and len(prefixes) != len(datasets):
        raise UserError(
            f"{len(prefixes)} --prefix for {len(datasets)} datasets; give one for each, in order"
        )
    for prefix in prefixes:
        if not re.fullmatch(KEY, prefix + "0"):
            raise UserError(
                f"--prefix {prefix}: a key has no '.', '/', '\\' and control characters in it"
            )
    places = [str(dataset.store) for dataset in datasets]
    if len({*places}) < len(places) and not prefixes:
        twice = max(places, key=places.count)
        raise UserError(f"{twice} is given twice; give each once, or a --prefix for each")
    prefixes = prefixes or [""] * len(datasets)
    sources = [_source(dataset, allow_missing=allow_missing) for dataset in datasets]
    recipes = sorted({recipe for source in sources for recipe in source["recipes"]})
    if len(recipes) > 1 and not mixed:
        named = ", ".join(recipe[:12] for recipe in recipes[:4])
        raise UserError(
            f"{len(recipes)} recipes made these shards ({named}); give --mixed to join them"
        )
    asked = {"choice": choice.model_dump(mode="json"), "samples_per_shard": samples_per_shard}
    identity = {
        "kind": "Copy",
        "recipe": asked | {"prefixes": [*prefixes]},
        "inputs": {str(number): source for number, source in enumerate(sources)},
        "places": {str(number): place for number, place in enumerate(places)},
    }
    picks = _picked(datasets, choice, prefixes)
    total = sum(len(pick.places) for pick in picks)
    if not total:
        raise UserError("no sample is chosen; nonpareil shards ls --where shows what a choice has")
    claim(out, identity)
    parts = list(_cut(picks, samples_per_shard))
    out.replace(PROGRESS, (json.dumps({"total": len(parts)}) + "\n").encode())
    recipe, versions = digest_of(identity), _joined(source["versions"] for source in sources)
    finished = {summary.shard for summary in Dataset(out).whole()}
    done = 0
    for number, part in enumerate(parts):
        if number not in finished:
            with ShardWriter(out, number, recipe=recipe, versions=versions) as writer:
                for pick in part:
                    _append(writer, datasets[pick.dataset].store, pick, prefixes[pick.dataset])
        done += sum(len(pick.places) for pick in part)
        if advance:
            advance(done, total)
    return Dataset(out).totals()


def _source(dataset: Dataset, *, allow_missing: bool) -> dict[str, Any]:
    """Say what a dataset is, wherever it lies: its shards by content, and what made them.

    Raises:
        UserError: when a shard is damaged or unfinished, or (unless allowed) missing.
    """
    shards, recipes, versions = hashlib.sha256(), set[str](), list[Mapping[str, str]]()
    faulty = next(iter(dataset.unfinished), "")
    for summary in dataset.summaries():
        if dataset.damage(summary):
            faulty = summary.tar
        shards.update(summary.sha256.encode())
        recipes.add(summary.recipe)
        if summary.versions not in versions:
            versions.append(summary.versions)
    absent = next(dataset.absent(), None)
    if absent is not None and not allow_missing and not faulty:
        raise UserError(
            f"{dataset.store} misses shard {absent}; make it, or give --allow-missing to copy what "
            "there is"
        )
    if faulty:
        raise UserError(
            f"{dataset.store}/{faulty} is damaged or unfinished; nonpareil shards verify says what "
            "mends it"
        )
    if not recipes:
        raise dataset.nothing()
    return {
        "shards": shards.hexdigest(),
        "recipes": sorted(recipes),
        "versions": _joined(versions),
    }


def _joined(versions: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return by library all versions, separated by commas; one each is what to expect."""
    held: dict[str, set[str]] = {}
    for each in versions:
        for name, version in each.items():
            held.setdefault(name, set()).update(version.split(", "))
    return {name: ", ".join(sorted(of_one)) for name, of_one in sorted(held.items())}


def _picked(datasets: Sequence[Dataset], choice: Choice, prefixes: Sequence[str]) -> list[Picks]:
    """Choose, and see that no two samples would have one key.

    Raises:
        UserError: when two would.
    """
    picks: list[Picks] = []
    keys = array("Q")
    for part in chosen(datasets, choice):
        prefix = prefixes[part.dataset]
        keys.extend(draw(prefix + entry.key, 0) for entry in part.entries)
        picks.append(Picks(part.dataset, part.sidecar.shard, np.array(part.places, np.uint32)))
    unique, counts = np.unique(np.frombuffer(keys, np.uint64), return_counts=True)
    if len(unique) < len(keys):
        _refuse_collisions(datasets, choice, prefixes, {*unique[counts > 1].tolist()})
    return picks


def _refuse_collisions(
    datasets: Sequence[Dataset], choice: Choice, prefixes: Sequence[str], suspects: set[int]
) -> None:
    """Raise for the first key that comes twice, among those whose 64 bits do."""
    seen: dict[str, str] = {}
    for part in chosen(datasets, choice):
        place = f"{datasets[part.dataset].store}/{part.sidecar.tar}"
        for entry in part.entries:
            key = prefixes[part.dataset] + entry.key
            if key in seen:
                raise UserError(
                    f"key {key} is in {seen[key]} and in {place}; give each dataset a --prefix of "
                    "its own"
                )
            if draw(key, 0) in suspects:
                seen[key] = place


def _cut(picks: Iterable[Picks], size: int) -> Iterator[list[Picks]]:
    """Cut the picks into lists of `size` samples, the last one shorter."""
    part: list[Picks] = []
    room = size
    for pick in picks:
        places = pick.places
        while len(places):
            part.append(pick._replace(places=places[:room]))
            places, room = places[room:], room - len(part[-1].places)
            if not room:
                yield part
                part, room = [], size
    if part:
        yield part


def _append(writer: ShardWriter, store: Store, pick: Picks, prefix: str) -> None:
    """Copy samples of one shard.

    Raises:
        ShardError: when they are not what the sidecar says.
    """
    sidecar = read_sidecar(store, sidecar_name(pick.shard))
    entries = [sidecar.entries[place] for place in pick.places]
    with closing(store.open(sidecar.tar)) as tar:
        window = WINDOW if isinstance(store, Bucket) else 0
        copied = ahead(partial(read_files, tar), entries, window)
        for entry, files in zip(entries, copied, strict=True):
            if crc32(b"".join(files.values())) != entry.crc32:
                raise ShardError(
                    f"{store}/{sidecar.tar}: the bytes of sample {entry.key} are not those "
                    "written; nonpareil shards verify says what mends it"
                )
            writer.copy(entry, files, key=prefix + entry.key)
