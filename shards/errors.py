"""What can go wrong for a user, one class per way a caller might want to react.

UserError            what was given cannot be done; the command line prints it, exit code 2
├── Unreadable       one thing among many is broken; count it, name it and go on
│   └── UnreadableImage  the same of an image
├── ShardError       a shard does not hold what its sidecar says; remake it
└── StoreError       an object store refused or did not answer; try again later
"""

import errno
from collections.abc import Generator
from contextlib import contextmanager

OUR_HOST = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
)
"""Errors of the operating system that say nothing about the file that was being read."""


class UserError(Exception):
    """One line that says what was given, what is allowed and what to do."""

    exit_code = 2


class Unreadable(UserError):
    """One of many things that other people made (an image, a font, a tar member) cannot be read."""

    def __init__(self, name: str, reason: str) -> None:
        """Keep `name` (as listed by its source) and `reason` (one short phrase) for the report."""
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason

    def __reduce__(self) -> tuple[type["Unreadable"], tuple[str, str]]:
        """Rebuild from both fields when a worker process raises it."""
        return type(self), (self.name, self.reason)


class UnreadableImage(Unreadable):
    """An image that cannot be opened within the stated bounds."""


@contextmanager
def foreign(
    name: str, reason: str, error: type[Unreadable] = UnreadableImage
) -> Generator[None, None, None]:
    """Read something that other people made: the one boundary, whatever the library is.

    Parsers raise anything on bytes they did not expect (KeyError, struct.error, RecursionError,
    AssertionError, a missing optional package), so no list of classes is ever whole. Inside this
    block every Exception becomes `error` of `name` and `reason`. What tells of us and not of the
    thing goes through as it is: a UserError, which has its reason already, MemoryError, an
    OSError of OUR_HOST, and whatever is no Exception, such as KeyboardInterrupt.

    Raises:
        Unreadable: of the class `error`, the original exception being its cause.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as cause:  # the only place where this is right
        if isinstance(cause, OSError) and cause.errno in OUR_HOST:
            raise
        raise error(name, reason) from cause


class ShardError(UserError):
    """A shard that is incomplete, altered or not ours."""


class StoreError(UserError):
    """An object store that refused a call or, after several tries, did not answer."""
