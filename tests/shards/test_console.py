"""What a person reads when something goes wrong."""

import errno
import tempfile

import pytest
import typer

from shards import UserError
from shards.console import (
    BAR,
    ROWS,
    bar,
    new_app,
    print_json,
    print_table,
    printable,
    progress,
    run,
)

STAGED = f"{tempfile.gettempdir()}/nonpareil-0"


def outcome(error, monkeypatch, capsys):
    """Run a command that raises `error`; return (exit code, standard error)."""
    app = new_app("test")

    @app.command()
    def command() -> None:
        raise error

    monkeypatch.setattr("sys.argv", ["test"])
    with pytest.raises(SystemExit) as stop:
        run(app)
    return stop.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("corpus x is\nempty"), 2, "error: corpus x is empty\n"),
        (KeyboardInterrupt(), 130, "error: interrupted; run the same command again to continue\n"),
        (OSError(errno.ENOSPC, "No space", "a.tar"), 2, "error: the disk is full (a.tar); free"),
        (
            OSError(errno.ENOSPC, "No space", f"{STAGED}/a.tar"),
            2,
            f"error: the disk is full for temporary files ({STAGED}/a.tar); "
            "free some space there, or set TMPDIR to",
        ),
        (
            FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/a']"),
            2,
            "error: No usable temporary directory found in ['/a']; set TMPDIR to a folder that",
        ),
        (OSError(errno.EDQUOT, "Quota", "a.tar"), 2, "error: the quota of this disk is used up"),
        (OSError(errno.EFBIG, "File too large"), 2, "error: no file may grow larger here"),
        (
            PermissionError(errno.EACCES, "Permission denied", "b\x1b"),
            2,
            "error: b\\x1b: Permission",
        ),
        (typer.Exit(1), 1, ""),
    ],
)
def test_mistakes_and_interruptions_are_one_line(error, code, said, monkeypatch, capsys):
    found, text = outcome(error, monkeypatch, capsys)
    assert found == code
    assert text.startswith(said)
    assert text.count("\n") == bool(said)


def test_our_own_faults_keep_their_traceback(monkeypatch, capsys):
    app = new_app("test")

    @app.command()
    def command() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("sys.argv", ["test"])
    with pytest.raises(ZeroDivisionError):
        run(app)


def test_rows_for_machines_and_for_people(capsys):
    rows = [{"name": "页", "n": 1234}, {"name": "b", "n": 5}]
    print_json(*rows)
    assert capsys.readouterr().out == '{"name": "页", "n": 1234}\n{"name": "b", "n": 5}\n'
    print_table("title", rows, footer="end")
    out = capsys.readouterr().out
    assert "1,234" in out
    assert "end" in out


def test_a_table_is_printed_as_its_rows_come(capsys):
    def rows():
        for i in range(ROWS + 2):
            if i > ROWS:
                assert "99" in capsys.readouterr().out
            yield {"n": i, "name": "x" * (i > ROWS) * 50}

    print_table("", rows())
    assert "x" * 50 in capsys.readouterr().out


def test_columns_are_aligned_by_what_a_terminal_shows(capsys):
    print_table("", [{"name": "页页", "n": 1}, {"name": "b", "n": 22}])
    assert capsys.readouterr().out == "name   n\n页页   1\nb     22\n"


def test_an_empty_table_is_its_title(capsys):
    print_table("title", [], footer="end")
    assert capsys.readouterr().out == "title\nend\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("页 [bold]x", "页 [bold]x"),
        ("a\u3000b", "a\u3000b"),
        ("\x1b[2J\x9b\n\u202e\udcff", r"\x1b[2J\x9b\n\u202e\udcff"),
    ],
)
def test_what_steers_a_terminal_is_escaped(text, shown):
    assert printable(text) == shown


def test_bars_are_as_long_as_their_share():
    assert [len(bar(share)) for share in (0, 0.5, 1)] == [0, BAR // 2, BAR]
    assert bar(1 / (8 * BAR)) == "▏"


def test_progress_is_silent_where_nobody_watches(capsys):
    with progress("x") as advance:
        advance(1, 2)
    assert capsys.readouterr() == ("", "")
