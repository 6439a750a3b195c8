"""Staging: files under a hidden name until they are whole, and what killed processes left so."""

import os
import platform
import re
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

STALE_SECONDS = 3600
"""A temporary file that nobody wrote to for so long is abandoned (our choice: a shard is written
without a pause, sample by sample)."""


def hidden(path: Path) -> Path:
    """Name the file that becomes `path`: hidden, beside it, and this thread's own."""
    return path.with_name(f".{path.name}.{owner()}.tmp")


@contextmanager
def naming(path: Path) -> Generator[None, None, None]:
    """Let an OSError of writing to `path` name it, as one of opening it does."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename is None:
            error.filename = str(path)
        raise


def owner() -> str:
    """Name this thread among those of all machines."""
    return f"{platform.node()}.{os.getpid()}.{threading.get_ident()}"


def is_gone(named: str) -> bool:
    """Is this owner, as `owner` names it, of a process of this machine that lives no more?"""
    here = re.fullmatch(rf"{re.escape(platform.node())}\.(\d+)\.\d+", named)
    return here is not None and not alive(int(here[1]))


Useless = Callable[[str], bool]
"""Is a temporary file of this name of no use to anybody, whoever writes it?"""


def abandoned_in(folder: Path, useless: Useless | None = None) -> list[Path]:
    """List the hidden files of `folder` that are useless, old, or of a process that is gone."""
    abandoned: list[Path] = []
    for path in sorted(folder.glob(".*.tmp")):
        try:
            if (useless and useless(path.name)) or _is_abandoned(path):
                abandoned.append(path)
        except FileNotFoundError:
            continue  # its owner has just put it in place
    return abandoned


def _is_abandoned(path: Path) -> bool:
    here = re.fullmatch(rf"\..*\.({re.escape(platform.node())}\.\d+\.\d+)\.tmp", path.name)
    if here and is_gone(here[1]):
        return True
    return time.time() - path.stat().st_mtime > STALE_SECONDS


def alive(pid: int) -> bool:
    """Is there a process of this number on this machine?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    try:
        status = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return True  # no such folder on this system
    # A process that was killed answers signals until its parent has taken note.
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")
