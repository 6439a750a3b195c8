"""Outputs: whose a folder or bucket is, by the `recipe.json` that lies in it.

An output belongs to what made it: the resolved recipe and the digests of its inputs. The same work
may go on there, other work is refused.
"""

import json
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

from shards.errors import UserError
from shards.settings import differences, digest
from shards.store import Folder, Store, Where, open_store
from shards.text import read_table

NOTE = "recipe.json"
"""The resolved recipe beside the shards it makes."""

PLACES = "places"
"""The key of a recipe.json that says where the inputs of a run were; its digest leaves it out."""

PROGRESS = "progress.json"
"""How far a run has come; written before the first shard, so it does not make a folder occupied."""


def claim(out: Where, identity: dict[str, Any]) -> None:
    """Make `out` the output of one recipe: write `recipe.json`, or agree with the one there.

    Raises:
        UserError: when `out` is a file, holds other things, or was made by another recipe.
            Nothing is touched then.
    """
    store = open_store(out)
    store.make()
    resolved = _resolved(identity)
    held = claimed(store, identity)
    if held == resolved:
        return
    text = (json.dumps(resolved, indent=1, ensure_ascii=False) + "\n").encode()
    if held:
        store.replace(NOTE, text)
    elif not store.create(NOTE, text):
        claim(store, identity)  # another process came first: it must want the same


@contextmanager
def folder_for(out: Store) -> Generator[None, None, None]:
    """Make the folder of an output, and remove what was made if nothing is in it at the end.

    Raises:
        UserError: when it is a file.
    """
    path = out.path if isinstance(out, Folder) else None
    made = [] if path is None else [it for it in (path, *path.parents) if not it.exists()]
    try:
        out.make()
        yield
    finally:
        with suppress(OSError):
            for folder in made:
                folder.rmdir()


def claimed(out: Store, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Return the `recipe.json` that lies in `out`, if there is one; touch nothing.

    Raises:
        UserError: when `out` may not become the output of this recipe, as `claim` says.
    """
    # A recipe.json alone is left by a run that failed before it made anything.
    occupied = any(name not in (NOTE, PROGRESS) for name in out.names())
    remedy = "give a new --out folder, or put back what it held"
    held = read_table(out, NOTE, remedy) if out.exists(NOTE) else None
    if occupied and not held:
        raise UserError(f"{out} is not empty and holds no recipe.json; give a new --out folder")
    if occupied and held and held.get("digest") != digest_of(identity):
        if PLACES in identity and PLACES not in held:
            raise UserError(
                f"{out} was made by an older version, which took paths for settings; give a new "
                "--out folder, or finish it with that version"
            )
        raise UserError(
            f"{out} was made by another recipe ({differing(held, identity)}); give a new --out "
            "folder or the old settings"
        )
    return held


def differing(held: dict[str, Any], identity: dict[str, Any]) -> str:
    """Say in what a `recipe.json` and an identity differ, at most three keys."""
    return "; ".join(differences(_anywhere(held), _anywhere(_resolved(identity)))[:3])


def owner(out: Store) -> str:
    """Return the digest in the `recipe.json` of an output; empty where none tells."""
    with suppress(UserError, OSError):
        held = read_table(out, NOTE, "put back what it held").get("digest")
        return held if isinstance(held, str) else ""
    return ""


def digest_of(identity: dict[str, Any]) -> str:
    """Digest an identity; where its inputs lie is not part of it."""
    return digest(_anywhere(identity))


def _anywhere(identity: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in identity.items() if key != PLACES}


def _resolved(identity: dict[str, Any]) -> dict[str, Any]:
    # Through JSON, so that what was read back compares equal.
    return json.loads(json.dumps({**identity, "digest": digest_of(identity)}))
