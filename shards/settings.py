"""The base of every settings class, and the digest that names what was asked for.

Settings are frozen and live beside what they configure. Unknown keys are errors, so that a
misspelt option can never be silently ignored.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict

LARGEST_SEED = 2**64 - 1
"""Largest seed: what JSON, torch and `shards.Order` hold."""


def _seed(seed: int) -> int:
    if not 0 <= seed <= LARGEST_SEED:
        raise ValueError("a seed is a whole number from 0 to 2^64 - 1")
    return seed


Seed = Annotated[int, AfterValidator(_seed)]
"""What random numbers start from."""


class Settings(BaseModel):
    """Immutable, strict about names, comparable by value; its numbers are finite."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )


def canonical_json(value: Mapping[str, Any]) -> str:
    """Write `value` with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the canonical JSON of `value`, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Name every key at which two JSON tables differ, as `a.b: old → new`."""
    changes: list[str] = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if key == "digest":
            continue
        inner = _table(before), _table(after)
        if inner[0] and inner[1] and (isinstance(before, dict) or len(inner[0]) == len(inner[1])):
            changes += [f"{key}.{line}" for line in differences(*inner)]
        elif before != after:
            changes.append(f"{key}: {before!r} → {after!r}")
    return changes


def _table(value: Any) -> dict[str, Any]:
    """Return a table, or a list of tables by their places; all else is empty."""
    if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
        return {str(place): entry for place, entry in enumerate(value)}
    return value if isinstance(value, dict) else {}
