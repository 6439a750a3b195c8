"""Text and JSON as people save them: any editor may have been at a recipe, a list or a note."""

import codecs
import json
from contextlib import suppress
from math import isfinite
from typing import Any, TypeVar

import orjson
from pydantic import ValidationError

from shards.errors import Unreadable, UserError, foreign
from shards.settings import Settings
from shards.store import Store

S = TypeVar("S", bound=Settings)

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks, which Notepad and PowerShell write, and the codecs that take them off."""


def plain_text(data: bytes) -> str:
    """Return a text in UTF-8, or in UTF-16 that says so, without its byte order mark.

    Raises:
        UnicodeDecodeError: when it is in another encoding.
    """
    for mark, codec in _MARKS.items():
        if data.startswith(mark):
            return data.decode(codec)
    return data.decode()


def foreign_json(data: bytes) -> Any:
    """Return what JSON of other tools says, as far as JSON can: of equal keys the last.

    NaN and infinities, which Python writes, are None; whole numbers beyond 64 bits are floats; what
    is no character is a question mark. Any mark of the byte order is dropped.

    Raises:
        ValueError: when it is no JSON, or nested too deeply.
    """
    with suppress(ValueError):
        return orjson.loads(data)
    try:
        value = json.loads(
            data.decode(json.detect_encoding(data), "replace"),
            parse_constant=lambda _: None,
            parse_float=_finite,
            parse_int=lambda digits: int(digits) if len(digits) < 20 else _finite(digits),
        )
        return orjson.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _finite(digits: str) -> float | None:
    return value if isfinite(value := float(digits)) else None


def read_json(store: Store, name: str, remedy: str) -> Any:
    """Return what a JSON file of a store holds.

    Raises:
        FileNotFoundError: when there is no such file.
        UserError: with the file, the fault and `remedy`, when it is no JSON.
    """
    return _parsed(store.read(name), f"{store}/{name}", remedy)


def read_rows(store: Store, name: str, remedy: str) -> list[Any]:
    """Return what each line of a file holds, in JSON; a last line without an end is left out.

    Raises:
        FileNotFoundError: when there is no such file.
        UserError: with the file, the line, the fault and `remedy`, when one is no JSON.
    """
    lines = store.read(name).split(b"\n")[:-1]
    return [
        _parsed(line, f"{store}/{name} line {n}", remedy)
        for n, line in enumerate(lines, 1)
        if line.strip()
    ]


def _parsed(data: bytes, name: str, remedy: str) -> Any:
    with foreign(name, f"no JSON that can be read; {remedy}", Unreadable):
        try:
            return json.loads(plain_text(data))
        except ValueError as error:
            raise UserError(f"{name} is not JSON ({error}); {remedy}") from error


def read_table(store: Store, name: str, remedy: str) -> dict[str, Any]:
    """Return the table that a JSON file of a store holds.

    Raises:
        FileNotFoundError: when there is no such file.
        UserError: when it is no JSON, or something other than a table.
    """
    table = read_json(store, name, remedy)
    if not isinstance(table, dict):
        raise UserError(f"{store}/{name} holds no table, but a {type(table).__name__}; {remedy}")
    return table


def read_settings(cls: type[S], store: Store, name: str, remedy: str) -> S:
    """Return the settings that a JSON file of a store holds.

    Raises:
        FileNotFoundError: when there is no such file.
        UserError: when it is no JSON, or of other settings.
    """
    table = read_table(store, name, remedy)
    try:
        return cls.model_validate(table)
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(map(str, fault["loc"]))
        raise UserError(f"{store}/{name}: {key}: {fault['msg']}; {remedy}") from error
