"""An S3 server on loopback that takes its time: moto, in a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any

BUCKET = "s3://pages"


@contextmanager
def slow_s3(seconds: float) -> Generator[str]:
    """Name a new bucket in which every call takes `seconds` longer; set AWS_* to find it."""
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "benchmarks._slow_s3", str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    try:
        endpoint = server.stdout.readline().strip()
        os.environ |= {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }
        import boto3

        boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=BUCKET[5:])
        yield BUCKET
    finally:
        server.kill()
        server.wait()


def _serve(seconds: float) -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    answer = DomainDispatcherApplication(create_backend_app)

    def slowly(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        time.sleep(seconds)
        return answer(environ, start)

    server = make_server("127.0.0.1", 0, slowly, threaded=True)
    sys.stdout.write(f"http://127.0.0.1:{server.port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    _serve(float(sys.argv[1]))
