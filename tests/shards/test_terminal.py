"""Whatever standard output is, a command says what it can there and never fails of it."""

import io
import json
import sys

import pytest

from shards.console import bar, new_app, print_json, print_table, run


def told(monkeypatch: pytest.MonkeyPatch, encoding: str) -> str:
    """Print a table and a row of JSON as a command does; return what came out."""
    app = new_app("test")

    @app.command()
    def command() -> None:
        print_table("页 é", [{"name": "a\udcff → 页", "n": bar(0.5)}], footer="… 𝄞")
        print_json({"name": "é 页 𝄞 \udcff"})

    written = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    monkeypatch.setattr("sys.argv", ["test"])
    monkeypatch.setattr(sys, "stdout", written)
    with pytest.raises(SystemExit) as stop:
        run(app)
    assert not stop.value.code
    return written.buffer.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "gbk", "utf-8"])
def test_any_encoding_takes_what_we_print(monkeypatch: pytest.MonkeyPatch, encoding: str):
    *table, row = told(monkeypatch, encoding).splitlines()
    assert json.loads(row) == {"name": "é 页 𝄞 \udcff"}
    if encoding == "ascii":
        assert table == [
            r"\u9875 \xe9",
            "name          n",
            r"a\udcff -> \u9875  " + "#" * 15,
            r"... \U0001d11e",
        ]
    else:
        assert len(table) == 4


def test_closed_streams_lose_what_is_written(monkeypatch: pytest.MonkeyPatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    app = new_app("test")

    @app.command()
    def command() -> None:
        sys.stderr.write("x")
        print_table("x", [{"a": sys.stdin.read()}])

    monkeypatch.setattr("sys.argv", ["test"])
    with pytest.raises(SystemExit) as stop:
        run(app)
    assert not stop.value.code
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.close()
