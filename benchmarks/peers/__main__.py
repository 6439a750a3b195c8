"""`python -m benchmarks.peers SPEC.json`: pages per second of every other renderer installed."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from benchmarks._rows import Row, commit, machine
from benchmarks.peers import PeerResult, install_peers, measure_peers
from shards import UserError
from shards.console import print_table, run_command


def main(
    spec: Annotated[Path | None, typer.Argument(help="The pages to draw.")] = None,
    *,
    install: Annotated[bool, typer.Option("--install", help="Install the peers first.")] = False,
    pages: Annotated[int, typer.Option(min=1, help="Pages to measure.")] = 24,
    budget: Annotated[float, typer.Option(help="Seconds for all peers together.")] = 120.0,
    out: Annotated[Path | None, typer.Option("--json", help="Write the rows here.")] = None,
    pictures: Annotated[Path | None, typer.Option(help="Folder for each first page.")] = None,
) -> None:
    """Draw the same pages with every peer: one thread, CPU time, each in its environment."""
    if install:
        for peer, error in install_peers():
            print(f"{peer}: {error or 'installed'}")
    if spec is None and install:
        return
    if spec is None or not spec.is_file():
        raise UserError(f"{spec or 'no spec'} is no file; give a JSON file of pages to draw")
    results = measure_peers(spec, pages, budget, pictures)
    rows = [asdict(row) for result in results for row in rows_of(result)]
    print_table(f"Peers on {spec.name}, CPU time of one thread", rows, footer=machine())
    for result in results:
        print(
            f"{result.peer} {result.version}, {result.pages} pages: {result.error or result.note}"
        )
    if out:
        peers = [asdict(result) for result in results]
        record = {"machine": machine(), "commit": commit(), "rows": rows, "peers": peers}
        out.write_text(json.dumps(record, indent=1) + "\n")


def rows_of(result: PeerResult) -> list[Row]:
    """Return the figures of one peer, or one row that says why there are none."""
    if result.error:
        return [Row(f"{result.peer}: {result.error}", 0.0, "pages/s")]
    return [
        Row(result.peer, result.pages_per_second, "pages/s"),
        Row(f"{result.peer}, with JPEG", result.encoded_per_second, "pages/s"),
        Row(f"{result.peer}, text", result.characters_per_second, "characters/s"),
        Row(f"{result.peer}, memory", result.peak_mb, "MB", better="lower"),
    ]


if __name__ == "__main__":
    run_command(main)
