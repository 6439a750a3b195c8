"""Each trap of a Ray job is met here, and told in one line."""

import json
import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest

from pipelines import preflight
from pipelines.engine.cluster import require_head, require_shared
from pipelines.preflight import checks
from shards import UserError, open_store
from shards.store import Folder
from tests.command import nonpareil

ROOT = Path(__file__).parent.parent.parent


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def server():
    """A job server that answers what a test wants it to."""

    class Answer(BaseHTTPRequestHandler):
        code, body, seen = 200, b"", []

        def do_GET(self):
            self.seen.append((self.path, self.headers.get("Authorization")))
            self.send_response(self.code)
            self.end_headers()
            self.wfile.write(self.body)

        def log_message(self, *args):
            pass

    Answer.seen = []
    with HTTPServer(("127.0.0.1", 0), Answer) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield Answer, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def found(name, address="http://127.0.0.1:1", folder=ROOT, out=None):
    place = None if out is None else open_store(out)
    return next(check for check in checks(address, Path(folder), place) if check.check == name)


def test_a_server_of_the_same_ray_is_fine(server):
    answer, address = server
    answer.body = json.dumps({"ray_version": version("ray")}).encode()
    assert found("job server", address).verdict == "ok"
    assert answer.seen == [("/api/version", None)]


@pytest.mark.parametrize(
    ("code", "body", "said"),
    [
        (401, b"", "asks for a token"),
        (404, b"", "answers 404: it is no job server"),
        (200, b"<html>", "is no job server"),
        (200, b'{"ray_version": "1.2.3"}', "runs Ray 1.2.3, this is"),
    ],
)
def test_other_servers_are_told(server, code, body, said):
    answer, address = server
    answer.code, answer.body = code, body
    check = found("job server", address)
    assert check.verdict == "fault"
    assert said in check.note


def test_the_token_is_sent_as_ray_would(server, monkeypatch, tmp_path):
    answer, address = server
    answer.body = json.dumps({"ray_version": version("ray")}).encode()
    (tmp_path / "token").write_text("from-a-file\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    found("job server", address)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    found("job server", address)
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    found("job server", address)
    sent = [header for _, header in answer.seen]
    assert sent == [None, "Bearer secret", "Bearer from-a-file"]


def test_no_server_and_no_address_are_told():
    assert "nothing answers" in found("job server", f"http://127.0.0.1:{closed_port()}").note
    assert "give the job server" in found("job server", "127.0.0.1:6379").note


def test_a_python_without_ray_is_told(monkeypatch, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "has no Ray" in found("python on the PATH").note
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert "no `python`" in found("python on the PATH").note


def test_the_repository_is_far_below_the_limit_and_more_is_refused(monkeypatch, tmp_path):
    packaging = pytest.importorskip("ray._private.runtime_env.packaging")
    check = found("working directory")
    assert check.verdict == "ok"
    assert float(check.note.split(" MiB")[0]) < 10
    monkeypatch.setattr(packaging, "GCS_STORAGE_MAX_SIZE", 1 << 16)
    assert "name what the job does not need in .rayignore" in found("working directory").note
    monkeypatch.undo()
    assert "holds no `pipelines`" in found("working directory", folder=tmp_path).note
    assert "is not a folder" in found("working directory", folder=tmp_path / "no").note
    Path(os.fsdecode(bytes(tmp_path / "pipelines") + b"\xd5.jpg")).touch()
    note = found("working directory", folder=tmp_path).note
    assert r"pipelines\xd5.jpg: its name is not UTF-8; rename that file" in note


def test_an_output_must_mean_the_same_everywhere():
    for good in ("/data/pages", "s3://bucket/pages", "file:///data/pages"):
        require_shared(open_store(good))
    with pytest.raises(UserError, match="absolute path that every node sees"):
        require_shared(Folder(Path("runs/pages")))


def test_an_output_is_tried_and_left_as_it_was(s3, tmp_path):
    (tmp_path / "file").write_text("")
    for good in (f"{tmp_path}/a/b", f"file://{tmp_path}/c", f"{s3}/tried"):
        assert found("output", out=good).verdict == "ok"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert open_store(f"{s3}/tried").names() == []
    for bad, said in {
        "/proc/nowhere/x": "/proc/nowhere: No such file or directory; give another path",
        f"{tmp_path}/file/x": "is a file; give a folder",
        "s3://nobucket/x": "The specified bucket does not exist",
    }.items():
        check = found("output", out=bad)
        assert (check.verdict, said in check.note) == ("fault", True), check


def test_an_output_that_overwrites_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(Folder, "create", lambda *given: Folder.replace(*given) or True)
    assert "writes over a file where it should refuse to" in found("output", out=str(tmp_path)).note
    assert list(tmp_path.iterdir()) == []


def test_other_heads_are_a_warning(monkeypatch):
    assert found("other heads").verdict in ("ok", "warning")
    monkeypatch.setattr(preflight, "_name_of", lambda process: "gcs_server")
    check = found("other heads")
    assert check.verdict == "warning"
    assert "`ray stop` ends all of them" in check.note


@pytest.mark.parametrize("address", ["", "auto", "local"])
def test_addresses_that_ray_finds_itself_are_left_to_it(address):
    require_head(address)


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:8265", "127.0.0.1", "head:port", "ray://", "s3://bucket:1"]
)
def test_addresses_that_are_no_head_are_told(address):
    with pytest.raises(UserError, match=r"is not a head; give HOST:6379"):
        require_head(address)


def test_a_head_that_does_not_answer_is_told_at_once():
    with pytest.raises(UserError, match=r"nothing answers at RAY_ADDRESS=127"):
        require_head(f"127.0.0.1:{closed_port()}")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        require_head(f"127.0.0.1:{listening.getsockname()[1]}")


def test_the_command_lists_every_check_and_fails(tmp_path):
    address = f"http://127.0.0.1:{closed_port()}"
    done = nonpareil("preflight", "--address", address, "--out", "runs/x", "--json", code=1)
    rows = {row["check"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert rows["job server"]["verdict"] == rows["output"]["verdict"] == "fault"
    assert rows["ray"]["verdict"] == "ok"
