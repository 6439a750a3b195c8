"""Processes that work together: told once, signalled together, and never left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipelines.engine.ranks import RankDied, run_ranks
from shards import UserError

ROOT = Path(__file__).parent.parent.parent.parent


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def note(folder, rank):
    (folder / f"{rank}.tmp").write_text(str(os.getpid()))
    (folder / f"{rank}.tmp").rename(folder / f"{rank}")


def pids(folder, world):
    """Wait until each rank has noted its process."""
    deadline = time.monotonic() + 250
    while len([path for path in folder.iterdir() if not path.suffix]) < world:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return [int((folder / str(rank)).read_text()) for rank in range(world)]


def add(rank, world, meeting, tell, *arguments):
    tell((rank, world))
    tell(meeting.startswith("file://"))
    return rank, sum(arguments)


def test_rank_0_tells_and_returns():
    told = []
    assert run_ranks(add, 2, (3, 4), told.append) == (0, 7)
    assert told == [(0, 2), True]


def fail(rank, world, meeting, tell, folder, how):
    note(folder, rank)
    if rank == 1:
        if how == "mistake":
            raise UserError("no such shard")
        if how == "disk":
            raise OSError(28, "No space left on device", "/full")
        if how == "bug":
            raise ZeroDivisionError("a bug")
        if how == "exit":
            os._exit(7)
        os.kill(os.getpid(), signal.SIGKILL)
    other = pids(folder, 2)[1]
    while alive(other):
        time.sleep(0.02)
    # What a rank sees of another that is gone is not what ended the run.
    raise UserError("rank 0 of 2 could not meet the others")


@pytest.mark.parametrize(
    ("how", "said", "code"),
    [
        ("mistake", "^no such shard$", 2),
        ("bug", "^rank 1 failed, as told above; run the same command again", 1),
        ("exit", "^rank 1 ended with exit code 7; run the same", 7),
        ("kill", "^rank 1 was killed by SIGKILL, as one that needs more memory", 137),
    ],
)
def test_the_first_to_fail_ends_the_run_with_its_exit_code(how, said, code, tmp_path, capfd):
    with pytest.raises(RankDied, match=said) as failure:
        run_ranks(fail, 2, (tmp_path, how), print)
    assert failure.value.exit_code == code
    assert ("ZeroDivisionError: a bug" in capfd.readouterr().err) is (how == "bug")


def test_a_full_disk_stays_what_it_is(tmp_path):
    with pytest.raises(OSError, match="No space left") as failure:
        run_ranks(fail, 2, (tmp_path, "disk"), print)
    assert failure.value.filename == "/full"


def wait_for_signal(rank, world, meeting, tell, folder):
    try:
        note(folder, rank)
        time.sleep(600)
    finally:
        (folder / f"{rank}.saved").touch()


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_reaches_all_ranks(tmp_path, number, raised):
    def send():
        pids(tmp_path, 2)
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    sender.start()
    with pytest.raises(raised) as stop:
        run_ranks(wait_for_signal, 2, (tmp_path,), print)
    sender.join()
    assert raised is KeyboardInterrupt or stop.value.code == 143
    assert {path.stem for path in tmp_path.glob("*.saved")} == {"0", "1"}


def test_ranks_end_with_who_started_them(tmp_path):
    code = (
        "import sys; from pathlib import Path; from pipelines.engine.ranks import run_ranks\n"
        "from tests.pipelines.engine.test_ranks import wait_for_signal\n"
        "run_ranks(wait_for_signal, 2, (Path(sys.argv[1]),), print)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT) as parent:
        try:
            children = pids(tmp_path, 2)
        finally:
            parent.kill()
    deadline = time.monotonic() + 120
    while any(map(alive, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, children))
