"""`nonpareil finalize`, also `python -m pipelines.finalize`: the manifest of a finished dataset.

`dataset.json` says what a dataset is in one file: every shard with its checksum, the sums, and
under which pattern WebDataset opens it. The same shards give the same bytes. Finalizing again
replaces it; a run that makes a shard removes it, since it would not describe what lies there.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise
from typing import Annotated, Literal

import typer

from pipelines.options import JsonOption
from pipelines.recipe import NOTE, PROGRESS
from shards.console import print_json, run_command
from shards.errors import UserError
from shards.inspect.check import MANIFEST
from shards.settings import Settings
from shards.store import Store, Where, open_store


class Shard(Settings):
    """One shard of a dataset."""

    tar: str
    sha256: str
    bytes: int
    samples: int


class Dataset(Settings):
    """What `dataset.json` holds.

    `urls` are patterns for WebDataset, relative to the folder or bucket: more than one only where
    shards are `missing`. `bytes` are those of the tars. `versions` lists, by library, every
    version that made a shard; one each is what to expect.
    """

    version: Literal[1] = 1
    recipe: str
    urls: list[str]
    shards: list[Shard]
    missing: list[int]
    samples: int
    bytes: int
    characters: int
    languages: dict[str, int]
    dropped: dict[str, int]
    versions: dict[str, list[str]]


def finalize(
    out: Annotated[
        str,
        typer.Argument(
            metavar="DIR|URL",
            help="The --out folder or URL of a render or filter run.",
            show_default=False,
        ),
    ],
    *,
    allow_missing: Annotated[
        bool,
        typer.Option(
            "--allow-missing", help="Write it even if shards are missing, and list those."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write dataset.json, the manifest of a finished dataset.

    It names every shard with its checksum, the sums over all, and the pattern by which WebDataset
    opens them. The length of every tar is checked, its bytes are not: nonpareil shards verify
    checks those.

    Example: nonpareil finalize runs/pages
    """
    store = open_store(out)
    dataset = describe_dataset(store, allow_missing=allow_missing)
    text = json.dumps(dataset.model_dump(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    store.replace(MANIFEST, text.encode())
    if as_json:
        brief = dataset.model_dump(exclude={"shards"})
        print_json({**brief, "shards": len(dataset.shards)})
        return
    typer.echo(
        f"{out}/{MANIFEST}: {len(dataset.shards):,} shards, {dataset.samples:,} samples, "
        f"{dataset.bytes / 1e6:,.1f} MB; open {', '.join(f'{out}/{url}' for url in dataset.urls)}"
    )


def describe_dataset(out: Where, *, allow_missing: bool = False) -> Dataset:
    """Add up the shards of an output.

    Raises:
        UserError: when there are none, one is broken or of another recipe, or (unless allowed)
            missing: given up, never made, or made in part.
    """
    from pipelines.engine.quarantine import Quarantine
    from pipelines.engine.tally import Tally
    from shards.sidecar import sidecars

    store = open_store(out)
    sizes, recipe = store.sizes(), _recipe(store)
    shards: list[Shard] = []
    tally, present, languages = Tally(), set[int](), Counter[str]()
    versions: dict[str, set[str]] = {}
    for sidecar in sidecars(store):
        if sizes.get(sidecar.tar) != sidecar.bytes:
            raise UserError(
                f"{out}/{sidecar.tar} is missing or cut short; run the same command again to "
                "remake it, then finalize"
            )
        if sidecar.recipe != recipe:
            raise UserError(f"{out}/{sidecar.tar} was made by another recipe; remake it")
        samples = len(sidecar.entries)
        shards.append(
            Shard(tar=sidecar.tar, sha256=sidecar.sha256, bytes=sidecar.bytes, samples=samples)
        )
        present.add(sidecar.shard)
        tally += Tally.of(sidecar)
        languages.update(entry.language for entry in sidecar.entries if entry.language)
        for name, value in sidecar.versions.items():
            versions.setdefault(name, set()).add(value)
    if not shards:
        raise UserError(f"{out} holds no finished shard (part-*.tar with part-*.json)")
    total = max(_planned(store), *(shard + 1 for shard in present))
    missing = sorted(set(range(total)) - present)
    if missing and not allow_missing:
        given_up = len(Quarantine(store).failures.keys() & {*missing})
        raise UserError(
            f"{out} has {len(present)} of {total} shards (missing {_named(missing)}"
            f"{f'; {given_up} in quarantine.json' if given_up else ''}); run the same command "
            "again, or give --allow-missing"
        )
    return Dataset(
        recipe=recipe,
        urls=list(_patterns(sorted(present))),
        shards=shards,
        missing=missing,
        samples=tally.samples,
        bytes=tally.bytes,
        characters=tally.characters,
        languages=dict(languages),
        dropped=tally.dropped(),
        versions={name: sorted(values) for name, values in versions.items()},
    )


def _recipe(store: Store) -> str:
    try:
        return str(json.loads(store.read(NOTE))["digest"])
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{store} holds no {NOTE}; give the --out of a run") from error


def _planned(store: Store) -> int:
    """Return how many shards the last run had in view; 0 where no run has told."""
    try:
        return int(json.loads(store.read(PROGRESS))["total"])
    except FileNotFoundError:
        return 0
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{store}/{PROGRESS} is broken; delete it or run again") from error


def _ranges(indices: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Group ascending numbers into runs (first, last)."""
    found = list(indices)
    breaks = [i + 1 for i, (one, next_) in enumerate(pairwise(found)) if next_ > one + 1]
    for first, last in zip([0, *breaks], [*breaks, len(found)], strict=True):
        yield found[first], found[last - 1]


def _named(indices: list[int]) -> str:
    found = [str(a) if a == b else f"{a}-{b}" for a, b in _ranges(indices)]
    return ", ".join(found[:5]) + (" and more" if len(found) > 5 else "")


def _patterns(indices: list[int]) -> Iterator[str]:
    """Write shard names as braces that WebDataset and a shell expand."""
    from shards.sidecar import shard_name

    # A pattern pads all its numbers alike; names of more than six digits are not padded.
    for _, alike in groupby(indices, key=lambda i: len(shard_name(i))):
        for ends in _ranges(alike):
            a, b = (shard_name(i).removeprefix("part-") for i in ends)
            yield f"part-{a}.tar" if a == b else f"part-{{{a}..{b}}}.tar"


if __name__ == "__main__":
    run_command(finalize)
