"""The manifest: what a finished dataset is, in one file beside its shards.

It lists every shard with its checksum, the sums, and under which pattern WebDataset opens it. It is
also the index that wids reads. The same shards give the same bytes.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Literal, Self

from pydantic import Field

from shards.dataset import Dataset
from shards.errors import ShardError, UserError
from shards.numbers import runs
from shards.settings import Settings
from shards.sidecar import Sidecar, Summary, TarName, shard_name
from shards.store import MAX_BYTES, Store
from shards.totals import Totals

MANIFEST = "dataset.json"
"""The name of its file."""


class Listed(Settings):
    """One shard of a manifest; `filesize` is in bytes. The names are those of wids."""

    url: TarName
    nsamples: int
    filesize: int
    sha256: str

    @classmethod
    def of(cls, summary: Summary) -> Self:
        """List a shard."""
        return cls(
            url=summary.tar,
            nsamples=summary.sums.samples,
            filesize=summary.bytes,
            sha256=summary.sha256,
        )


class Manifest(Settings):
    """What `dataset.json` holds.

    `shardlist` and `wids_version` are what wids asks for. `endings` are those of all files.
    `urls` are patterns for WebDataset, relative to the folder or bucket: more than one only where
    shards are `missing`. `bytes`, `dropped`, `unreadable` and `skipped` are as in `Totals`; the
    last two are left out of the file where there are none. `versions` lists, by library, every
    version that made a shard; one each is what to expect.
    """

    version: Literal[2] = 2
    wids_version: Literal[1] = 1
    recipe: str
    urls: list[str]
    shardlist: list[Listed]
    missing: list[int]
    samples: int
    bytes: int
    characters: int
    languages: dict[str, int]
    endings: list[str]
    dropped: dict[str, int]
    unreadable: int = 0
    skipped: dict[str, int] = Field(default={})
    versions: dict[str, list[str]]

    @classmethod
    def of(cls, dataset: Dataset, *, recipe: str, planned: int) -> Self:
        """Describe a dataset of which a run had `planned` shards in view; none needs to be there.

        Raises:
            UserError: when a shard is damaged or of another recipe than `recipe` (a digest).
        """
        listed: list[Listed] = []
        numbers: list[int] = []
        totals, languages, endings = Totals(), Counter[str](), set[str]()
        versions: dict[str, set[str]] = {}
        for sidecar in _flawless(dataset, recipe):
            listed.append(Listed.of(sidecar))
            numbers.append(sidecar.shard)
            totals.add(sidecar)
            languages.update(entry.language for entry in sidecar.entries if entry.language)
            endings.update(*(entry.files for entry in sidecar.entries))
            for name, value in sidecar.versions.items():
                versions.setdefault(name, set()).add(value)
        return cls(
            recipe=recipe,
            urls=list(patterns(numbers)),
            shardlist=listed,
            missing=sorted({*range(planned), *range(max(numbers, default=-1))} - {*numbers}),
            languages=dict(languages),
            endings=sorted(endings),
            versions={name: sorted(values) for name, values in versions.items()},
            **{name: value for name, value in totals.row().items() if name != "shards"},
        )

    @classmethod
    def read(cls, store: Store) -> Self | None:
        """Read the manifest of a folder or bucket; None where there is none.

        Raises:
            ShardError: when it cannot be understood.
        """
        try:
            if store.size(MANIFEST) > MAX_BYTES:
                raise ShardError(f"manifest larger than {MAX_BYTES:,} bytes")
            return cls.model_validate_json(store.read(MANIFEST))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ShardError("broken manifest") from error

    def text(self) -> str:
        """Write it readably for a person."""
        return json.dumps(self.row(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"

    def row(self) -> dict[str, Any]:
        """Return what the file holds."""
        nothing = {name for name in ("unreadable", "skipped") if not getattr(self, name)}
        return self.model_dump(exclude=nothing)


def _flawless(dataset: Dataset, recipe: str) -> Iterator[Sidecar]:
    for sidecar in dataset.sidecars():
        damage = dataset.damage(sidecar)
        if damage or sidecar.recipe != recipe:
            fault = damage.fault if damage else "made by another recipe"
            raise UserError(
                f"{dataset.store}/{sidecar.tar}: {fault}; run the same command again to remake it, "
                "then finalize"
            )
        yield sidecar


def patterns(numbers: Iterable[int]) -> Iterator[str]:
    """Write the names of tars, in order of shard index, as braces that WebDataset expands."""
    # A pattern pads all its numbers alike; names of more than six digits are not padded.
    for _, alike in groupby(numbers, key=lambda i: len(shard_name(i))):
        for ends in runs(alike):
            a, b = (shard_name(i).removeprefix("part-") for i in ends)
            yield f"part-{a}.tar" if a == b else f"part-{{{a}..{b}}}.tar"
