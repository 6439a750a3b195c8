"""What an object store answers when it refuses, in one line that says what to do.

obstore's errors are trees over many lines, with the answer of the server somewhere inside.
"""

import re
from collections.abc import Generator
from contextlib import contextmanager

from shards.errors import StoreError

LONGEST = 200
"""Characters of an answer that are shown (our choice)."""

AGAIN = "run the same command again"

SAID: dict[str, tuple[str, str]] = {
    r"http://\S+ in (?:.|\n)*builder error": (
        "its endpoint is http://, which is not encrypted and so needs permission",
        "export AWS_ALLOW_HTTP=true, or give an https:// endpoint in AWS_ENDPOINT_URL",
    ),
    r"169\.254\.169\.254|169\.254\.170\.2|metadata\.google": (
        "there are no credentials in the environment, and no machine of a cloud gives any",
        "export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true to read a "
        "public bucket",
    ),
    "RequestTimeTooSkewed": ("", "set the clock of this machine (timedatectl set-ntp true)"),
    "ExpiredToken|TokenRefreshRequired": ("", "renew the credentials in the environment"),
    "SignatureDoesNotMatch|InvalidAccessKeyId|InvalidToken": (
        "",
        "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN",
    ),
    "AuthorizationHeaderMalformed|PermanentRedirect|IllegalLocationConstraint": (
        "",
        "export the region of the bucket in AWS_REGION",
    ),
    "redirect without LOCATION": (
        "the bucket is in another region",
        "export the region of the bucket in AWS_REGION",
    ),
    "NoSuchBucket": ("", "check the URL, or create the bucket first"),
    "AccessDenied|AllAccessDisabled": (
        "",
        "give credentials that may list, read, write and delete there, or another place",
    ),
    r"\b40[13] (?:Unauthorized|Forbidden)|lacked the necessary privileges": (
        "access denied",
        "give credentials that may list, read, write and delete there, or another place",
    ),
    "dns error|failed to lookup|Connection refused|ConnectError|ConnectionRefused": (
        "nothing answers at its endpoint",
        "check AWS_ENDPOINT_URL and the network",
    ),
    r"operation timed out|TimedOut|after [1-9]\d* retries": (
        "it gave no good answer in several tries",
        "check AWS_ENDPOINT_URL and the network, or wait",
    ),
    "invalid list response|InvalidListResponse": (
        "what answers at its endpoint is no object store",
        "check AWS_ENDPOINT_URL",
    ),
}
"""What an error is known by, how we put it ("" for the server's own message), and what to do."""


@contextmanager
def answers(url: str) -> Generator[None, None, None]:
    """Turn an error of the object store into one line; a missing file stays what it is.

    A missing bucket is none: what is written there has no place to go.

    Raises:
        StoreError: naming the URL, what the server said and the remedy, and no secret.
    """
    try:
        yield
    except Exception as error:
        no_bucket = isinstance(error, FileNotFoundError) and "NoSuchBucket" in str(error)
        if not (no_bucket or type(error).__module__.startswith("obstore")):
            raise
        raise StoreError(f"{url}: {explained(str(error))}") from error


def explained(text: str) -> str:
    """Find in an error what the server said, and add what to do."""
    message = re.search(r"<Message>(.*?)</Message>", text, re.DOTALL)
    said = message[1].rstrip(".") if message else ""
    for known, (ours, remedy) in SAID.items():
        if re.search(known, text):
            return f"{ours or said or re.split('[|]', known)[0]}; {remedy}, then {AGAIN}"
    plain = re.sub(r"//[^/@\s]*@", "//", " ".join(text.split()))  # no password of an endpoint
    return (
        f"{said or plain[:LONGEST]}; check the URL, the credentials and the endpoint in the "
        f"environment, then {AGAIN}"
    )
