"""Files inside other people's packages that shape pixels, text or scores.

pip keeps the version of a package, not its content: most of these come from small publishers, and
a wheel that changes under its version would change pages without a word. So `embedded.toml` lists
every font, word list and weight file with its SHA-256, and a file is compared before its first
use. `python -m shards.embedded docs/dependencies.md` writes the same table for people.
"""

import json
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from shards.errors import UserError
from shards.settings import Settings
from shards.store import sha256_of

Purpose = Literal["fonts", "words", "weights"]

NOTE = "checked.json"
"""The SHA-256 of files that were read on this machine, in a folder that the caller names."""


class Checksums:
    """SHA-256 of files, each read once a machine.

    A file that has kept its place, length, times, inode and device is not read again. `folder`
    keeps what was found; it is trusted as the glyphs beside it are, and None keeps nothing. Without
    it the fonts take 0.15 s of each process, with it under a millisecond.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Read what `folder` knows; one that cannot be read knows nothing."""
        self._note = folder / NOTE if folder else None
        self._known: dict[str, list[object]] = {}
        self._grown = False
        if self._note:
            try:
                known = json.loads(self._note.read_bytes())
            except (OSError, ValueError):
                return
            if isinstance(known, dict):
                self._known = known

    def of(self, path: Path) -> str:
        """Return the SHA-256 of a file, in hexadecimal.

        Raises:
            OSError: when it cannot be read.
        """
        held = path.stat()
        state = [held.st_size, held.st_mtime_ns, held.st_ctime_ns, held.st_ino, held.st_dev]
        known = self._known.get(str(path))
        if isinstance(known, list) and known[:-1] == state:
            return str(known[-1])
        digest = _sha256(path, *state)
        self._known[str(path)] = [*state, digest]
        self._grown = True
        return digest

    def save(self) -> None:
        """Keep what is new; a folder that cannot be written costs time, never a run."""
        if not self._note or not self._grown:
            return
        temporary = self._note.with_name(f".{NOTE}.{os.getpid()}.tmp")
        try:
            self._note.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(self._known))
            temporary.replace(self._note)
        except OSError:
            with suppress(OSError):
                temporary.unlink()


@cache
def _sha256(path: Path, *state: int) -> str:
    """Read a file, once a process for each `state` that it is found in."""
    del state
    return sha256_of(path)


def installed(module: str) -> Path | None:
    """Return the folder of an installed package, without importing it; None when there is none."""
    spec = find_spec(module)
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else None


class Package(Settings):
    """One package: `files` maps places below the folder of its `module` to SHA-256."""

    name: str
    version: str
    module: str
    publisher: str
    licence: str
    holds: str
    purpose: Purpose
    files: dict[str, str]

    def paths(self, checksums: Checksums | None = None) -> list[Path]:
        """Return its files, compared with the table; none when it is not installed.

        Raises:
            UserError: when one is missing or another than the one we know.
        """
        folder = installed(self.module)
        if folder is None:
            return []
        checksums = checksums or Checksums()
        for name, expected in self.files.items():
            try:
                actual = checksums.of(folder / name)
            except OSError as error:
                actual = error.strerror or "cannot be read"
            if actual != expected:
                raise UserError(
                    f"{folder / name} is not the file we know: SHA-256 {actual}, expected "
                    f"{expected}; run pip install --force-reinstall --no-deps "
                    f"{self.name}=={self.version}; if that brings the same, do not use it: its "
                    "index serves another wheel under this version"
                )
        return [folder / name for name in self.files]


@cache
def packages() -> tuple[Package, ...]:
    """Read the table."""
    table = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
    return tuple(Package.model_validate(row) for row in table["package"])


def package(name: str) -> Package:
    """Return one package of the table."""
    return next(entry for entry in packages() if entry.name == name)


def for_purpose(purpose: Purpose) -> Iterator[Package]:
    """Yield the packages of one purpose, in the order of the table."""
    return (entry for entry in packages() if entry.purpose == purpose)


SLOT = re.compile(r"(<!-- embedded (\w+) -->\n).*?(<!-- end -->)", re.S)
"""Where a document shows the packages of a purpose."""


def fill(document: str) -> str:
    """Put the table into a document in Markdown, between its marks."""
    return SLOT.sub(lambda slot: f"{slot[1]}{_markdown(slot[2])}{slot[3]}", document)


def _markdown(purpose: str) -> str:
    lines = ["| package | publisher | licence | holds |", "| --- | --- | --- | --- |"]
    files: list[str] = []
    for entry in packages():
        if entry.purpose == purpose:
            link = f"[{entry.name}](https://pypi.org/project/{entry.name}/{entry.version}/)"
            lines.append(
                f"| {link} {entry.version} | {entry.publisher} | {entry.licence} | {entry.holds} |"
            )
            files += [f"{digest}  {entry.module}/{name}" for name, digest in entry.files.items()]
    return "\n".join([*lines, "", "```", *files, "```", ""])


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(name).write_text(fill(Path(name).read_text("utf-8")), "utf-8")
