"""A cache folder where a machine gives its user none: no HOME, no passwd, a uid of a container.

Compiled code, drawn glyphs, matplotlib and torch all keep what they make in the user's cache folder
and fail, or litter the working directory, where there is none that can be written to.
"""

import logging
import os
import pwd
import stat
import tempfile
from pathlib import Path

from shards.errors import UserError

CACHE = "XDG_CACHE_HOME"
"""What names the cache folder to numba, torch and us; ~/.cache where it is not set."""

log = logging.getLogger(__name__)


def have_cache() -> None:
    """See to it that there is a cache folder, for this process and those that it starts.

    Where the user's cannot be written to, the environment names `private_folder()` from now on, and
    the log says so, once. To be called before anything is compiled: the one place where a library
    of ours touches the environment, as numba looks nowhere else.

    Raises:
        UserError: when the private folder is another user's.
    """
    told = os.environ.get(CACHE)
    try:
        cache = Path(told) if told else Path("~/.cache").expanduser()
    except RuntimeError:  # no HOME, and no entry in passwd
        cache = None
    if cache and _can_be_written(cache):
        return
    folder = private_folder()
    log.warning(
        "%s: what is compiled and drawn is kept in %s; set %s to keep it elsewhere",
        f"{cache} cannot be written to" if cache else "this user has no home folder",
        folder,
        CACHE,
    )
    os.environ[CACHE] = str(folder)
    os.environ.setdefault("MPLCONFIGDIR", str(folder / "matplotlib"))
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("USER", str(os.getuid()))  # torch asks for a name


def private_folder() -> Path:
    """Return this user's own folder among the temporary ones, which nobody else can write to.

    Machine code lies there, so it is never one that somebody else has made.

    Raises:
        UserError: when another user, or a file, is in its place.
    """
    folder = Path(tempfile.gettempdir()) / f"nonpareil-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        held = folder.lstat()
        if not stat.S_ISDIR(held.st_mode) or held.st_uid != os.getuid():
            raise UserError(
                f"{folder} is not a folder of this user, and would be trusted with machine code; "
                "have it removed, or set TMPDIR to a folder of your own"
            ) from None
        if held.st_mode & 0o077:
            folder.chmod(0o700)
    return folder


def _can_be_written(folder: Path) -> bool:
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
