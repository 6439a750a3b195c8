"""Loader processes: batches at given places, made ahead of the step that wants them."""

import logging
import os
import signal
import warnings
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from shards import ShardReader, UserError
from vae.curriculum.curriculum import Curriculum
from vae.curriculum.stage import Stage
from vae.data.batch import Batch
from vae.data.batches import Batches, Place, Readers
from vae.data.unindexed import Unindexed

SHARED = Path("/dev/shm")
"""Where Linux keeps memory that processes share."""

AHEAD = 2
"""Batches that each loader makes before they are wanted (torch's own number)."""

A_CORE = 8
"""Loader processes of a rank for each core of its machine, at most (our choice: those of a bucket
wait most of their time; more take memory and minutes to start)."""

log = logging.getLogger(__name__)


def announce(readers: Readers, loaders: int, *, rank: int = 0, world: int = 1) -> None:
    """Say of each stream without an index, on rank 0, that it resumes by skipping.

    Raises:
        UserError: when it has fewer tars than ranks and loaders that are to read it, or there are
            far more loaders than cores.
    """
    cores = os.cpu_count() or 1
    if loaders > A_CORE * cores:
        raise UserError(
            f"loaders={loaders}: this machine has {cores} cores; give at most {A_CORE * cores}"
        )
    for name, reader in readers.items():
        if isinstance(reader, Unindexed):
            reader.check_parts(name, world * max(1, loaders))
            if not rank:
                log.warning(
                    "stream %s: %d tars without an index: a stopped run goes on by skipping as "
                    "many samples as it had drawn, not by place, so its bits may differ",
                    *(name, len(reader.tars)),
                )


def check_room(stages: Sequence[Stage], loaders: int, *, em: bool) -> None:
    """See that the batches which loaders make ahead fit into this machine's shared memory.

    They cross from process to process there. Containers have 64 MB of it unless told otherwise, and
    what does not fit ends a loader in the middle of a run. `em`: each pixel has that of its text.

    Raises:
        UserError: when they do not fit; other ranks of the machine are not counted.
    """
    if not loaders or not SHARED.is_dir():
        return
    held = os.statvfs(SHARED)
    free = held.f_bavail * held.f_frsize
    largest = max(stage.micro * stage.resolution**2 for stage in stages) * (4 if em else 3)
    need = largest * (loaders * AHEAD + 1)
    if need > free:
        raise UserError(
            f"{SHARED} has {free / 1e6:,.0f} MB free and the batches of {loaders} loaders take up "
            f"to {need / 1e6:,.0f} MB there; give the container more (docker run --shm-size=1g), "
            "fewer --loaders, or --loaders 0"
        )


def read_so_far(readers: Readers, curriculum: Curriculum, n: int, too_small: int) -> dict[str, Any]:
    """Say what was read of streams without an index after `n` samples; nothing without any."""
    drawn = curriculum.drawn(n)
    read = {name: drawn[name] for name in readers if isinstance(readers[name], Unindexed)}
    return {"read": read, "too_small": too_small} if read else {}


def load(
    batches: Batches, places: Iterable[Place], *, loaders: int = 0, pinned: bool = False
) -> Iterator[Batch]:
    """Yield the batches at `places`, in order, made by `loaders` processes or by this one (0).

    `pinned` ones can be copied to a GPU while it computes.

    Raises:
        UserError: what a batch raises, whoever made it; or when a loader process was killed.
    """
    remote = any(
        isinstance(reader, ShardReader) and reader.remote for reader in batches.readers.values()
    )
    warnings.filterwarnings("ignore", "This DataLoader will create")  # `announce` has a limit
    loader: DataLoader[Batch | UserError] = DataLoader(
        _Attempts(batches),
        batch_size=None,
        sampler=places,
        num_workers=loaders,
        collate_fn=_as_it_is,
        pin_memory=pinned,
        worker_init_fn=_undisturbed,
        # Connections to a bucket do not survive a fork.
        multiprocessing_context="spawn" if loaders and remote else None,
        prefetch_factor=AHEAD if loaders else None,
    )
    try:
        for batch in loader:
            if isinstance(batch, UserError):
                raise batch
            # Pinning makes lists of tuples.
            yield batch._replace(keys=tuple(batch.keys), replaced=tuple(batch.replaced))
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise UserError(
            f"a loader process was killed ({str(error).splitlines()[0]}); give fewer --loaders, "
            f"more memory or a larger {SHARED}, then run the same command again"
        ) from error


class _Attempts(Dataset["Batch | UserError"]):
    """Batches, or what came of trying: an error that crosses processes stays the line it is."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __getitem__(self, place: Place) -> Batch | UserError:
        try:
            return self._batches[place]
        except UserError as error:
            return error


def _as_it_is(value: Any) -> Any:
    return value


def _undisturbed(worker: int) -> None:
    """Leave signals to the process that trains, which finishes its step and may need batches.

    Ctrl-C reaches all processes of a terminal, and SIGTERM those of a job; asked a second time, as
    torch does at the end, a loader goes. It also goes when it cannot send a batch: Python would
    print why and leave it out, and the process that trains would wait for it for ever.
    """
    del worker
    Queue._on_queue_feeder_error = staticmethod(_give_up)  # pyright: ignore - the hook for this
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def _give_up(error: Exception, batch: object) -> None:
    """End this loader, from the thread that sends its batches."""
    del batch
    log.error("a loader cannot send a batch: %s", error)
    os._exit(1)
