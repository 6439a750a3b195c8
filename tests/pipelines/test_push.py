"""`nonpareil push`, against a hub on loopback that keeps what it is given."""

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipelines.engine.progress import follow
from tests.command import mistake, nonpareil
from tests.pipelines.conftest import INLINE

ROOT = Path(__file__).parents[2]


class Hub(BaseHTTPRequestHandler):
    """What huggingface_hub asks of a hub, for a repository without Xet storage."""

    def log_message(self, *_):
        pass

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, code, value):
        data = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_PUT(self):
        self.server.large[self.path.rpartition("/")[2]] = self.body()
        self.answer(200, {})

    def do_POST(self):
        path, body, url = self.path.partition("?")[0], self.body(), self.server.url
        if self.headers.get("Authorization") != "Bearer hf_good":
            return self.answer(401, {"error": "Invalid user token."})
        if path == "/api/repos/create":
            asked = json.loads(body)
            self.server.made.append(asked)
            return self.answer(200, {"url": f"{url}/datasets/me/{asked['name']}"})
        if path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if "/preupload/" in path:
            told = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".tar") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": told})
        if path.endswith("/info/lfs/objects/batch"):
            objects = [
                asked | {"actions": {"upload": {"href": f"{url}/upload/{asked['oid']}"}}}
                for asked in json.loads(body)["objects"]
            ]
            return self.answer(200, {"objects": objects})
        assert "/commit/" in path, path
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "lfsFile":
                self.server.files[value["path"]] = self.server.large[value["oid"]]
            elif line["key"] == "file":
                assert value["encoding"] == "base64"
                self.server.files[value["path"]] = base64.b64decode(value["content"])
        where = f"{url}/datasets/me/x/commit/{'0' * 40}"
        return self.answer(200, {"success": True, "commitUrl": where, "commitOid": "0" * 40})


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.files, server.large, server.made = {}, {}, []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def push(*words, url, token="hf_good", code=0):
    environment = os.environ | {"HF_ENDPOINT": url, "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1"}
    environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    command = [sys.executable, "-m", "pipelines.push", *map(str, words)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture
def pages(job, tmp_path):
    follow("render", job, tmp_path / "pages", INLINE)
    return tmp_path / "pages"


def test_a_finished_dataset_is_pushed_whole_and_nothing_beside_it(pages, hub):
    nonpareil("finalize", pages)
    (pages / "notes.txt").write_text("mine")
    told = json.loads(nonpareil("push", pages, "me/pages", "--dry-run", "--json").stdout)
    assert hub.files == {}
    done = json.loads(push(pages, "me/pages", "--json", url=hub.url).stdout)
    assert done == told | {"url": f"{hub.url}/datasets/me/pages"}
    there = {path.name: path.read_bytes() for path in pages.iterdir() if path.is_file()}
    assert hub.files == {
        name: data for name, data in there.items() if name not in ("notes.txt", "progress.json")
    }
    assert (done["files"], done["bytes"]) == (len(hub.files), sum(map(len, hub.files.values())))
    (made,) = hub.made
    assert (made["type"], made["visibility"]) == ("dataset", "private")


def test_an_export_is_pushed_as_a_model(hub, tmp_path):
    export = tmp_path / "export"
    nonpareil("export", "nano", "--to", "nonpareil", "--out", export)
    push(export, "me/nano", "--public", url=hub.url)
    assert hub.files == {path.name: path.read_bytes() for path in export.iterdir()}
    assert (hub.made[0].get("type"), hub.made[0]["visibility"]) == ("model", "public")


def test_what_the_hub_refuses_is_one_line(pages, hub):
    nonpareil("finalize", pages)
    for words, url, token, said in (
        ([pages, "me/pages"], hub.url, "hf_bad", "me/pages: the hub refused it"),
        ([pages, "a/b/c"], hub.url, "hf_good", "a/b/c: the hub refused it"),
        ([pages, "me/pages"], "http://127.0.0.1:9", "hf_good", "does not answer"),
    ):
        error = push(*words, url=url, token=token, code=2).stderr
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert said in error
    assert hub.files == {}


def test_what_is_not_finished_is_not_pushed(pages, tmp_path, s3):
    asked = ["me/pages", "--dry-run"]
    assert "holds neither dataset.json nor export.json" in mistake("push", pages, *asked)
    nonpareil("finalize", pages)
    (pages / "README.md").unlink()
    assert "README.md is missing" in mistake("push", pages, *asked)
    nonpareil("finalize", pages)
    shutil.copy(pages / "dataset.json", tmp_path / "old.json")
    (pages / "part-000002.json").unlink()
    assert "has 2 of 3 shards" in mistake("push", pages, *asked)
    nonpareil("finalize", pages, "--allow-missing")
    nonpareil("push", pages, *asked)
    shutil.copy(tmp_path / "old.json", pages / "dataset.json")
    assert "has 2 of 3 shards" in mistake("push", pages, *asked)
    assert "is in a bucket" in mistake("push", s3, *asked)
