"""What can go wrong for a user, one class per way a caller might want to react.

UserError            what was given cannot be done; the command line prints it, exit code 2
├── UnreadableImage  one image among many is broken; count it, name it and go on
├── ShardError       a shard does not hold what its sidecar says; remake it
└── StoreError       an object store refused or did not answer; try again later
"""


class UserError(Exception):
    """One line that says what was given, what is allowed and what to do."""

    exit_code = 2


class UnreadableImage(UserError):
    """An image file that cannot be opened within the stated bounds."""

    def __init__(self, name: str, reason: str) -> None:
        """Keep `name` (as listed by its source) and `reason` (one short phrase) for the report."""
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason

    def __reduce__(self) -> tuple[type["UnreadableImage"], tuple[str, str]]:
        """Rebuild from both fields when a worker process raises it."""
        return type(self), (self.name, self.reason)


class ShardError(UserError):
    """A shard that is incomplete, altered or not ours."""


class StoreError(UserError):
    """An object store that refused a call or, after several tries, did not answer."""
