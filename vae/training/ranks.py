"""Ranks: the processes that train one model together, and how they speak.

Rank and world are arguments; whoever starts the processes knows them. Ranks meet over gloo, those
with a GPU over NCCL as well, which then carries what lies on the GPU. Nothing waits for ever: a
rank that the others leave alone ends with one line that names it.
"""

import datetime
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed

from shards import UserError

TIMEOUT = 600.0
"""Seconds that a rank waits for the others (our choice: longer than a first compiled step)."""


def device_named(name: str) -> torch.device:
    """Return the device that a user names: cpu, mps, cuda, or one GPU of several, cuda:1.

    Raises:
        UserError: when it is of no kind known here, or torch does not see it.
    """
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise UserError(f"device={name} is none that we train on; choose cpu, cuda, cuda:N or mps")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"device={name}: torch {torch.__version__} sees {torch.cuda.device_count()} GPUs here; "
            "choose another or cpu, or install the torch of this machine's driver"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"device={name}: torch {torch.__version__} sees none here; choose cpu")
    return device


class RankLost(UserError):
    """The others are gone or late: what ended them is told elsewhere."""


class Ranks:
    """This process among the `world` that train together: `rank`, from 0, computing on `device`.

    As it is made it is alone, and every exchange returns at once. Each method but `part` must be
    called on all ranks in the same order, and raises UserError where another one is gone or
    `timeout` seconds late.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.rank, self.world = 0, 1
        self.device = device_named(device) if isinstance(device, str) else device
        self._host: Any = None  # torch's name for the group of all
        self._timeout = datetime.timedelta()

    @classmethod
    def join(
        cls,
        rank: int,
        world: int,
        meeting: str | None,
        *,
        device: torch.device | str = "cpu",
        timeout: float = TIMEOUT,
    ) -> "Ranks":
        """Meet the other ranks at `meeting`, a URL that is the same on all.

        It is `file:///path` on one machine, of a file that is not there yet, or `tcp://host:port`
        of rank 0. None where a launcher has made torch's process group already, as Ray does.

        Raises:
            UserError: when the others do not come, or there is no such device.
        """
        self = cls(device)
        if not 0 <= rank < world:
            raise UserError(f"rank {rank} of {world}: ranks count from 0 to {world - 1}")
        if world == 1:
            return self
        self.rank, self.world = rank, world
        self._timeout = datetime.timedelta(seconds=timeout)
        with self.waiting(f"meet the others at {meeting or 'the place of their launcher'}"):
            if meeting is not None:
                if self.device.type == "cuda":
                    torch.cuda.set_device(self.device)
                distributed.init_process_group(
                    "cpu:gloo,cuda:nccl" if self.device.type == "cuda" else "gloo",
                    init_method=meeting,
                    rank=rank,
                    world_size=world,
                    timeout=self._timeout,
                )
            if distributed.get_backend() != "gloo":
                # Small things of the host never wait for a GPU.
                self._host = distributed.new_group(backend="gloo", timeout=self._timeout)
            self._meet()
        return self

    def part(self, parts: int) -> range:
        """Return which of `parts` things in a row are this rank's: `world` divides their number."""
        assert not parts % self.world, "a curriculum is checked against the world before it starts"
        share = parts // self.world
        return range(self.rank * share, (self.rank + 1) * share)

    def gather(self, value: object) -> list[object]:
        """Return what each rank gave, in their order. It is pickled: small things, seldom."""
        values: list[object] = [value] * self.world
        if self.world > 1:
            with self.waiting("gather a value of each"):
                distributed.all_gather_object(values, value, group=self._host)
        return values

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is set on any rank."""
        if self.world == 1:
            return flag
        flags = torch.tensor(int(flag))
        with self.waiting("agree on a flag"):
            distributed.all_reduce(flags, distributed.ReduceOp.MAX, group=self._host)
        return bool(flags.item())

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        if self.world > 1:
            with self.waiting("meet at a barrier"):
                self._meet()

    def from_first(self, mine: Tensor) -> Tensor:
        """Return what rank 0 gave, (...) on the CPU; the others give a tensor to be filled."""
        if self.world > 1:
            with self.waiting("get what rank 0 has made"):
                distributed.broadcast(mine, 0, group=self._host)
        return mine

    def rows(self, mine: Tensor) -> Tensor:
        """Put the rows (k, ...) of each rank below one another: (world k, ...), on the device."""
        if self.world == 1:
            return mine
        rows = [torch.empty_like(mine) for _ in range(self.world)]
        with self.waiting("gather what each has measured"):
            distributed.all_gather(rows, mine)
        return torch.cat(rows)

    def exchange(self, mine: Tensor) -> Tensor:
        """Give row k (world, ...) to rank k; return what each rank gave this one, in order."""
        theirs = torch.empty_like(mine)
        with self.waiting("exchange gradients"):
            distributed.all_to_all(list(theirs), list(mine))
        return theirs

    def leave(self) -> None:
        """Part from the others: this rank is alone after it."""
        if self.world > 1:
            distributed.destroy_process_group()
        self.rank, self.world, self._host = 0, 1, None

    def _meet(self) -> None:
        # Tells rank 0 who is missing, which no other barrier does.
        distributed.monitored_barrier(self._host, self._timeout, wait_all_ranks=True)

    @contextmanager
    def waiting(self, what: str, *, computing: bool = False) -> Generator[None, None, None]:
        """Turn what goes wrong between ranks, while they do `what`, into one line.

        Where they are `computing` as well, what fails on this rank alone, as for want of memory,
        goes on as it is.
        """
        try:
            yield
        except RuntimeError as error:
            spoken = re.search(r"gloo|nccl", str(error), re.IGNORECASE)
            if computing and not spoken and not isinstance(error, distributed.DistError):
                raise
            # Gloo puts a line of its source in front and advice behind.
            said = re.sub(r"^\[[^]]*\.cc:\d+\] ", "", str(error)).partition("\n")[0]
            reason = said.partition(". ")[0] or type(error).__name__
            raise RankLost(
                f"rank {self.rank} of {self.world} could not {what} ({reason}); see which rank "
                "ended first and why, then start all again: they go on from the last checkpoint"
            ) from error


ALONE = Ranks()
"""One process, on the CPU."""
