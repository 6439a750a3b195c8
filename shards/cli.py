"""`nonpareil shards VERB PATH`, also `python -m shards`: look into finished shards.

Only the standard library and this package's light half are imported before parsing.
"""

import collections
from pathlib import Path
from typing import Annotated, Any

import typer

from shards.console import new_app, print_json, print_table
from shards.errors import UserError

app = new_app("Look into the shards of a render or filter run.")

Where = Annotated[
    str,
    typer.Argument(help="Folder or URL that holds part-*.tar and part-*.json.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")]


@app.command("ls")
def list_shards(
    path: Where,
    *,
    keys: Annotated[bool, typer.Option("--keys", help="List samples instead of shards.")] = False,
    as_json: Json = False,
) -> None:
    """List the shards (or, with --keys, the samples) of a folder.

    Example: nonpareil shards ls runs/quickstart/rendered
    """
    from shards.sidecar import sidecars

    found = list(sidecars(path))
    if not found:
        raise UserError(f"{path} holds no finished shard (part-*.tar with part-*.json)")
    rows: list[dict[str, Any]] = []
    for sidecar in found:
        if keys:
            rows += [
                {
                    "key": entry.key,
                    "shard": sidecar.shard,
                    "size": f"{entry.width}x{entry.height}",
                    "language": entry.language,
                    "chars": entry.characters,
                }
                for entry in sidecar.entries
            ]
            continue
        languages = collections.Counter(entry.language for entry in sidecar.entries)
        languages.pop("", None)
        rows.append(
            {
                "shard": sidecar.shard,
                "samples": len(sidecar.entries),
                "MB": round(sidecar.bytes / 1e6, 3),
                "chars": sum(entry.characters for entry in sidecar.entries),
                "languages": _counts(dict(sorted(languages.items()))),
                "dropped": _counts(sidecar.drops()),
                "sha256": sidecar.sha256[:8],
            }
        )
    if as_json:
        print_json(*rows)
        return
    samples = sum(len(sidecar.entries) for sidecar in found)
    dropped = sum(len(sidecar.dropped) for sidecar in found)
    total = sum(sidecar.bytes for sidecar in found) / 1e6
    summary = f"{len(found)} shards, {samples:,} samples, {total:,.1f} MB, {dropped:,} dropped"
    print_table(path, rows, footer=summary)


@app.command()
def verify(path: Where, *, as_json: Json = False) -> None:
    """Check sidecars, checksums, gaps and duplicates; exit code 1 when anything is wrong.

    Example: nonpareil shards verify runs/quickstart/rendered
    """
    from shards.check import faults

    rows = [fault.row() for fault in faults(path)]
    if as_json:
        print_json(*rows)
    elif rows:
        print_table(f"{path}: {len(rows)} faults", rows)
    else:
        typer.echo(f"{path}: every shard is what its sidecar says")
    raise typer.Exit(1 if rows else 0)


@app.command()
def show(
    path: Where,
    key: Annotated[str, typer.Argument(help="Key of the sample, as ls --keys lists it.")],
    *,
    out: Annotated[
        Path | None, typer.Option(help="Where to put the picture; default KEY.ENDING here.")
    ] = None,
    boxes: Annotated[
        bool, typer.Option("--boxes", help="Draw line boxes (red) and character boxes (blue).")
    ] = False,
    as_json: Json = False,
) -> None:
    """Put one sample's picture on disk and print what is known about it.

    Example: nonpareil shards show runs/quickstart/rendered 000000007 --boxes --out page.png
    """
    from shards.reader import ShardReader
    from shards.sample import draw_boxes, encode_png

    with ShardReader(path) as reader:
        sample = reader[reader.find(key)]
    image, ending = sample.image, sample.format
    if boxes:
        image, ending = encode_png(draw_boxes(sample)), "png"
    target = out or Path(f"{sample.key}.{ending}")
    target.write_bytes(image)
    if as_json:
        print_json({"key": sample.key, "picture": str(target), "text": sample.text, **sample.meta})
        return
    brief = {
        name: value for name, value in sample.meta.items() if not isinstance(value, list | dict)
    }
    print_table(
        f"{sample.key} → {target}",
        [{"field": name, "value": str(value)} for name, value in brief.items()],
        footer=sample.text,
    )


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
