"""What a person reads when something goes wrong."""

import errno

import pytest
import typer

from shards import UserError
from shards.console import new_app, print_json, print_table, run


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
