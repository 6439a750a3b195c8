"""Ranks: N processes of this machine that do one piece of work together, and who watches them.

The process that starts them takes no part. It hands on what rank 0 tells and the signals it gets,
and when a rank dies it ends the others, which would only wait for it. Where it is killed itself,
they end too. Another launcher, as torchrun, says in the environment which rank a process is.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, NamedTuple, NoReturn

from shards.console import FULL_DISK, REFUSED
from shards.errors import UserError
from shards.signals import INTERRUPTED, TERMINATED, answered

PASSED_ON = (signal.SIGINT, signal.SIGTERM)
"""Signals that every rank gets from the process that started it."""

AFTER_DEATH_S, AFTER_SIGNAL_S = 1.0, 300.0
"""How long other ranks may go on when one has died (to tell what they saw of it), or has ended as
a signal asked (to write a checkpoint); our choice."""


class Place(NamedTuple):
    """Which rank a launcher made of this process; `meeting` is the URL where all meet."""

    rank: int
    world: int
    local_rank: int
    meeting: str


LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun, and others like it, set in the environment of each rank."""


def launched() -> Place | None:
    """Return the rank that a launcher says this process is, None where there was none.

    Raises:
        UserError: when what it says is not whole.
    """
    told = {name: os.environ[name] for name in LAUNCHED if os.environ.get(name)}
    if not {"RANK", "WORLD_SIZE"} <= told.keys():
        return None
    try:
        rank, world, local_rank = (int(told[name]) for name in LAUNCHED[:3])
        return Place(
            rank, world, local_rank, f"tcp://{told['MASTER_ADDR']}:{int(told['MASTER_PORT'])}"
        )
    except (KeyError, ValueError) as error:
        given = ", ".join(f"{name}={value}" for name, value in told.items())
        raise UserError(
            f"{given} in the environment make no rank; start by torchrun, or unset them and give "
            "--ranks"
        ) from error


Tell = Callable[[Any], None]
"""Hands something picklable to the process that started the ranks."""


Work = Callable[..., Any]
"""What each rank does: `work(rank, world, meeting, tell, *arguments)`, the ranks meeting at the
URL `meeting`. A function of a module, so that it can be sent."""


