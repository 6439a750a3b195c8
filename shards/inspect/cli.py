"""`nonpareil shards VERB PATH`, also `python -m shards`: look into finished shards.

Only the standard library and this package's light half are imported before parsing.
"""

from __future__ import annotations

import shlex
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shards.console import bar, new_app, print_json, print_rows, print_table, progress
from shards.derive.cli import copy, index, table
from shards.errors import ShardError, UserError
from shards.options import (
    ConditionOption,
    DatasetArgument,
    DeepOption,
    JsonOption,
    LimitOption,
    SampleOption,
    SeedOption,
)
from shards.places import anywhere
from shards.store import Store, open_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from shards.dataset import Dataset
    from shards.derive.choice import Chosen
    from shards.inspect.check import Advance, Fault
    from shards.inspect.repair import Action
    from shards.inspect.stats import Stats
    from shards.sidecar import Sidecar
    from shards.totals import Totals

app = new_app(
    "Look into the shards of a dataset: check, repair, compare.\n\n"
    "Exit codes: 0 done; 1 verify or diff found something; 2 what was given cannot be done; "
    "130 interrupted."
)

KINDS = 20
"""Names drawn of a kind by which characters are counted, the most frequent first."""

SHEET, REPORT = open_store("sheet.png"), open_store("report.html")
"""What is written unless --out names another file."""


