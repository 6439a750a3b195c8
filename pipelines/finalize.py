"""`nonpareil finalize`, also `python -m pipelines.finalize`: manifest and card of a dataset.

Finalizing again replaces them, but no card that somebody else wrote; a run that makes a shard
removes the manifest, since it would not describe what lies there.
"""

import re
from typing import Annotated

import typer

from pipelines.cards import CARD, card
from pipelines.options import JsonOption
from shards.console import print_json, run_command
from shards.dataset import Dataset
from shards.errors import UserError
from shards.manifest import MANIFEST, Manifest
from shards.numbers import write_numbers
from shards.outputs import NOTE, PROGRESS
from shards.places import anywhere
from shards.store import Store, Where
from shards.text import read_table
from shards.totals import in_words

OURS = b"written by nonpareil finalize"
"""What a card of ours says of itself, so that finalizing again may replace it."""

FEATURES = {"txt": "string", "json": "json"}
"""How `datasets` calls what files beside the picture hold. Labels differ too much for its tables,
so they stay JSON."""


def finalize(
    out: Annotated[
        Store,
        typer.Argument(
            parser=anywhere(),
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
    """Write the manifest and the card of a finished dataset.

    The manifest, dataset.json, names every shard with its checksum, the sums over all, and the
    pattern by which WebDataset opens them; wids opens it as its index. By the card, README.md,
    datasets.load_dataset opens the folder. The length of every tar is checked, its bytes are not:
    nonpareil shards verify checks those.

    Example: nonpareil finalize runs/pages
    """
    manifest = describe_dataset(out, allow_missing=allow_missing)
    out.replace(MANIFEST, manifest.text().encode())
    has_card = write_card(out, manifest)
    row = manifest.row() | {"shards": len(manifest.shardlist), "unreadable": manifest.unreadable}
    if as_json:
        print_json(row)
        return
    opened = ", ".join(opened_by_webdataset(out, url) for url in manifest.urls)
    typer.echo(f"{out}/{MANIFEST}: {in_words(row)}; open {opened}")
    if not has_card:
        typer.echo(f"{out}/{CARD} was written by somebody else and stays as it is")


def opened_by_webdataset(out: Store, url: str) -> str:
    """Return what webdataset opens: it knows no s3://, and reads that through a command."""
    place = f"{out}/{url}"
    return f"pipe:aws s3 cp {place} -" if place.startswith("s3://") else place


def write_card(out: Store, manifest: Manifest) -> bool:
    """Write README.md, which hubs and `datasets` read; False where somebody else wrote one."""
    if out.exists(CARD) and OURS not in out.read(CARD):
        return False
    labels = {*manifest.languages} | ({"en", "zh"} if "mixed" in manifest.languages else set())
    spoken = sorted(label for label in labels if re.fullmatch("[a-z]{2,3}", label))
    from shards.images.formats import STORED

    known = dict.fromkeys(STORED, "image") | FEATURES
    features = {ending: known.get(ending, "binary") for ending in manifest.endings}
    facts = manifest.model_dump() | {"spoken": spoken, "features": features}
    out.replace(CARD, card("dataset_card.jinja", **facts).encode())
    return True


def describe_dataset(out: Where, *, allow_missing: bool = False) -> Manifest:
    """Add up the shards of an output.

    Raises:
        UserError: when there are none, one is broken or of another recipe, or (unless allowed)
            missing: given up, never made, or made in part.
    """
    from pipelines.engine.quarantine import Quarantine

    dataset = Dataset(out)
    store = dataset.store
    manifest = Manifest.of(dataset, recipe=_recipe(store), planned=_planned(store))
    made, missing = len(manifest.shardlist), manifest.missing
    if not made:
        raise dataset.nothing()
    if missing and not allow_missing:
        given_up = len(Quarantine(store).failures.keys() & {*missing})
        raise UserError(
            f"{out} has {made} of {made + len(missing)} shards (missing "
            f"{write_numbers(missing, limit=5)}"
            f"{f'; {given_up} in quarantine.json' if given_up else ''}); run the same command "
            "again, or give --allow-missing"
        )
    return manifest


def _recipe(store: Store) -> str:
    try:
        return str(read_table(store, NOTE, "put back what it held")["digest"])
    except (FileNotFoundError, NotADirectoryError, KeyError) as error:
        raise UserError(f"{store} holds no {NOTE}; give the --out of a run") from error


def _planned(store: Store) -> int:
    """Return how many shards the last run had in view; 0 where no run has told."""
    try:
        return int(read_table(store, PROGRESS, "delete it or run again")["total"])
    except FileNotFoundError:
        return 0
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{store}/{PROGRESS} is broken; delete it or run again") from error


if __name__ == "__main__":
    run_command(finalize)
