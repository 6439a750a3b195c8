"""The verbs of `nonpareil shards` that write: a new dataset, a table, sidecars of others' tars."""

from pathlib import Path
from typing import Annotated

import typer

from shards.console import print_json, progress
from shards.options import (
    ConditionOption,
    DatasetArgument,
    JsonOption,
    LimitOption,
    SampleOption,
    SeedOption,
)
from shards.places import anywhere, file_at, here
from shards.store import Store


def copy(
    paths: Annotated[
        list[Store],
        typer.Argument(
            parser=anywhere(),
            metavar="DIR|URL...",
            help="Where part-*.tar and part-*.json are; several are merged, in order.",
            show_default=False,
        ),
    ],
    *,
    out: Annotated[
        Store,
        typer.Option(
            parser=anywhere("--out"),
            metavar="DIR|URL",
            help="Where the new shards go. The same command goes on with a copy that was stopped.",
        ),
    ],
    where: ConditionOption = "",
    sample: SampleOption = None,
    limit: LimitOption = None,
    seed: SeedOption = 0,
    samples_per_shard: Annotated[
        int, typer.Option(min=1, metavar="N", help="Samples of each new shard.")
    ] = 256,
    prefix: Annotated[
        list[str],
        typer.Option(
            metavar="TEXT",
            help="What the new keys of a dataset begin with, where keys of two collide: one for "
            "each, in order.",
        ),
    ] = [],  # noqa: B006 - typer copies defaults
    mixed: Annotated[
        bool, typer.Option("--mixed", help="Join shards that several recipes made.")
    ] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Copy what there is where shards are missing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Merge, filter, split or reshard datasets into a new one.

    All files of a sample stay as they are, byte for byte, and its sidecar says of it what it said
    before. nonpareil shards table --help names the columns of --where. For a split, choose by
    draw: --where "draw < 0.9" into one folder and "draw >= 0.9" into another.

    Example: nonpareil shards copy runs/a runs/b --out runs/zh --where "language = 'zh'" --mixed
    """
    from shards.dataset import Dataset
    from shards.derive.choice import Choice
    from shards.derive.copying import copy as copy_samples
    from shards.totals import in_words

    with progress("copy") as advance:
        totals = copy_samples(
            [Dataset(path) for path in paths],
            out,
            Choice(where=where, sample=sample, limit=limit, seed=seed),
            samples_per_shard=samples_per_shard,
            prefixes=prefix,
            mixed=mixed,
            allow_missing=allow_missing,
            advance=advance,
        )
    row = totals.row()
    print_json(row) if as_json else typer.echo(f"{out}: {in_words(row)}")


def table(
    path: DatasetArgument,
    *,
    out: Annotated[
        Store,
        typer.Option(parser=anywhere("--out"), metavar="FILE|URL", help="The .parquet to write."),
    ],
    where: ConditionOption = "",
    sample: SampleOption = None,
    limit: LimitOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Write what sidecars say of samples as a Parquet file, a row each.

    The columns, which --where knows too: key, shard, width, height, bytes (of all files),
    language, characters, size_px and largest_px (the smallest and the largest em of the text),
    scores (of filters, as scores['sharpness']), draw (a number in [0, 1) by key and seed).

    Example: nonpareil shards table runs/quickstart/pages --out pages.parquet
    """
    from shards.dataset import Dataset
    from shards.derive.choice import Choice
    from shards.derive.parquet import write_table

    above, name = file_at(out, "--out", (".parquet",))
    choice = Choice(where=where, sample=sample, limit=limit, seed=seed)
    with progress("table") as advance:
        rows, size = write_table(Dataset(path), choice, above, name, advance)
    made = {"table": str(out), "rows": rows, "bytes": size}
    print_json(made) if as_json else typer.echo(f"{out}: {rows:,} rows, {size:,} bytes")


def index(
    path: Annotated[
        Path,
        typer.Argument(
            parser=here("DIR"),
            metavar="DIR",
            help="Where the tars are, of any names; of img2dataset, webdataset or tar itself.",
            show_default=False,
        ),
    ],
    *,
    out: Annotated[
        Path,
        typer.Option(
            parser=here("--out"), metavar="DIR", help="Where links to the tars and sidecars go."
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Write sidecars for tars that others made, without copying a byte.

    Then every command knows them, as --out: ls, stats, sheet, report, verify, copy, finalize, and
    streams of a training run. What cannot be read is dropped by name, what is no sample is counted.
    In keys that hold folders or dots each such sign becomes an underscore. Given again, it goes on.

    Example: nonpareil shards index /data/cc3m --out runs/cc3m
    """
    from shards.derive.indexing import index as write_sidecars
    from shards.store import Folder
    from shards.totals import in_words

    with progress("index") as advance:
        row = write_sidecars(Folder(path), Folder(out), advance).row()
    print_json(row) if as_json else typer.echo(f"{out}: {in_words(row)}")
