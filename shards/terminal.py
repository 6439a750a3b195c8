"""Standard output as hosts have it: of any encoding, closed from the start, or by `| head`.

The one place for it: every command goes through `shards.console.run`, which calls `adapt` first.
"""

import codecs
import io
import os
import sys

PLAIN = str.maketrans(dict.fromkeys("▏▎▍▌▋▊▉") | {"█": "#", "→": "->", "…": "...", "−": "-"})
"""What we print ourselves beyond ASCII, in ASCII."""


def adapt() -> None:
    """Make the standard streams take any text and, where they are closed, lose it.

    What an encoding lacks (ASCII of a cron job, cp1252, latin-1) is written plainly: PLAIN for our
    own marks, an escape as Python writes it for the rest. UTF-8 lacks names that are not Unicode.
    """
    codecs.register_error("plain", _plainly)
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # Also so that the next file that is opened does not become standard output.
            nothing = open(os.devnull, "r+", encoding="utf-8")  # noqa: PTH123, SIM115 - for good
            setattr(sys, name, nothing)
        elif isinstance(stream, io.TextIOWrapper) and name != "stdin":
            stream.reconfigure(errors="plain")


def speaks_unicode() -> bool:
    """Can standard output show any text?"""
    return (sys.stdout.encoding or "utf-8").lower().startswith("utf")


def _plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(PLAIN)
    return text.encode("ascii", "backslashreplace").decode(), error.end
