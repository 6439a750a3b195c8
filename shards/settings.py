"""The base of every settings class, and the digest that names what was asked for.

Settings are frozen and live beside what they configure. Unknown keys are errors, so that a
misspelt option can never be silently ignored.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Immutable, strict about names, comparable by value."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


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