@app.command("ls")
def list_shards(
    path: DatasetArgument,
    *,
    keys: Annotated[bool, typer.Option("--keys", help="List samples instead of shards.")] = False,
    where: ConditionOption = "",
    sample: SampleOption = None,
    limit: LimitOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """List the shards, or the samples, of a folder.

    Rows are printed as they are read. --where, --sample and --limit choose samples and list those;
    nonpareil shards table --help names the columns of --where.

    Example: nonpareil shards ls runs/quickstart/pages --where "characters > 99" --limit 9
    """
    from shards.dataset import Dataset
    from shards.derive.choice import Choice, chosen
    from shards.totals import Totals

    dataset, totals = Dataset(path), Totals()
    choice = Choice(where=where, sample=sample, limit=limit, seed=seed)
    if keys or not choice.takes_all:
        if not dataset.names:
            raise dataset.nothing()
        print_rows(_sample_rows(chosen([dataset], choice)), as_json=as_json)
        return
    print_rows(_shard_rows(_whole(dataset), totals, short=not as_json), as_json=as_json)
    if not as_json:
        typer.echo(_said(dataset, totals))


def _whole(dataset: Dataset, advance: Advance | None = None) -> Iterator[Sidecar]:
    """Yield the sidecars of the whole shards; there must be one."""
    any_whole = False
    for done, sidecar in enumerate(dataset.sidecars(), 1):
        if not dataset.damage(sidecar):
            any_whole = True
            yield sidecar
        if advance:
            advance(done, len(dataset.names))
    if not any_whole:
        raise dataset.nothing()


def _said(dataset: Dataset, totals: Totals) -> str:
    """Write the totals of the whole shards, and how many others there are."""
    from shards.totals import in_words

    damaged = len(dataset.names) - totals.shards
    verify = f"; {damaged:,} damaged, nonpareil shards verify says how" if damaged else ""
    return f"{in_words(totals.row())}{verify}"


def _shard_rows(
    sidecars: Iterable[Sidecar], totals: Totals, *, short: bool
) -> Iterator[dict[str, Any]]:
    """Yield a row for each shard and add it to `totals`."""
    from shards.totals import Totals

    for sidecar in sidecars:
        totals.add(sidecar)
        languages = Counter(entry.language for entry in sidecar.entries if entry.language)
        yield {
            "shard": sidecar.shard,
            "samples": sidecar.sums.samples,
            "bytes": sidecar.bytes,
            "characters": sidecar.sums.characters,
            "sha256": sidecar.sha256[:12] if short else sidecar.sha256,
            "languages": dict(sorted(languages.items())),
            "dropped": Totals.of([sidecar]).reasons() if sidecar.dropped else {},
        }


def _sample_rows(chosen: Iterable[Chosen]) -> Iterator[dict[str, Any]]:
    for part in chosen:
        for entry in part.entries:
            low, high = entry.size_px or (0, 0)
            yield {
                "key": entry.key,
                "shard": part.sidecar.shard,
                "width": entry.width,
                "height": entry.height,
                "bytes": sum(size for _, size in entry.files.values()),
                "language": entry.language,
                "characters": entry.characters,
                "size_px": f"{low:g}-{high:g}" if high else "",
                "scores": entry.scores,
            }


@app.command()
def stats(path: DatasetArgument, *, as_json: JsonOption = False) -> None:
    """Count a dataset and draw histograms in the terminal.

    Font sizes, languages, characters and what they stand on, resolutions, scores, and dropped
    images by reason.

    Example: nonpareil shards stats runs/quickstart/pages
    """
    with progress("stats") as advance:
        from shards.dataset import Dataset
        from shards.inspect.stats import Stats

        dataset, counted = Dataset(path), Stats()
        for sidecar in _whole(dataset, advance):
            counted.add(sidecar)
    if as_json:
        print_json(counted.row())
        return
    grounds = counted.on_photographs()
    recipes = f"{len(counted.recipes)} recipe(s)" + (f", {grounds}" if grounds else "")
    typer.echo(f"{_said(dataset, counted.totals)}, {recipes}")
    _draw_stats(counted)


def _draw_stats(counted: Stats) -> None:
    totals, languages = counted.totals, ("language", counted.languages)
    for title, counts in (languages, ("dropped", totals.dropped), ("left out", totals.skipped)):
        if counts:
            _draw(title, [(name, count) for name, count in counts.most_common()])
    for kind, counts in counted.characters_by.items():
        _draw(f"characters by {kind}", counts.most_common(KINDS))
    for title, histogram in counted.histograms():
        if histogram.low == histogram.high:
            typer.echo(f"\n{title}: {histogram.low:g} in all {histogram.count:,}")
            continue
        _draw(title, [(_range(low, high), count) for low, high, count in histogram.bins()])
        low, middle, high = (histogram.quantile(share) for share in (0.05, 0.5, 0.95))
        typer.echo(f"mean {histogram.mean:.4g}, median {middle:g}, 90 % in {_range(low, high)}")


def _range(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g} - {high:g}"


def _draw(title: str, counts: list[tuple[str, int]]) -> None:
    """Print counts as bars, the largest as long as a bar may be."""
    largest = max(count for _, count in counts)
    typer.echo()
    print_table("", [{title: name, "n": count, "": bar(count / largest)} for name, count in counts])


@app.command()
def show(
    path: DatasetArgument,
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="Key of the sample, as ls --keys lists it.")
    ],
    *,
    out: Annotated[
        Store | None,
        typer.Option(
            parser=anywhere("--out"),
            metavar="FILE|DIR|URL",
            help="File or folder for the picture. Default: KEY.ENDING here, unless that is taken.",
        ),
    ] = None,
    boxes: Annotated[
        bool, typer.Option("--boxes", help="Draw line boxes (red) and character boxes (blue).")
    ] = False,
    zoom: Annotated[
        int,
        typer.Option(
            min=1, max=16, metavar="N", help="Enlarge every pixel to N, so that no box hides text."
        ),
    ] = 1,
    as_json: JsonOption = False,
) -> None:
    """Save the picture of one sample and print its metadata.

    Example: nonpareil shards show runs/quickstart/pages 000000007 --boxes --zoom 4
    """
    from shards.boxes import draw_boxes, enlarged
    from shards.images.formats import MAX_PIXELS
    from shards.inspect.extract import select, write_new
    from shards.places import file_at
    from shards.sample import Sample, encode_png

    _, files = next(select(path, [key]))
    sample = Sample.of_files(key, files)
    image, ending = sample.image, sample.format
    if zoom > 1:
        height, width, _ = sample.pixels().shape
        if height * width * zoom**2 > MAX_PIXELS:
            raise UserError(
                f"--zoom {zoom}: {width} x {height} px would become more than {MAX_PIXELS:,}; give "
                "less"
            )
        image, ending = encode_png(enlarged(sample.pixels(), zoom)), "png"
    if boxes:
        try:
            image, ending = encode_png(draw_boxes(sample, times=zoom)), "png"
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ShardError(f"sample {key}: its boxes cannot be drawn; omit --boxes") from error
    place = open_store(Path()) if out is None else out
    if out is None or _is_folder(out):
        name = f"{key}.{ending}"
        write_new(place, name, image)
    else:
        place, name = file_at(out, "--out")
        place.replace(name, image)
    target = f"{place}/{name}".removeprefix("./")
    if as_json:
        print_json({"key": key, "picture": target, "text": sample.text, **sample.meta})
        return
    brief = {
        name: value for name, value in sample.meta.items() if not isinstance(value, list | dict)
    }
    print_table(
        f"{key} → {target}",
        [{"field": name, "value": str(value)} for name, value in brief.items()],
        footer=sample.text,
    )


