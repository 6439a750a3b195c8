"""`nonpareil export`, also `python -m pipelines.export`: a checkpoint as others read it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cards import CARD, card
from pipelines.options import OutOption
from shards.console import run_command
from shards.errors import UserError

if TYPE_CHECKING:
    from shards.store import Store, Where
    from vae import VAE
    from vae.training.checkpoint import Checkpoint, Header

NOTE = "export.json"
"""What was exported, and the SHA-256 of every file: what makes a folder an export."""

"""The model card, under the name that the Hugging Face hub shows."""


def export(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A training run, folder or URL, or one step-… folder in it.",
            show_default=False,
        ),
    ],
    *,
    to: Annotated[str, typer.Option(metavar="FORMAT", help="nonpareil, diffusers or onnx.")],
    out: OutOption,
    license: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The licence of the weights for the card, as the hub spells it: apache-2.0.",
            show_default=False,
        ),
    ] = "",
) -> None:
    """Write a model for diffusers, as ONNX or as weights alone.

    The newest good checkpoint is taken, and of that the average of the weights where there is one.
    The card tells the digest of the recipe, the samples seen, the scores of the newest watch and
    the mean and std of the latents. An older export in --out is replaced; any other folder that is
    not empty is refused.

    Example: nonpareil export runs/nano --to diffusers --out nonpareil-vae
    """
    typer.echo(f"{export_to(out, run, to, license)}")


def export_to(out: Where, run: Where, to: str, license: str = "") -> Store:
    """Write the export of a run, or of one step, into `out` and return that.

    The files are made beside `out`, or for a bucket on this machine, and put in place when all are
    there, NOTE last.

    Raises:
        UserError: for an unknown format, a licence that is no plain name, an `out` that holds
            other things, no good checkpoint, or a package that is missing. `out` is untouched then.
    """
    from shards.store import Folder, open_store, sha256_of
    from vae import load_model
    from vae.training.checkpoint import newest

    if to not in FORMATS:
        raise UserError(f"--to {to} is no format; choose {', '.join(FORMATS)}")
    if license and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", license):
        raise UserError(
            f"--license {license!r} is no name of a licence; give letters, digits, dots and "
            "hyphens, such as apache-2.0"
        )
    store = open_store(out)
    old = _exported(store)
    step = newest(run, to_train=False)
    model = load_model(step.store)
    facts = _facts(step, model, to, license)
    above, name = store.above()
    above.make()
    beside = above.path if isinstance(above, Folder) else None
    with TemporaryDirectory(prefix=f".{name}.", suffix=".tmp", dir=beside) as place:
        made = Path(place)
        FORMATS[to](model, step.header, made)
        scored = list(_scored(facts["scores"]))
        text = card("model_card.jinja", **facts, scored=scored)
        (made / CARD).write_text(text, encoding="utf-8")
        files = sorted(path.name for path in made.iterdir())
        facts["sha256"] = {name: sha256_of(made / name) for name in files}
        store.make()
        for name in old - {*files}:
            store.delete(name)
        for name in files:
            store.put(made / name, name)
        store.replace(NOTE, (json.dumps(facts, indent=1) + "\n").encode())
    return store


def _to_nonpareil(model: VAE, header: Header, folder: Path) -> None:
    from shards.store import Folder
    from vae.training.checkpoint import MODEL, Snapshot

    # What only a run needs to go on is left out, and so is the average: it is the model here.
    alone = header.model_copy(update={"balance": {}, "guard": {}})
    Snapshot(alone, {MODEL: model.state_dict()}).write(Folder(folder))


def _to_diffusers(model: VAE, header: Header, folder: Path) -> None:
    del header
    try:
        from vae.inference.adapter import AutoencoderNonpareil
    except ImportError as error:
        raise UserError(
            f"--to diffusers needs {error.name}; install it with pip install 'nonpareil[diffusers]'"
        ) from error
    AutoencoderNonpareil.of(model).save_pretrained(folder)


def _to_onnx(model: VAE, header: Header, folder: Path) -> None:
    del header
    from vae.inference.export import export_onnx

    export_onnx(model, folder)


FORMATS: dict[str, Callable[[VAE, Header, Path], None]] = {
    "nonpareil": _to_nonpareil,
    "diffusers": _to_diffusers,
    "onnx": _to_onnx,
}
"""What writes a model into an empty folder, by the name that --to takes."""


def _exported(out: Store) -> set[str]:
    """Return the files of the export that lies in `out`; none where it is empty or not there.

    Raises:
        UserError: when `out` is a file, or holds something that is no export.
    """
    from shards.store import Folder
    from shards.store.base import plain

    if isinstance(out, Folder):
        path = out.path
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise UserError(f"--out {path} is no folder; give the name of a new or empty one")
        if not path.exists() or not any(path.iterdir()):
            return set()
    elif not out.names():
        return set()
    try:
        # Names from a file are not trusted to stay in the folder.
        return {plain(name) for name in json.loads(out.read(NOTE))["sha256"]}
    except (OSError, ValueError, KeyError, TypeError, UserError) as error:
        raise UserError(
            f"--out {out} is not empty and holds no {NOTE} of an export; give a new folder"
        ) from error


def _facts(step: Checkpoint, model: VAE, to: str, license: str) -> dict[str, Any]:
    """Collect what NOTE and the card say of a checkpoint."""
    header = step.header
    return {
        "kind": "Export",
        "to": to,
        "step": header.step,
        "n": header.n,
        "recipe": header.recipe,
        "license": license,
        "model": model.settings.model_dump(mode="json"),
        "latents_mean": model.latent_mean.tolist(),
        "latents_std": model.latent_std.tolist(),
        "scores": header.scores,
        "measured": header.measured,
    }


METRICS = {"psnr": 2, "ssim": 4, "perceptual": 3, "lpips": 4, "ned": 4}
"""Scores that a card shows, and their digits; NOTE has all."""


def _scored(scores: dict[str, float]) -> Iterator[dict[str, Any]]:
    """Yield a row for each watched set and codec, from numbers such as `pages.dct.psnr`."""
    for data in sorted({name.partition(".")[0] for name in scores}):
        for codec, before in (("this model", f"{data}."), ("DCT codec", f"{data}.dct.")):
            values = {
                metric: f"{scores[before + metric]:.{digits}f}"
                for metric, digits in METRICS.items()
                if before + metric in scores
            }
            if values:
                images = f"{scores[f'{data}.images']:.0f}"
                yield {"data": data, "codec": codec, "images": images, **values}


if __name__ == "__main__":
    run_command(export)
