"""Show a shard job while it runs, and say what came of it.

What is known is one `Status`; it goes to a bar (or lines, where nobody watches a terminal), to
`progress.json` beside the data, and to Ray's metrics.
"""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipelines.engine.attempts import Made
from pipelines.engine.jobs import Job
from pipelines.engine.metrics import Gauges
from pipelines.engine.quarantine import Failure
from pipelines.engine.run_options import RunOptions
from pipelines.engine.status import State, Status
from pipelines.engine.workers import Run
from shards import StoreError
from shards.outputs import PROGRESS
from shards.signals import interrupted_at_once
from shards.skipped import by_count
from shards.store import Store, Where
from shards.totals import Totals, in_words

FILE_SECONDS = 1.0
"""`progress.json` is written at most this often: each write is a request to a bucket."""

TICK_SECONDS = 0.5
"""How often the views are shown what is under way (our choice: twice in FILE_SECONDS)."""

LINE_SECONDS = 10.0
"""Seconds between lines where standard error is no terminal, as in the log of a Ray job."""


class Watch:
    """Counts what a run makes and how fast."""

    def __init__(self, run: Run) -> None:
        """Start the clock."""
        self.run, self.totals, self.made, self.failed = run, Totals(), Totals(), 0
        self.totals += run.before
        self.ended = set[int]()
        self._start, self._started = time.monotonic(), _now()

    def add(self, outcome: Made | Failure) -> None:
        """Count one shard."""
        self.ended.add(outcome.shard)
        if isinstance(outcome, Failure):
            self.failed += 1
            return
        self.totals += outcome.totals
        if not outcome.already:
            self.made += outcome.totals

    @property
    def seconds(self) -> float:
        """Return the wall time since the start."""
        return time.monotonic() - self._start

    def status(self, state: State) -> Status:
        """Say how things are now."""
        seconds = max(self.seconds, 1e-9)
        ended = len(self.ended)
        left = len(self.run.to_make) - ended
        signs, names = self.run.signs.under_way(), self.run.nodes.names
        under_way = sum(sign.samples for sign in signs)
        return Status(
            state=state,
            done=self.totals.shards,
            total=self.run.total,
            failed=self.failed,
            samples=self.totals.samples,
            bytes=self.totals.bytes,
            dropped=self.totals.reasons(),
            unreadable=len(self.totals.unreadable),
            skipped=by_count(self.totals.skipped),
            samples_per_second=round((self.made.samples + under_way) / seconds, 1),
            bytes_per_second=round(self.made.bytes / seconds, 1),
            eta_seconds=round(seconds / ended * left, 1) if ended else None,
            under_way=under_way,
            workers=len({(sign.node, sign.pid) for sign in signs}),
            nodes={
                names.get(node, node): _written(datetime.fromtimestamp(at, UTC))
                for node, at in sorted(self.run.signs.seen.items())
            },
            silent={
                names.get(node, node): round(silent)
                for node, silent in self.run.signs.silent().items()
            },
            shunned=dict(self.run.nodes.shunned),
            started=self._started,
            updated=_now(),
        )


class View(Protocol):
    """Somewhere to show a status."""

    def show(self, status: Status, latest: Made | Failure | None) -> None:
        """Show it after shard `latest`; one may pass over it while the job still runs."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


class Bar:
    """A moving bar on standard error; lines where that is no terminal."""

    def __init__(self, title: str) -> None:
        """Draw nothing yet."""
        self.title = title
        self._bar = progress_bar()
        self._task = self._bar.add_task(title, total=None, note="")
        self._lines = not self._bar.console.is_terminal
        self._shown = time.monotonic()
        if not self._lines:
            self._bar.start()

    def show(self, status: Status, latest: Made | Failure | None) -> None:
        """Move the bar."""
        del latest
        if not self._lines:
            self._bar.update(
                self._task, total=status.total, completed=status.done, note=status.note()
            )
        elif time.monotonic() - self._shown > LINE_SECONDS or status.state != "running":
            self._shown = time.monotonic()
            end = "" if status.state == "running" else status.state
            if not end and status.eta_seconds is not None:
                end = f"{timedelta(seconds=round(status.eta_seconds))} left"
            line = f"{self.title} {status.done:,}/{status.total:,} shards  {status.note()}  {end}"
            self._bar.console.print(line.rstrip(), highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the bar as it is."""
        if not self._lines:
            self._bar.stop()