def _is_folder(place: Store) -> bool:
    """Say whether a picture goes into a place, under its key; a file in a bucket has an ending."""
    from shards.store import Folder

    if isinstance(place, Folder):
        return place.path.is_dir()
    return not Path(str(place)).suffix


@app.command()
def sheet(
    path: DatasetArgument,
    *,
    out: Annotated[
        Store,
        typer.Option(parser=anywhere("--out"), metavar="FILE|URL", help="The PNG to write."),
    ] = SHEET,
    count: Annotated[
        int, typer.Option(min=1, max=600, metavar="N", help="Pictures on the sheet.")
    ] = 24,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="Choose at random by this seed. Default: spread evenly."
        ),
    ] = None,
    cell: Annotated[
        int,
        typer.Option(min=32, max=1024, metavar="PX", help="Side of the square of each picture."),
    ] = 192,
    as_json: JsonOption = False,
) -> None:
    """Draw a contact sheet: many small pictures in one PNG.

    They are spread over the whole dataset, each with its key and its size.

    Example: nonpareil shards sheet runs/quickstart/pages --out sheet.png
    """
    import numpy as np

    from shards.inspect.sheet import choose, contact_sheet
    from shards.places import file_at
    from shards.reader import ShardReader
    from shards.sample import encode_png

    rng = None if seed is None else np.random.default_rng(seed)
    above, name = file_at(out, "--out")
    with ShardReader(path) as reader:
        chosen = choose(len(reader), count, rng=rng)
        if not chosen:
            raise UserError(f"{path} holds no sample; nonpareil shards stats says what was dropped")
        above.replace(name, encode_png(contact_sheet(reader, chosen, cell)))
        made = {"sheet": str(out), "pictures": len(chosen), "samples": len(reader)}
    print_json(made) if as_json else typer.echo(
        f"{out}: {made['pictures']:,} of {made['samples']:,} samples"
    )


