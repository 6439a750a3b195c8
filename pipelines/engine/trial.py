"""Try an output before a run needs it: what looks right may take no files, or take them wrongly."""

from uuid import uuid4

from shards.errors import UserError
from shards.outputs import folder_for
from shards.store import Store


def try_out(out: Store) -> None:
    """Do in an output what a run does there, with one small file of a name that nobody else takes.

    Creates it, tries to create it again, replaces it, puts a staged file in its place, reads,
    lists and removes it: all that shards, progress and lock need. A folder is made and removed.

    Raises:
        UserError: when the output does not do one of these as it should.
        OSError: when the file system refuses one.
    """
    name = f"preflight-{uuid4().hex}"
    with folder_for(out):
        try:
            created, again = out.create(name, b"first"), out.create(name, b"second")
            if not created or again or out.read(name) != b"first":
                raise UserError(
                    f"{out} writes over a file where it should refuse to, so that two runs there "
                    "would spoil each other's shards; give another place"
                )
            out.replace(name, b"third")
            staged = out.staging(name)
            staged.write_bytes(b"fourth")
            out.put(staged, name)
            if out.read(name) != b"fourth" or name not in out.names():
                raise UserError(f"{out} does not give back what was written; give another place")
        finally:
            out.delete(name)
        if out.exists(name):
            raise UserError(f"{out} does not remove files; give another place")
