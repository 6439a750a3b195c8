"""Commit a finished file: give it its name only if that is free, in the ways a file system allows.

A hard link does it on local disks and NFS. Mounts of buckets (rclone, gcsfuse, s3fs) and exFAT have
none and say so with errors of all kinds (EIO, EPERM, ENOSYS, EOPNOTSUPP, EMLINK), so after whatever
a link meets the next way is tried; a disk that is truly broken fails there too.

1. link(2): at once, never over another file.
2. renameat2(2) with RENAME_NOREPLACE: the same, in one call of the kernel (exFAT, vfat, virtiofs).
3. A claim: a hidden file made with O_EXCL gives who made it alone the right to take the name. It
   looks whether the name is free, renames, and removes the claim.

Two that race in the third way: one makes the claim; the other waits until the name is taken, and
has lost, or until the claim is gone, and tries again. The look at the name comes after the claim,
so who claims late sees what the first has put there. Readers see a whole file or none throughout.

A crash between claim and rename leaves a claim, and the name free. Who comes next takes over: at
once where the owner was a process of this machine, else when it has seen the claim for CLAIM_S. To
take over is to make the claim of the next number, with O_EXCL again, so of several who wait one
succeeds, and none removes what another has just made. A crash between rename and removal leaves a
claim beside a finished file: it keeps nobody out, and is swept like all that is left in staging.

What remains is an owner that stood still for CLAIM_S between its look and its rename: it writes
over the file of who took over. Shards are the same bytes then, and a lock finds out by its beat.
On a mount of a bucket O_EXCL holds among the processes of one machine; writers on several machines
need the bucket itself (`s3://…`), whose create is the server's.
"""

import ctypes
import errno
import os
import time
from pathlib import Path

from shards.store.staging import is_gone, owner

CLAIM_S = 60.0
"""Seconds after which the claim of another machine is taken over (our choice: between claim and
rename lies one call, which a mount of a bucket may take seconds for)."""

POLL_S = 0.02
"""Seconds between two looks at the claim of another."""

CANNOT_FLUSH = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF)
"""What file systems say that have no fsync; a disk that fails says EIO."""

HERE, NO_REPLACE = -100, 1
"""AT_FDCWD and RENAME_NOREPLACE of Linux."""


def name_if_free(staged: Path, path: Path) -> bool:
    """Give the finished file `staged` the name `path` unless that is taken; say whether it was.

    Of those that try at the same time, one gets True. `staged` may be left over.

    Raises:
        OSError: when the file system takes no file in any way.
    """
    try:
        os.link(staged, path)
    except FileExistsError:
        # A server of NFS may have linked it, lost the answer, and been asked again: see open(2).
        return staged.stat().st_nlink > 1
    except OSError:
        done = _renamed(staged, path)
        return _claimed(staged, path) if done is None else done
    return True


def _renamed(staged: Path, path: Path) -> bool | None:
    """Try renameat2; None where kernel, C library or file system do not have it."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return None
    if rename(HERE, os.fsencode(staged), HERE, os.fsencode(path), NO_REPLACE) == 0:
        return True
    return False if os.path.lexists(path) else None


def _claimed(staged: Path, path: Path) -> bool:
    left: list[Path] = []  # claims of owners that are gone
    seen = time.monotonic()
    while not os.path.lexists(path):
        claim = path.with_name(f".{path.name}.claim-{len(left)}.tmp")
        if (handle := _new(claim)) is not None:
            try:
                with os.fdopen(handle, "w") as file:
                    file.write(owner())
                if os.path.lexists(path):
                    return False
                staged.replace(path)
                return True
            finally:
                for done in (claim, *reversed(left)):
                    done.unlink(missing_ok=True)
        try:
            held_by = claim.read_text(errors="replace")
        except FileNotFoundError:  # its owner is done, or gave up
            left.clear()
            seen = time.monotonic()
            continue
        except OSError:  # rclone says EIO of a file that is just being written or removed
            held_by = ""
        if is_gone(held_by) or time.monotonic() - seen > CLAIM_S:
            left.append(claim)
            seen = time.monotonic()
        else:
            time.sleep(POLL_S)
    return False


def _new(claim: Path) -> int | None:
    try:
        return os.open(claim, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return None


def flush(handle: int) -> None:
    """Bring an open file, or a folder's list of names, to the disk, where the file system can.

    Mounts of buckets and networks refuse it for folders, with EINVAL mostly: they have no disk.
    """
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in CANNOT_FLUSH:
            raise
