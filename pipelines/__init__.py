"""The verbs: recipes in, shards, checkpoints and reports out. The only package that imports ray."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

# OpenMP reads these as torch is loaded, here and in the processes that we start. By default its
# threads spin for one another at the end of each small loop, on cores that other programs want.
# Asleep at once they wake too late for the next loop, so those of libgomp spin for a moment first.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

SIBLINGS = ("filters", "render", "shards", "vae")
"""What else belongs to this package, under names that a user's own files may have."""


def _see_siblings() -> None:
    """See that the siblings are those that lie beside this package.

    `python -m` looks into the working directory first. This runs before any of them is imported,
    whatever command of ours it is.

    Raises:
        ImportError: naming the file that stands in the way.
        SystemExit: with code 2, after the same in one line, where a command is being started.
    """
    here = Path(__file__).resolve().parents[1]
    for name in SIBLINGS:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            continue
        origin = Path(spec.origin).resolve()
        if origin.parent != here / name:
            line = (
                f"{name} would be imported from {origin}, not from {here / name}; rename that, or "
                "start from another folder"
            )
            if sys.argv[:1] == ["-m"]:  # what Python puts there until the module is found
                sys.stderr.write(f"error: {line}\n")
                raise SystemExit(2)
            raise ImportError(line)


_see_siblings()
