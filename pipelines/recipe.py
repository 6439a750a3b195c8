"""Recipes: TOML files of settings, read here and nowhere else.

Defaults in the settings classes < the recipe file < `--set a.b=value`. The result is written
beside every output (shards/outputs.py).
"""

import difflib
import os
import re
import reprlib
import tomllib
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from shards.caches import CACHE, have_cache
from shards.errors import Unreadable, UserError, foreign
from shards.settings import Settings
from shards.store import local_path
from shards.text import plain_text

FOLDER = Path(__file__).parent / "recipes"

S = TypeVar("S", bound=Settings)

LARGEST_BYTES = 2**20
"""Most bytes of a recipe (our choice: ours have 3,000)."""

MOST_PARTS = 100
"""Most parts of a dotted key (our choice: ours have four)."""

_BETWEEN_KEYS = re.compile(r"(?:^[ \t]*#.*$|[={,\n])+", re.M)


def load(
    cls: type[S],
    recipe: str,
    overrides: Sequence[str] = (),
    given: Mapping[str, Any] = MappingProxyType({}),
) -> S:
    """Read a recipe into settings.

    Args:
        cls: the settings class.
        recipe: a path, or the name of a file in `pipelines/recipes/` without `.toml`.
        overrides: `a.b=value` strings; values are TOML, or plain text where that does not parse.
        given: values by the path of their setting, as they are; `overrides` come after them.

    Raises:
        UserError: naming the file, the key and what is allowed.
    """
    path = find(recipe)
    table = _read(path)
    for setting, value in given.items():
        _put(table, setting, value)
    for override in overrides:
        apply(table, override)
    return validate(cls, table, path.name)


def _read(path: Path) -> dict[str, Any]:
    with foreign(f"recipe {path}", "no TOML that can be read; write it anew", Unreadable):
        try:
            size = path.stat().st_size
            if size > LARGEST_BYTES:
                raise ValueError(f"{size:,} bytes are more than {LARGEST_BYTES:,}")
            text = plain_text(path.read_bytes())
            # tomllib takes the square of a key's parts in time and memory.
            if any(part.count(".") > MOST_PARTS for part in _BETWEEN_KEYS.split(text)):
                raise ValueError(f"a key of more than {MOST_PARTS} parts")
            return tomllib.loads(text)
        except (OSError, ValueError) as error:
            raise UserError(f"recipe {path} cannot be read as TOML: {error}") from error


def find(recipe: str) -> Path:
    """Return the file of a recipe given by path or by name."""
    path = local_path(recipe) if recipe.endswith(".toml") else Path(recipe)
    if path.suffix == ".toml":
        if path.is_file():
            return path
        raise UserError(
            f"recipe {recipe} {'is no file' if path.exists() else 'does not exist'}; give a .toml "
            f"file or one of {', '.join(names())}"
        )
    if recipe not in names():
        raise UserError(
            f"recipe {recipe!r} does not ship; give a .toml file or one of {', '.join(names())}"
        )
    return FOLDER / f"{recipe}.toml"


def atlas_folder() -> Path:
    """Return where this machine keeps drawn glyphs: in the user's cache, or NONPAREIL_CACHE."""
    told = os.environ.get("NONPAREIL_CACHE")
    if not told:
        have_cache()
    base = Path(told) if told else Path(os.environ.get(CACHE) or "~/.cache") / "nonpareil"
    return base.expanduser() / "atlas"


def names() -> list[str]:
    """List the recipes that ship."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def apply(table: dict[str, Any], override: str) -> None:
    """Put one `a.b=value` into a table, as `put` does.

    Raises:
        UserError: when the text has no '=' or the path leads nowhere.
    """
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise UserError(f"--set {override}: write it as a.b=value")
    try:
        _put(table, path.strip(), _value(text.strip()))
    except (IndexError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"--set {path}: it leads to no setting of the recipe") from error


def _put(table: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    place: Any = table
    for name in parents:
        place = place.setdefault(name, {}) if isinstance(place, dict) else place[int(name)]
    place[last if isinstance(place, dict) else int(last)] = value


def validate(cls: type[S], table: dict[str, Any], file: str) -> S:
    """Turn a table into settings.

    Raises:
        UserError: with the first fault: key, file, and the allowed keys or values.
    """
    try:
        settings = cls.model_validate(table)
        _require_64_bits(table)
        return settings
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(str(part) for part in fault["loc"]) or "the recipe"
        message = f"{file}: {key}: {fault['msg'].removeprefix('Value error, ')}"
        if fault["type"] == "extra_forbidden":
            allowed = _keys_at(cls, fault["loc"][:-1])
            message = f"{file}: unknown key {key}; allowed: {', '.join(allowed)}"
            near = difflib.get_close_matches(str(fault["loc"][-1]), allowed, 1)
            message += f" (did you mean {near[0]}?)" if near else ""
        elif not isinstance(fault["input"], dict | list):
            message += f" (given: {reprlib.repr(fault['input'])})"
        raise UserError(message) from error


def _require_64_bits(table: dict[str, Any]) -> None:
    """Refuse numbers that no library takes: they would fail later, each in its own way."""
    rest: list[tuple[str, Any]] = list(table.items())
    while rest:
        key, value = rest.pop()
        if isinstance(value, dict):
            rest += [(f"{key}.{name}", inner) for name, inner in value.items()]
        elif isinstance(value, list):
            rest += [(f"{key}.{place}", inner) for place, inner in enumerate(value)]
        elif isinstance(value, int) and not -(2**63) <= value < 2**64:
            raise UserError(f"{key}: {reprlib.repr(value)} fits no 64 bits; give a smaller number")


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _keys_at(cls: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """List the settings allowed at a location inside nested settings."""
    models = [cls]
    for part in location:
        inner = [
            inner_model
            for model in models
            if isinstance(part, str) and part in model.model_fields
            for inner_model in _models_in(model.model_fields[part].annotation)
        ]
        models = inner or models
    fields = [item for model in models for item in model.model_fields.items()]
    return sorted({field.alias or name for name, field in fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, Annotated, list, tuple, dict):
        return [model for part in get_args(annotation) for model in _models_in(part)]
    return []