@app.command()
def report(
    path: DatasetArgument,
    *,
    out: Annotated[
        Store,
        typer.Option(parser=anywhere("--out"), metavar="FILE|URL", help="The .html to write."),
    ] = REPORT,
    samples: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="Samples shown.")] = 64,
    images: Annotated[
        Store | None,
        typer.Option(
            parser=anywhere("--images"),
            metavar="DIR|URL",
            help="Where the images of a filter run are. Default: as its recipe.json says.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show one dataset, with samples to search, on one HTML page.

    Samples, histograms, what was dropped and why, faults, recipe. The page needs no network; the
    pictures on it are made smaller, the data is not touched. For a page about a whole quickstart
    run, with training and scores, use nonpareil report.

    Example: nonpareil shards report runs/quickstart/pages --out pages.html
    """
    from shards.inspect.report import write_report

    made = write_report(path, out, samples=samples, images=images)
    print_json(made) if as_json else typer.echo(
        f"{out}: {made['samples']:,} samples, {made['rejects']:,} of {made['dropped']:,} dropped "
        f"images, {made['faults']:,} faults, {made['bytes'] / 1e6:,.1f} MB"
    )


@app.command()
def verify(path: DatasetArgument, *, deep: DeepOption = False, as_json: JsonOption = False) -> None:
    """Check every shard; exit code 1 when one is wrong.

    Checks sidecars, the SHA-256 of every tar, offsets, dataset.json, and looks for missing shards
    and for keys that occur twice. With --deep also every tar header, the CRC-32 of every sample,
    whether pictures decode to the size they should have and sidecars repeat the metadata, and
    pictures that occur twice. Each fault is printed with what mends it.

    Example: nonpareil shards verify runs/quickstart/pages --deep
    """
    faults: list[Fault] = []
    with progress("verify") as advance:
        from shards.inspect.check import faults as faults_in

        for fault in faults_in(path, deep=deep, advance=advance):
            faults.append(fault)
            if as_json:
                print_json(fault.row())
    if not as_json:
        _say_faults(str(path), faults, deep)
    raise typer.Exit(1 if faults else 0)


def _say_faults(path: str, faults: list[Fault], deep: bool) -> None:
    """Print the faults, and for each remedy the shards that need it."""
    from shards.numbers import write_numbers

    if not faults:
        typer.echo(f"{path}: every shard is what its sidecar says")
        return
    rows = [{"file": fault.file, "kind": fault.kind, "fault": fault.fault} for fault in faults]
    print_table(f"{path}: {len(faults):,} faults", rows)
    where = f"{shlex.quote(path)} --deep" if deep else shlex.quote(path)
    for remedy in dict.fromkeys(fault.remedy for fault in faults):
        shards = {fault.shard for fault in faults if fault.remedy == remedy and fault.shard >= 0}
        command = remedy.replace("repair PATH", f"repair {where}")
        command = command.replace("PATH", shlex.quote(path))
        typer.echo(f"shards {write_numbers(shards)}: {command}" if shards else command)


@app.command()
def repair(
    path: DatasetArgument,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be deleted.")
    ] = False,
    deep: DeepOption = False,
    as_json: JsonOption = False,
) -> None:
    """Prepare damaged shards to be made again by the next run.

    A shard is finished when its sidecar, part-*.json, is there. Repair checks every shard as
    verify does, and deletes the sidecar of each one that is damaged: the sidecar cannot be read,
    or the tar is missing, too short or altered. No tar is deleted. Temporary files that killed
    runs left are deleted too. What cannot be mended this way, such as a key that occurs twice, is
    listed and left.

    Then give the command that made them, as render, filter or copy: it makes those shards again,
    with the same bytes. Do not repair a folder while a run writes into it.

    Example: nonpareil shards repair runs/quickstart/pages --dry-run
    """
    actions: list[Action] = []
    with progress("repair") as advance:
        from shards.inspect.repair import repair as mend

        for action in mend(path, deep=deep, dry_run=dry_run, advance=advance):
            actions.append(action)
            if as_json:
                print_json(action.row())
    if as_json:
        return
    if not actions:
        typer.echo(f"{path}: nothing to repair")
        return
    print_table(
        str(path), [{"file": row.file, "done": row.done, "why": row.why} for row in actions]
    )
    remade = {action.remade for action in actions if action.remade is not None}
    if remade:
        from shards.numbers import write_numbers

        typer.echo(f"shards {write_numbers(remade)}: give the command that made them again")


@app.command()
def extract(
    path: DatasetArgument,
    keys: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY", help="Keys of the samples; all samples if none is given."),
    ] = None,
    *,
    out: Annotated[
        Store,
        typer.Option(
            parser=anywhere("--out"),
            metavar="DIR|URL",
            help="Where to write: a folder, or s3://BUCKET/PREFIX. No file there is replaced.",
        ),
    ],
    shard: Annotated[
        list[int] | None,
        typer.Option(min=0, metavar="N", help="Only this shard. May be given again."),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, metavar="N", help="Write at most this many samples.")
    ] = 1000,
    as_json: JsonOption = False,
) -> None:
    """Write samples as plain files: picture, text, metadata.

    KEY.png, KEY.txt and KEY.json, byte for byte as they are stored. No file is replaced.

    Example: nonpareil shards extract runs/quickstart/pages --shard 0 --out d
    """
    from shards.inspect.extract import extract as write
    from shards.inspect.extract import select

    chosen = select(path, keys or (), shards=shard or ())
    samples = files = size = 0
    for written in write(islice(chosen, limit), out):
        samples += 1
        files += len(written)
        size += sum(written.values())
    more = next(chosen, None) is not None
    if as_json:
        print_json({"samples": samples, "files": files, "bytes": size, "more": more})
        return
    typer.echo(
        f"{out}: {samples:,} samples, {files:,} files, {size / 1e6:,.1f} MB"
        + (f"; there are more, raise --limit {limit:,}" if more else "")
    )


@app.command()
def diff(
    first: DatasetArgument,
    second: DatasetArgument,
    *,
    as_json: JsonOption = False,
) -> None:
    """Say how two datasets differ; exit code 1 when they do.

    Compares recipe, versions and samples, and of each sample pixels, text and metadata. Shards
    with equal SHA-256 are not opened.

    Example: nonpareil shards diff runs/a/pages runs/b/pages
    """
    from shards.inspect.diff import differences

    different = False

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal different
        for difference in differences(first, second):
            different = True
            yield difference.row()

    print_rows(rows(), as_json=as_json)
    if not different and not as_json:
        typer.echo(f"{first} and {second} hold the same samples")
    raise typer.Exit(1 if different else 0)


app.command()(copy)
app.command()(table)
app.command()(index)
