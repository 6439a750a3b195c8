"""The quarantine: shards that failed too often, in one JSON file beside the data.

It holds what is wrong now: a shard leaves it when a later run makes it, and the file goes with
the last one.
"""

import json

from pydantic import TypeAdapter, ValidationError

from shards.errors import UserError
from shards.settings import Settings
from shards.store import Store
from shards.text import read_json

FILE = "quarantine.json"


class Failure(Settings):
    """Why a shard was given up: its index, how often it was tried, and the last error."""

    shard: int
    attempts: int
    error: str
    traceback: str = ""


_FAILURES = TypeAdapter(list[Failure])


class Quarantined(UserError):
    """Some shards failed too often; all others are finished. Exit code 1."""

    exit_code = 1


class Quarantine:
    """The failures of an output, kept in `quarantine.json`."""

    def __init__(self, out: Store) -> None:
        """Read those that earlier runs left in `out`."""
        self.out = out
        remedy = "delete it; the next run notes what fails then"
        rows = read_json(out, FILE, remedy) if out.exists(FILE) else []
        try:
            failures = _FAILURES.validate_python(rows)
        except ValidationError as error:
            raise UserError(f"{out}/{FILE} is no list of failures; {remedy}") from error
        self.failures = {failure.shard: failure for failure in failures}

    def add(self, failure: Failure) -> None:
        """Put one shard in quarantine."""
        self.failures[failure.shard] = failure
        self._save()

    def release(self, shard: int) -> None:
        """Let a shard go that is finished now."""
        if self.failures.pop(shard, None):
            self._save()

    def _save(self) -> None:
        if not self.failures:
            self.out.delete(FILE)
            return
        rows = [self.failures[shard].model_dump() for shard in sorted(self.failures)]
        text = json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
        self.out.replace(FILE, text.encode())


def describe_failures(failures: list[Failure], out: Store) -> str:
    """Say in one line which shards failed, why the first did, and what to do."""
    named = ", ".join(str(failure.shard) for failure in failures[:10])
    more = f" and {len(failures) - 10} more" if len(failures) > 10 else ""
    first = failures[0]
    return (
        f"shards {named}{more} failed (shard {first.shard}, {first.attempts} attempts: "
        f"{first.error}); all others are finished; {out}/{FILE} holds the tracebacks, and the "
        "same command tries these shards again"
    )