class File:
    """`progress.json` beside the data."""

    def __init__(self, out: Store) -> None:
        """Write nothing yet."""
        self.out, self._written = out, -FILE_SECONDS

    def show(self, status: Status, latest: Made | Failure | None) -> None:
        """Replace the file; work goes on where that cannot be done for now."""
        del latest
        if status.state == "running" and time.monotonic() - self._written < FILE_SECONDS:
            return
        self._written = time.monotonic()
        with suppress(StoreError, OSError):
            self.out.replace(PROGRESS, (status.model_dump_json(indent=1) + "\n").encode())

    def close(self) -> None:
        """Leave the file as it is."""


def follow(
    title: str,
    job: Job,
    out: Where,
    options: RunOptions = RunOptions(),
) -> dict[str, Any]:
    """Make the missing shards of a job, show how it goes, and return the sums.

    Args:
        title: what the bar is called.
        job: what to make; this and the others as for `pipelines.engine.workers.Run`.
        out: folder or bucket of the shards.
        options: of the run.

    Returns:
        the row of `Totals` of the whole output, and the seconds and samples per second of this run
        alone; also the nodes that it `shunned`, each with the reason.

    Raises:
        UserError: as `Run` does.
    """
    run = Run(job, out, options)
    watch = Watch(run)
    views: list[View] = [Bar(title), File(run.out)]
    if options.engine == "ray":
        views.append(Gauges(str(run.out)))

    lock = threading.Lock()

    def show(state: State, latest: Made | Failure | None = None) -> None:
        with lock:
            if latest:
                watch.add(latest)
            status = watch.status(state)
            for view in views:
                view.show(status, latest)

    def show_early_end(state: State) -> None:
        # Shards under way when a run ends early may have been finished, though nobody said so.
        with suppress(StoreError, OSError):
            for made in run.meanwhile(watch.ended):
                watch.add(made)
        show(state)

    try:
        # The SIGTERM of a scheduler counts as Ctrl-C: the end of a run is told, not cut off.
        with interrupted_at_once() as asked:
            show("running")
            with _again_and_again(partial(show, "running")), closing(iter(run)) as outcomes:
                for outcome in outcomes:
                    show("running", outcome)
                    if asked.by:
                        raise KeyboardInterrupt
            show("finished")
    except Exception:
        show_early_end("failed")
        raise
    except BaseException:  # Ctrl-C, and the SystemExit that Ray makes of a SIGTERM
        show_early_end("interrupted")
        raise
    finally:
        for view in views:
            view.close()
    return {
        **watch.totals.row(),
        "seconds": round(watch.seconds, 2),
        "samples_per_second": watch.status("finished").samples_per_second,
        "shunned": run.nodes.shunned,
    }


def describe(summary: dict[str, Any]) -> str:
    """Write what `follow` returned for a person."""
    text = f"{in_words(summary)}, {summary['samples_per_second']:,.0f} samples/s"
    shunned = "; ".join(f"{node}: {reason}" for node, reason in summary["shunned"].items())
    return text + (f"; nodes that were shunned: {shunned}" if shunned else "")


def progress_bar() -> Progress:
    """Make the bar that every long step shows on standard error."""
    return Progress(
        SpinnerColumn(),
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
    )


@contextmanager
def _again_and_again(work: Callable[[], None]) -> Generator[None, None, None]:
    """Do `work` every TICK_SECONDS, in a thread, for as long as the block runs."""
    ended = threading.Event()

    def tick() -> None:
        while not ended.wait(TICK_SECONDS):
            work()

    thread = threading.Thread(target=tick, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _written(time: datetime) -> str:
    return time.isoformat(timespec="seconds")


def _now() -> str:
    return _written(datetime.now(UTC))
