"""Places: what a user names by path or URL, in an option or a recipe, as one type.

`open_store` alone says what a text means. Here it becomes the type of command-line options and of
settings, so that whatever is no place is told before anything starts. Relative paths are meant from
the working directory, in a recipe too.
"""

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar
from unicodedata import category

from pydantic import PlainSerializer, PlainValidator

from shards.errors import UserError
from shards.store import Folder, Store, Where, local_path, open_store

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


def _setting(where: Where) -> Path:
    try:
        return local_path(where)
    except UserError as error:
        raise ValueError(str(error)) from error


LocalPlace = Annotated[
    Path, PlainValidator(_setting), PlainSerializer(lambda path: str(Folder(path)))
]
"""A setting that names a file or folder of this machine."""


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
