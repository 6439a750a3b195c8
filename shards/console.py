"""How every command talks: tables for people, JSON for machines, one line for a mistake.

Exit codes: 0 done, 1 a check found something wrong, 2 the user's mistake or a full disk,
130 interrupted, 143 terminated.
"""

import errno
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unicodedata import category

import typer

from shards.errors import UserError
from shards.signals import INTERRUPTED, TERMINATED
from shards.terminal import adapt, speaks_unicode

FULL_DISK = {
    errno.ENOSPC: ("the disk is full", "free some space"),
    errno.EDQUOT: ("the quota of this disk is used up", "free some space"),
    errno.EFBIG: ("no file may grow larger here", "raise ulimit -f"),
}
"""What a file system says when it takes no more bytes, how we put it, and what to do."""

REFUSED = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS),
        *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
    }
)
"""What a file system says to a wrong path or a lack of permissions: not a fault of ours."""

SOON_S, ROWS = 0.2, 100
"""Seconds and rows after which a table begins to be printed, as wide as its rows are by then."""

BAR = 30
"""Width of the longest bar, in characters."""


def new_app(help_text: str) -> typer.Typer:
    """Make an application whose errors are ours to print."""
    return typer.Typer(
        help=help_text,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def run_command(function: Callable[..., None]) -> None:
    """Run one function as a whole command line: `python -m pipelines.render …`."""
    app = new_app("")
    app.command()(function)
    run(app)


def run(app: typer.Typer) -> None:
    """Run an application; turn a user's mistake into one line and exit code 2."""
    threading.excepthook = _thread_failed
    adapt()
    try:
        app()
    except SystemExit as stop:
        # typer makes the first of a KeyboardInterrupt and says nothing.
        for code, how in ((INTERRUPTED, "interrupted"), (TERMINATED, "terminated")):
            if stop.code == code:
                fail(f"{how}; run the same command again to continue", code=code)
        raise
    except UserError as error:
        fail(str(error), code=error.exit_code)
    except OSError as error:
        if not (reason := in_one_line(error)):
            raise
        fail(reason)


def in_one_line(error: OSError) -> str:
    """Say what the operating system refused and what to do; nothing where the fault may be ours."""
    if error.errno in REFUSED and error.filename:
        return f"{error.filename}: {error.strerror}; give another path or change its permissions"
    if error.errno == errno.ENOENT and "temporary" in (error.strerror or ""):
        return f"{error.strerror}; set TMPDIR to a folder that can be written to"
    if error.errno not in FULL_DISK:
        return ""
    _, remedy = FULL_DISK[error.errno]
    if _is_ours_and_temporary(error.filename):
        remedy = "free some space there, or set TMPDIR to a folder of another disk,"
    return f"{full_disk(error)}; {remedy} and run the same command again: what is finished is kept"


def full_disk(error: OSError) -> str:
    """Say which disk takes no more bytes, for an error of FULL_DISK."""
    full, _ = FULL_DISK[error.errno or errno.ENOSPC]
    if _is_ours_and_temporary(error.filename):
        full = f"{full.replace('this', 'the')} for temporary files"
    return f"{full} ({_plainly(error.filename)})"


def _plainly(path: str | None) -> str:
    """Name a file, or the folder of one that has a hidden name until it is whole."""
    name = Path(path or "while writing")
    return str(name.parent if name.name.startswith(".") else name)


def _is_ours_and_temporary(path: str | None) -> bool:
    """Is it a file of one of the folders that we make among the temporary ones?"""
    return bool(path) and str(path).startswith(os.path.join(tempfile.gettempdir(), "nonpareil-"))  # noqa: PTH118 - a prefix


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    """Stay silent about a full disk: the main thread meets it too and says it in one line."""
    error = failure.exc_value
    if not (isinstance(error, OSError) and error.errno in FULL_DISK):
        threading.__excepthook__(failure)


def fail(message: str, *, code: int = 2) -> None:
    """Print one line to standard error and exit."""
    sys.stderr.write(f"error: {printable(' '.join(message.split()))}\n")
    raise SystemExit(code)


def print_json(*rows: Mapping[str, Any]) -> None:
    """Print each row as one line of JSON."""
    for row in rows:
        sys.stdout.write(json.dumps(row, ensure_ascii=not speaks_unicode()) + "\n")
    sys.stdout.flush()


def print_rows(rows: Iterable[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print rows as they come, in the form that was asked for."""
    if as_json:
        for row in rows:
            print_json(row)
    else:
        print_table("", rows)


def print_table(title: str, rows: Iterable[Mapping[str, Any]], *, footer: str = "") -> None:
    """Print rows (all with the same keys) as a table; numbers are right-aligned.

    Rows are printed as they come, so a table may be longer than memory. Columns are as wide as
    the rows of the first moment need; a longer cell moves the rest of its line to the right.
    """
    from rich.cells import cell_len

    rows = iter(rows)
    first = list(_of_the_first_moment(rows))
    lines = [[printable(name) for name in first[0]]] if first else []
    lines += [list(map(_cell, row.values())) for row in first]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    right = [isinstance(value, int | float) for value in first[0].values()] if first else []

    def write(cells: Iterable[str]) -> None:
        padded: list[str] = []
        for cell, width, numeric in zip(cells, widths, right, strict=True):
            space = " " * (width - cell_len(cell))
            padded.append(space + cell if numeric else cell + space)
        sys.stdout.write("  ".join(padded).rstrip() + "\n")

    if title:
        sys.stdout.write(_bold(printable(title)) + "\n")
    for line in lines:
        write(line)
    sys.stdout.flush()
    for row in rows:
        write(map(_cell, row.values()))
    if footer:
        sys.stdout.write(printable(footer, keep="\n") + "\n")
    sys.stdout.flush()


def _of_the_first_moment(rows: Iterator[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    until = time.monotonic() + SOON_S
    for count, row in enumerate(rows, 1):
        yield row
        if count == ROWS or time.monotonic() > until:
            return


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs: Mapping[Any, Any] = value
        return ", ".join(f"{printable(str(name))} {held}" for name, held in pairs.items())
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return printable(str(value))
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}"


def printable(text: str, *, keep: str = "") -> str:
    """Escape what would steer a terminal: control characters and marks of direction."""
    if text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable() or char in keep or category(char) == "Zs"
        else char.encode("unicode_escape").decode()
        for char in text
    )


def bar(share: float) -> str:
    """Draw `share` in [0, 1] as a bar of blocks, to an eighth of a character."""
    eighths = round(share * BAR * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() else text


@contextmanager
def progress(title: str) -> Generator[Callable[[int, int], None], None, None]:
    """Show a bar on standard error, if that is a terminal, and remove it at the end.

    What it gives is called with (done, total).
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    # What is printed meanwhile goes where it should, and not with the bar.
    with Progress(
        *(*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn()),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=not sys.stderr.isatty(),
    ) as shown:
        task = shown.add_task(title, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
