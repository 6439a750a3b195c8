"""`nonpareil push`, also `python -m pipelines.push`: a dataset or an export onto the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from pipelines.cards import CARD
from pipelines.export import NOTE as EXPORTED
from pipelines.options import JsonOption
from shards.console import print_json, run_command
from shards.errors import StoreError, UserError
from shards.manifest import MANIFEST, Manifest
from shards.outputs import NOTE
from shards.places import here
from shards.sidecar import sidecar_names
from shards.store import Folder
from shards.text import read_table


class Pushed(NamedTuple):
    """What goes onto the hub: as a dataset or a model, which files, and their bytes."""

    kind: str
    names: tuple[str, ...]
    bytes: int


def push(
    path: Annotated[
        Path,
        typer.Argument(
            parser=here("DIR"),
            metavar="DIR",
            help="A folder that nonpareil finalize or nonpareil export has finished.",
            show_default=False,
        ),
    ],
    repository: Annotated[
        str,
        typer.Argument(metavar="USER/NAME", help="The repository; made when it is missing."),
    ],
    *,
    public: Annotated[
        bool,
        typer.Option(
            "--public", help="Let everybody see a repository that is made. Default: you alone."
        ),
    ] = False,
    revision: Annotated[
        str, typer.Option(metavar="NAME", help="The branch, which has to be there.")
    ] = "main",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Push nothing; say what would be pushed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Put a finished dataset or model onto the Hugging Face hub.

    A model is one that nonpareil export wrote. A dataset goes with sidecars, manifest, card and
    recipe, so that every reader that finalize names opens it there. Log in by `hf auth login` or
    HF_TOKEN; HF_ENDPOINT names another hub. The same command goes on with a push that was stopped:
    what is there already is not sent again.

    Example: nonpareil push runs/pages me/pages --dry-run
    """
    pushed = what_to_push(Folder(path))
    row: dict[str, Any] = {"repository": repository, "kind": pushed.kind}
    row |= {"files": len(pushed.names), "bytes": pushed.bytes}
    if not dry_run:
        row["url"] = _push(path, repository, pushed, public=public, revision=revision)
    if as_json:
        print_json(row)
        return
    typer.echo(
        f"{row.get('url', repository)}: {'would be ' if dry_run else ''}pushed as a {pushed.kind}, "
        f"{len(pushed.names):,} files, {pushed.bytes / 1e6:,.1f} MB"
    )


def what_to_push(folder: Folder) -> Pushed:
    """List what is to be pushed of a folder.

    Raises:
        UserError: when it is neither a finished dataset nor an export.
    """
    sizes = folder.sizes()
    if EXPORTED in sizes:
        listed = read_table(folder, EXPORTED, "export the model again").get("sha256")
        names = [*(listed if isinstance(listed, dict) else {}), EXPORTED, CARD]
        kind = "model"
    else:
        names, kind = _names_of_dataset(folder), "dataset"
    absent = next((name for name in names if name not in sizes), None)
    if absent is not None:
        raise UserError(f"{folder}/{absent} is missing; make it again, then push")
    return Pushed(kind, tuple(names), sum(sizes[name] for name in names))


def _names_of_dataset(folder: Folder) -> list[str]:
    from pipelines.finalize import describe_dataset

    manifest = Manifest.read(folder)
    if manifest is None:
        raise UserError(
            f"{folder} holds neither {MANIFEST} nor {EXPORTED}; nonpareil finalize or nonpareil "
            "export writes it"
        )
    if manifest != describe_dataset(folder, allow_missing=bool(manifest.missing)):
        raise UserError(f"{folder}/{MANIFEST} is not of the shards there; finalize, then push")
    tars = [shard.url for shard in manifest.shardlist]
    return [*tars, *sidecar_names(folder.sizes()), MANIFEST, CARD, NOTE]


def _push(path: Path, repository: str, pushed: Pushed, *, public: bool, revision: str) -> str:
    """Push the files and return the URL of the repository.

    Raises:
        UserError: without the package, when the name is none, or the hub refuses.
        StoreError: when the hub does not answer.
    """
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import (
            HfHubHTTPError,
            HFValidationError,
            HTTPError,  # pyright: ignore[reportPrivateImportUsage] - of the client that it uses
        )
    except ImportError as error:
        raise UserError("push needs huggingface_hub: pip install nonpareil[hub]") from error
    hub = HfApi(library_name="nonpareil")
    try:
        url = hub.create_repo(repository, repo_type=pushed.kind, private=not public, exist_ok=True)
        hub.upload_folder(
            repo_id=url.repo_id,
            folder_path=path,
            repo_type=pushed.kind,
            revision=revision,
            # Each file is held against each pattern: as few of them as there can be.
            allow_patterns=sorted({_pattern(name) for name in pushed.names}),
            commit_message=f"Add {len(pushed.names):,} files",
        )
    except (HFValidationError, HfHubHTTPError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{repository}: the hub refused it ({reason}); see `hf auth whoami` and the name"
        ) from error
    except HTTPError as error:
        raise StoreError(f"{hub.endpoint} does not answer ({error}); try again later") from error
    return str(url)


def _pattern(name: str) -> str:
    """Return a pattern for the tars or the sidecars, of which all are pushed; else the name."""
    return f"part-*{Path(name).suffix}" if name.startswith("part-") else name


if __name__ == "__main__":
    run_command(push)
