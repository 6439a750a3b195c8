"""The output of a run: the folder or bucket that this run alone writes to.

    settings.json       what was asked for
    step-000500/        checkpoints, see vae/training/checkpoint.py
    broken-step-000400/ one that was not whole when the run went on
    lock.json           who is at work here, while somebody is
    metrics.jsonl …     records, see vae/training/record.py

A checkpoint is copied to memory and written behind the training, one at a time. Records are written
to a local folder: the output itself or, for a bucket, a temporary one that is sent along with every
checkpoint.
"""

import json
import logging
import tempfile
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import reduce
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from shards import StoreError, UserError
from shards.settings import differences
from shards.store import Folder, Where, open_store
from shards.store.lock import LOCK, Lock
from shards.text import read_table
from vae.training.checkpoint import (
    Checkpoint,
    Header,
    Snapshot,
    checkpoints,
    folders,
    newest,
    remove,
)
from vae.training.ranks import Ranks
from vae.training.retention import kept
from vae.training.settings import MOVES_NOTHING, TrainSettings
from vae.training.state import State

SETTINGS = "settings.json"

log = logging.getLogger(__name__)


class Output:
    """Where a run writes; all ranks call its methods together, and rank 0 alone writes."""

    def __init__(
        self,
        where: Where,
        settings: TrainSettings,
        streams: Mapping[str, str],
        ranks: Ranks,
        *,
        from_scratch: bool = False,
    ) -> None:
        """Name the output of a run of `settings` over streams of these fingerprints."""
        self.store, self.settings, self.streams = open_store(where), settings, streams
        self.ranks, self.from_scratch = ranks, from_scratch
        self.last = ""
        """The name of the newest checkpoint, "" while there is none."""
        self.local = Path()
        """Where rank 0 writes records."""
        self._writing: Future[None] | None = None
        self._headers: dict[str, Header] = {}
        self._sent: dict[Path, tuple[int, int]] = {}

    def __enter__(self) -> Self:
        """Take the output and decide what the run goes on from, `last`.

        Raises:
            UserError: when another run is at work here, or left what this one cannot go on from.
        """
        self._leave = ExitStack()
        outcome: str | Exception = ""
        if self.ranks.rank == 0:
            try:
                outcome = self._open()
            except (OSError, UserError) as error:
                self._leave.close()
                outcome = error
        outcome = cast(str | Exception, self.ranks.gather(outcome)[0])
        if isinstance(outcome, Exception):
            raise outcome
        self.last = outcome
        return self

    @property
    def n(self) -> int:
        """The samples seen by the newest checkpoint, 0 while there is none; rank 0 knows."""
        return self._headers[self.last].n if self.last in self._headers else 0

    def before(self, step: int) -> Checkpoint:
        """Return the newest good checkpoint from before step number `step` was taken.

        Raises:
            UserError: when there is none.
        """
        self.finish()
        self.ranks.barrier()
        try:
            return newest(self.store, at_most=step)
        except StoreError:
            raise
        except UserError as error:
            raise UserError(
                f"after step {step} steps are bad, and {self.store} holds no good checkpoint from "
                "before them; lower rate.peak or clip, or mend the streams, and start again"
            ) from error

    def place(self, name: str) -> Path | str:
        """Return the folder of a checkpoint, or its URL."""
        store = self.store.inside(name)
        return store.path if isinstance(store, Folder) else str(store)

    def save(self, state: State) -> None:
        """Publish a checkpoint, unless it is there; behind the training where settings say so.

        Raises what went wrong with the one before, or with this one where it is not behind.
        """
        self.finish()
        name = f"step-{state.step:06d}"
        if name == self.last:
            return
        snapshot = state.snapshot(self.settings.recipe, self.streams, self.ranks)
        self.last = name
        if snapshot is not None:
            self._writing = self._writer.submit(self._publish, snapshot)
        if not self.settings.checkpoint.background:
            self.finish()

    def finish(self) -> None:
        """Wait until the checkpoint under way is durable, and raise what went wrong with it."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish what is under way and leave the output to others."""
        with self._leave:
            if self.ranks.rank:
                return
            try:
                self.finish()
                self._send()
            except (OSError, UserError):
                if error is None:
                    raise
                log.exception("while a run ends because of another error")

    def _open(self) -> str:
        """Take the output on rank 0; return the name of the checkpoint to go on from."""
        self.store.make()
        names = {*self.store.names()} - {LOCK}
        if names and SETTINGS not in names:
            raise UserError(
                f"{self.store} is not empty and holds no {SETTINGS} of a training run; give "
                "another --out"
            )
        self._lock = self._leave.enter_context(Lock(self.store))
        self.store.sweep()
        last = self._choose()
        self.store.replace(SETTINGS, (self.settings.model_dump_json(indent=1) + "\n").encode())
        if isinstance(self.store, Folder):
            self.local = self.store.path
        else:
            temporary = tempfile.TemporaryDirectory(prefix="nonpareil-")
            self.local = Path(self._leave.enter_context(temporary))
            for name in self.store.names():
                if name.endswith(".jsonl"):
                    (self.local / name).write_bytes(self.store.read(name))
        self._writer = self._leave.enter_context(ThreadPoolExecutor(1, "checkpoint"))
        return last

    def _choose(self) -> str:
        """Find the newest good checkpoint, and move aside what is none."""
        broken: list[str] = []
        for name in checkpoints(self.store):
            try:
                self._headers[name] = Checkpoint(self.store.inside(name)).verify().header
            except StoreError:
                raise
            except UserError as error:
                log.warning("%s", error)
                broken.append(name)
        if broken and not self._headers and not self.from_scratch:
            raise UserError(
                f"{self.store} holds {len(broken)} checkpoints ({broken[-1]} the newest) and none "
                "is good; restore one, begin anew with --from-scratch, or give another --out"
            )
        last = max(self._headers.values(), key=lambda header: header.step, default=None)
        if last is not None:
            self._check(last)
        for name in broken:
            self.store.move(name, f"broken-{name}")
        for name in {*folders(self.store)} - {*self._headers}:
            self.store.remove(name)  # cut off while it was written
        return last.name if last else ""

    def _check(self, header: Header) -> None:
        """Raise UserError when another recipe, start or other samples made a checkpoint."""
        self._check_start()
        if header.recipe != self.settings.recipe:
            before = read_table(self.store, SETTINGS, "give another --out")
            changes = [
                change
                for change in differences(before, json.loads(self.settings.model_dump_json()))
                if change.partition(":")[0].partition(".")[0] not in MOVES_NOTHING
            ]
            named = "; ".join(changes[:3]) or "alignment.teacher: other files"
            raise UserError(
                f"{self.store} was trained by another recipe ({named}); give the settings of "
                "before or another --out"
            )
        changed = [name for name in header.streams if header.streams[name] != self.streams[name]]
        if changed:
            raise UserError(
                f"{self.store} was trained on other samples than stream {', '.join(changed)} holds "
                "now; give the samples of before or another --out"
            )

    def _check_start(self) -> None:
        """Raise UserError where `init` names another place than before.

        It is not read again, as what lies there may have gone or learned more since; so its name
        alone counts, and may stay what it was wherever those files are now.
        """
        before = read_table(self.store, SETTINGS, "give another --out").get("init")
        now = self.settings.init
        if None not in (before, now) and _resolved(before) != _resolved(now):
            raise UserError(
                f"{self.store} began from init {before}, not from {now}; give the init of before "
                "or another --out"
            )

    def _publish(self, snapshot: Snapshot) -> None:
        self._lock.check()
        self._send()
        snapshot.publish(self.store)
        self._headers[snapshot.header.name] = snapshot.header
        headers = sorted(self._headers.values(), key=lambda header: header.step)
        for name in {*self._headers} - kept(headers, self.settings.checkpoint):
            del self._headers[name]
            remove(self.store, name)

    def _send(self) -> None:
        """Bring what was recorded since the last time to the bucket."""
        if isinstance(self.store, Folder):
            return
        for path in sorted(path for path in self.local.rglob("*") if path.is_file()):
            state = path.stat().st_size, path.stat().st_mtime_ns
            if self._sent.get(path) != state:
                *folders, name = path.relative_to(self.local).parts
                store = reduce(lambda above, folder: above.inside(folder), folders, self.store)
                store.replace(name, path.read_bytes())
                self._sent[path] = state


def _resolved(init: Any) -> str:
    """Write the name of a published model, or a place however it is spelled, in one way."""
    store = open_store(str(init))
    return str(store.path.resolve()) if isinstance(store, Folder) else str(store)