class RankDied(UserError):
    """A rank ended otherwise than by finishing; the exit code is its own."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Ended:
    """The last that a rank tells: what its work returned, or why it did not.

    `mistake` is a user's, in one line; `system` what the file system refused; `trace` any other
    error, as Python prints it.
    """

    value: Any = None
    mistake: str = ""
    system: OSError | None = None
    trace: str = ""


@dataclass(slots=True)
class _Rank:
    number: int
    process: BaseProcess
    pipe: Connection | None
    ended: Ended | None = None
    heard: float = 0.0

    def hear(self, show: Tell) -> None:
        """Take what lies in the pipe; only rank 0 is shown."""
        while self.pipe is not None and self.pipe.poll():
            try:
                message = self.pipe.recv()
            except (EOFError, OSError):
                self.pipe.close()
                self.pipe = None
                return
            if isinstance(message, Ended):
                self.ended, self.heard = message, time.monotonic()
            elif self.number == 0:
                show(message)

    @property
    def code(self) -> int | None:
        """Return its exit code, None while it works."""
        return self.process.exitcode

    @property
    def died(self) -> bool:
        """Has it ended, neither by finishing nor as a signal asked?"""
        return self.code not in (None, 0, INTERRUPTED, TERMINATED)


def run_ranks(work: Work, world: int, arguments: Sequence[Any], show: Tell) -> Any:
    """Do `work` in `world` processes of this machine, and return what it returned on rank 0.

    Args:
        work: as `Work` says.
        world: number of processes.
        arguments: for `work`; they are pickled.
        show: called in this process with what rank 0 tells.

    Raises:
        UserError: the first one that a rank raised.
        RankDied: when a rank was killed, or failed by an error of its own.
        KeyboardInterrupt: when all have ended after a SIGINT.
        SystemExit: when all have ended after a SIGTERM.
    """
    # Spawned, not forked: a fork copies locks that the threads of torch may hold.
    context = multiprocessing.get_context("spawn")
    ranks: list[_Rank] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        del frame
        for rank in ranks:
            if rank.code is None and rank.process.pid:
                os.kill(rank.process.pid, number)

    with ExitStack() as stack:
        place = stack.enter_context(TemporaryDirectory(prefix="nonpareil-ranks-"))
        stack.callback(_end, ranks)
        for number in PASSED_ON:
            stack.enter_context(answered(number, pass_on))
        # Blocked ones wait for a rank until it is ready for them, and for us until all are there.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
        try:
            for number in range(world):
                pipe, telling = context.Pipe(duplex=False)
                start = (work, number, world, f"file://{place}/meeting", telling, arguments)
                process = context.Process(target=_live, args=start, name=f"rank {number}")
                process.start()
                telling.close()
                ranks.append(_Rank(number, process, pipe))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _watch(ranks, show)
        _judge(ranks)
    assert ranks[0].ended is not None
    return ranks[0].ended.value


def _watch(ranks: Sequence[_Rank], show: Tell) -> None:
    """Return when all have ended, or when those left have had their time after the first."""
    died = asked = float("inf")
    while working := [rank for rank in ranks if rank.code is None]:
        now = time.monotonic()
        if any(rank.died for rank in ranks):
            died = min(died, now)
        if any(rank.code in (INTERRUPTED, TERMINATED) for rank in ranks):
            asked = min(asked, now)
        left = min(died + AFTER_DEATH_S, asked + AFTER_SIGNAL_S) - now
        if left <= 0:
            break
        pipes = [rank.pipe for rank in ranks if rank.pipe is not None]
        sentinels = [rank.process.sentinel for rank in working]
        wait([*pipes, *sentinels], None if left == float("inf") else left)
        for rank in ranks:
            rank.hear(show)
    for rank in ranks:
        rank.hear(show)


def _judge(ranks: Sequence[_Rank]) -> None:
    """Raise what ended the run, if it did not finish. A rank that others lost is not the cause."""
    died = [rank for rank in ranks if rank.died]
    for rank in died:
        if rank.code is not None and rank.code < 0:
            name = signal.Signals(-rank.code).name
            memory = ", as one that needs more memory than there is" if name == "SIGKILL" else ""
            raise RankDied(
                f"rank {rank.number} was killed by {name}{memory}; {_AGAIN}", 128 - rank.code
            )
    for rank in sorted(died, key=lambda rank: (not (rank.ended and rank.ended.trace), rank.heard)):
        ended, code = rank.ended or Ended(), rank.code or 1
        if ended.trace:
            sys.stderr.write(ended.trace)
            raise RankDied(f"rank {rank.number} failed, as told above; {_AGAIN}", code)
        if ended.system is not None:
            raise ended.system
        if ended.mistake:
            raise RankDied(ended.mistake, code)
        raise RankDied(f"rank {rank.number} ended with exit code {code}; {_AGAIN}", code)
    codes = {rank.code for rank in ranks}
    if INTERRUPTED in codes:
        raise KeyboardInterrupt
    if TERMINATED in codes:
        raise SystemExit(TERMINATED)


_AGAIN = "run the same command again to go on from the newest checkpoint"


def _end(ranks: Sequence[_Rank]) -> None:
    for rank in ranks:
        rank.process.kill()
    for rank in ranks:
        rank.process.join()
        if rank.pipe is not None:
            rank.pipe.close()


def _live(
    work: Work,
    rank: int,
    world: int,
    meeting: str,
    telling: Connection,
    arguments: Sequence[Any],
) -> None:
    """Be one rank: work, and tell how it ended."""
    os.setpgid(0, 0)  # Ctrl-C of a terminal then comes once: from who started us
    threading.Thread(target=end_with_parent, daemon=True).start()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        telling.send(Ended(work(rank, world, meeting, telling.send, *arguments)))
        code = 0
    except UserError as error:
        telling.send(Ended(mistake=str(error)))
        code = error.exit_code
    except KeyboardInterrupt:
        code = INTERRUPTED
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except OSError as error:
        ours = error.errno in {*FULL_DISK, *REFUSED}
        telling.send(Ended(system=error) if ours else Ended(trace=traceback.format_exc()))
        code = 1
    except Exception:
        telling.send(Ended(trace=traceback.format_exc()))
        code = 1
    end_now(code)


def end_now(code: int) -> NoReturn:
    """End this rank without Python's taking it apart.

    Threads of gloo live on where torch's caches hold their group, as after FSDP; one that comes for
    Python's lock while it is taken apart ends the process by SIGABRT, its work done or not.
    """
    for child in multiprocessing.active_children():
        child.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _terminate(number: int, frame: FrameType | None) -> None:
    del number, frame
    sys.exit(TERMINATED)


def end_with_parent() -> None:
    """End this process when the one that started it was killed: waiting, it would never notice."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
