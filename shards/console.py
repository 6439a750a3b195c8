"""How every command talks: tables for people, JSON for machines, one line for a mistake.

Exit codes: 0 done, 1 a check found something wrong, 2 the user's mistake or a full disk,
130 interrupted.
"""

import errno
import json
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer

from shards.errors import UserError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT})


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
    try:
        app()
    except SystemExit as stop:
        if stop.code != INTERRUPTED:
            raise
        # typer makes this of a KeyboardInterrupt and says nothing.
        fail("interrupted; run the same command again to continue", code=INTERRUPTED)
    except UserError as error:
        fail(str(error), code=error.exit_code)
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        fail(
            f"the disk is full ({error.filename or 'while writing'}); free some space and run the "
            "same command again: finished shards are kept"
        )


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    """Stay silent about a full disk: the main thread meets it too and says it in one line."""
    error = failure.exc_value
    if not (isinstance(error, OSError) and error.errno in FULL_DISK):
        threading.__excepthook__(failure)


def fail(message: str, *, code: int = 2) -> None:
    """Print one line to standard error and exit."""
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    raise SystemExit(code)


def print_json(*rows: Mapping[str, Any]) -> None:
    """Print each row as one line of JSON."""
    for row in rows:
        sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")


def print_table(title: str, rows: Sequence[Mapping[str, Any]], *, footer: str = "") -> None:
    """Print rows (all with the same keys) as a table; numbers are right-aligned."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", caption=footer, caption_justify="left")
    for row in rows[:1]:
        for name, value in row.items():
            table.add_column(name, justify="right" if isinstance(value, int | float) else "left")
    for row in rows:
        table.add_row(*[_cell(value) for value in row.values()])
    Console().print(table)


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}"
