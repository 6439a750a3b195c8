"""What a server of objects refuses is one line with its remedy; some servers lack a call."""

import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from shards import StoreError, open_store

pytest.importorskip("obstore")


@pytest.fixture
def server(monkeypatch):
    """A server whose `answer(method)` gives (status, body); `seen` are the methods."""

    class Handler(BaseHTTPRequestHandler):
        def answer_it(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.server.seen.append(self.command)
            code, body = self.server.answer(self.command)
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = answer_it

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.seen = []
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{running.server_port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "AKIA",
            "AWS_SECRET_ACCESS_KEY": "topsecret",
            "AWS_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        yield running
        running.shutdown()
        thread.join()


def fault(code, message="said so"):
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


def refusal():
    with pytest.raises(StoreError) as caught:
        open_store("s3://bucket/x").names()
    told = str(caught.value)
    assert told.startswith("s3://bucket/x: ")
    assert "\n" not in told
    assert "topsecret" not in told
    return told


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (403, fault("AccessDenied"), "said so; give credentials that may list, read, write"),
        (403, b"", "access denied; give credentials"),
        (403, fault("RequestTimeTooSkewed"), "said so; set the clock of this machine"),
        (403, fault("SignatureDoesNotMatch"), "said so; check AWS_ACCESS_KEY_ID"),
        (400, fault("ExpiredToken"), "said so; renew the credentials"),
        (400, fault("AuthorizationHeaderMalformed"), "the region of the bucket in AWS_REGION"),
        (301, b"", "the bucket is in another region; export the region"),
        (200, b"<html>hello", "what answers at its endpoint is no object store"),
        (418, fault("Teapot"), "said so; check the URL, the credentials and the endpoint"),
    ],
)
def test_a_refusal_says_what_to_do(server, status, body, said):
    server.answer = lambda method: (status, body)
    assert said in refusal()


@pytest.mark.parametrize(("tries", "seconds", "calls"), [(2, 60, 3), (10, 0, 1)])
def test_a_call_that_fails_is_tried_again_within_bounds(server, monkeypatch, tries, seconds, calls):
    monkeypatch.setattr("shards.store.bucket.TRIES", tries)
    monkeypatch.setattr("shards.store.bucket.TRYING", timedelta(seconds=seconds))
    server.answer = lambda method: (503, b"")
    refusal()
    assert len(server.seen) == calls


def test_an_endpoint_without_permission_for_http_names_it(server, monkeypatch):
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    assert "export AWS_ALLOW_HTTP=true, or give an https:// endpoint" in refusal()


@pytest.mark.parametrize("code", ["MethodNotAllowed", "AccessDenied"])
def test_a_server_without_bulk_deletion_deletes_one_by_one(server, code):
    """A server that has the call may deny it to who may delete single objects."""
    bulk = (405 if code == "MethodNotAllowed" else 403, fault(code))
    server.answer = lambda method: bulk if method == "POST" else (204, b"")
    store = open_store("s3://bucket/x")
    store.delete("a")
    store.delete("b")
    assert server.seen == ["POST", "DELETE", "DELETE"]
    server.answer = lambda method: (404, b"")
    store.delete("c")
    server.answer = lambda method: (403, fault("AccessDenied", "no"))
    with pytest.raises(StoreError, match=r"^s3://bucket/x: no; give credentials that may"):
        store.delete("d")
