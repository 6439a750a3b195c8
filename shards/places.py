"""Places: what a user names by path or URL, in an option or a recipe, as one type.

`open_store` alone says what a text means. Here it becomes the type of command-line options and of
settings, so that whatever is no place is told before anything starts. Relative paths are meant from
the working directory, in a recipe too.
"""

from collections.abc import Callable, Collection
from functools import partial, reduce
from pathlib import Path
from typing import Annotated, Any, TypeVar
from unicodedata import category

from pydantic import PlainSerializer, PlainValidator

from shards.errors import UserError
from shards.settings import Settings
from shards.store import Bucket, Folder, Store, Where, local_path, open_store

T = TypeVar("T")

NAME_BYTES = 100
"""Longest name that a user gives, in bytes (our choice: it stands in names of files)."""


def anywhere(option: str = "") -> Callable[[Where], Store]:
    """Return the parser of an option, named for messages, that takes a folder or a bucket."""
    return partial(_parsed, open_store, option)


def here(option: str) -> Callable[[Where], Path]:
    """Return the parser of an option that takes a path of this machine alone."""
    return partial(_parsed, local_path, option)


def _parsed(parse: Callable[[Where], T], option: str, where: Where) -> T:
    try:
        return parse(where)
    except UserError as error:
        raise UserError(f"{option} {error}".strip()) from error


def path_or_bucket(where: Where) -> Path | Bucket:
    """Return what `where` names as settings hold it.

    Raises:
        UserError: as `open_store`.
    """
    store = open_store(where)
    return store if isinstance(store, Bucket) else local_path(store)


def _set(parse: Callable[[Where], T], where: Any) -> T:
    if not isinstance(where, str | Path | Store):
        raise ValueError("give a path, as text")
    try:
        return parse(where)
    except UserError as error:
        raise ValueError(str(error)) from error


_setting = partial(_set, local_path)


def _settings(where: Any) -> tuple[Path, ...]:
    places = where if isinstance(where, list | tuple) else [where]
    if not places:
        raise ValueError("give a path, or a list with one at least")
    return tuple(map(_setting, places))


def _named(where: Any) -> str | Path:
    if isinstance(where, str) and not (where.startswith(PATHS) or Path(where).is_dir()):
        return where
    return _setting(where)


def _written(where: str | Path | Bucket) -> str:
    return where if isinstance(where, str) else str(open_store(where))


PATHS = ("~", "/", ".", "file:", "s3:", "gs:")
"""How a text begins that names a place where a name is allowed as well."""


LocalPlace = Annotated[Path, PlainValidator(_setting), PlainSerializer(_written)]
"""A setting that names a file or folder of this machine."""

AnyPlace = Annotated[
    Path | Bucket, PlainValidator(partial(_set, path_or_bucket)), PlainSerializer(_written)
]
"""A setting that names a file or folder of this machine, or what lies in a bucket."""

LocalPlaces = Annotated[
    tuple[Path, ...],
    PlainValidator(_settings),
    PlainSerializer(lambda places: [*map(_written, places)]),
]
"""A setting that names one file or folder of this machine, or a list of them."""

NameOrPlace = Annotated[str | Path, PlainValidator(_named), PlainSerializer(_written)]
"""A setting that is a name of something, or names a folder of this machine that holds it."""


def places_in(settings: Settings) -> dict[str, Path | Bucket]:
    """Return every place that settings name, by its key in a recipe, such as `render.fonts`.

    Where a key names several the later ones are `render.fonts[1]` and so on.
    """
    held: dict[str, Path | Bucket] = {}
    for name, value in settings:
        if isinstance(value, Path | Bucket):
            held[name] = value
        elif isinstance(value, tuple):
            for number, place in enumerate(value):
                if isinstance(place, Path):
                    held[f"{name}[{number}]" if number else name] = place
        elif isinstance(value, Settings):
            held |= {f"{name}.{key}": place for key, place in places_in(value).items()}
    return held


def apart(settings: Settings, exclude: Collection[str] = ()) -> dict[str, Any]:
    """Return settings as JSON, `recipe`, with nothing where they name places, and the `places`.

    What lies at a place is told by its fingerprint, so that data which moved are the same; where it
    was is for people, in absolute paths.
    """
    recipe = settings.model_dump(mode="json", exclude={*exclude})
    named = places_in(settings)
    for key in named:
        *parents, last = key.split(".")
        if key.partition(".")[0] in exclude or last.endswith("]"):
            continue
        reduce(lambda table, name: table[name], parents, recipe)[last] = None
    places = {
        key: str(Folder(place.absolute()) if isinstance(place, Path) else place)
        for key, place in named.items()
    }
    return {"recipe": recipe, "places": places}


def file_at(place: Where, option: str, endings: Collection[str] = ()) -> tuple[Store, str]:
    """Return where a file that shall be written lies, its folder made, and its name there.

    Raises:
        UserError: naming the option, before minutes of work, when the name ends in none of
            `endings` or no file can be there.
    """
    store = open_store(place)
    try:
        above, name = store.above()
    except UserError as error:
        raise UserError(f"{option} {error}") from error
    if endings and Path(name).suffix.lower() not in endings:
        wanted = " or ".join(endings)
        raise UserError(f"{option} {store} does not end in {wanted}; name such a file")
    if isinstance(store, Folder) and store.path.is_dir():
        raise UserError(f"{option} {store} is a folder; give the name of a file")
    try:
        above.make()
    except UserError as error:
        raise UserError(f"{option} {store}: {error}") from error
    return above, name


def checked_name(name: str) -> str:
    """Return a name that a user gives to what becomes files and scores, if it is a plain one.

    Letters and digits of any script, `_` and `-`, and inside of it `.`.

    Raises:
        UserError: for any other, which could lead out of a folder, and for a longer one than
            NAME_BYTES.
    """
    plain = all(sign in "_-." or category(sign)[0] in "LMN" for sign in name)
    if not plain or not name.strip(".") == name != "" or len(name.encode()) > NAME_BYTES:
        raise UserError(
            f"{name!r} is no name for data; use letters, digits, _, - and inside of it ., at most "
            f"{NAME_BYTES} bytes"
        )
    return name
