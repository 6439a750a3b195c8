"""A training run as it was asked for, and the ways to start it on this machine.

Alone, in several processes, or as the rank that torchrun made of this process; on a
cluster, pipelines/train_ray.py. What runs is `vae.fit` in each: how it was started changes no
weight.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipelines.engine.ranks import Place, Tell, launched, run_ranks
from pipelines.engine.workers import cores
from shards.errors import UserError
from shards.store import each_of

if TYPE_CHECKING:
    from pipelines.evaluation.scoring import ReadingScore
    from shards.signals import Asked
    from shards.store import Places, Where
    from vae import TrainSettings
    from vae.training.ranks import Ranks
    from vae.training.reductions import Reduce


@dataclass(frozen=True, slots=True)
class Training:
    """A training run as it was asked for; it can be sent to the processes that take part.

    `device` is cpu, mps, or cuda, of which each rank on a machine takes one of its own. `reduce` is
    that of `vae.fit`.
    """

    settings: TrainSettings
    streams: Mapping[str, Places]
    out: Where
    watched: Mapping[str, Places] = field(default_factory=dict[str, "Places"])
    loaders: int = 0
    device: str = "cpu"
    from_scratch: bool = False
    reduce: Reduce | None = None

    def device_of(self, local_rank: int) -> str:
        """Return the device of one of several ranks, counted on its machine.

        Raises:
            UserError: when they would have to share it.
        """
        if self.device not in ("cpu", "cuda"):
            raise UserError(
                f"--device {self.device}: several ranks cannot share it; give cuda for a GPU to "
                "each, or cpu, or train with one"
            )
        return f"cuda:{local_rank}" if self.device == "cuda" else self.device

    def usual_ranks(self) -> int:
        """Return how many processes to train in if nobody says: those that are fastest on a CPU.

        One a core, as far as all stages can share their steps. One where others decide: on a GPU,
        as the rank that a launcher made of this process, and with tars that nobody can index,
        which would have to be as many as the ranks.
        """
        from vae.data.unindexed import is_unindexed

        places = [place for where in self.streams.values() for place in each_of(where)]
        if self.device != "cpu" or launched() is not None or any(map(is_unindexed, places)):
            return 1
        ranks = 1 << cores().bit_length() - 1
        while ranks > 1:
            try:
                self.check_shared(ranks)
                break
            except UserError:
                ranks //= 2
        return ranks

    def check_shared(self, world: int) -> None:
        """Raise UserError when `world` ranks cannot share every step, or not in the way asked."""
        from vae.training.execution import check_shared, reduce_on

        check_shared(self.settings.stages, world, self.reduce or reduce_on(self.device))

    def fit(self, ranks: Ranks, tell: Tell, asked: Asked | None = None) -> str:
        """Take part as one of `ranks` and return the last checkpoint.

        Rank 0 tells the rows of metrics. `asked` lets another thread end the run as a signal does.
        """
        from vae import fit

        last = fit(
            self.settings,
            self.streams,
            self.out,
            ranks=ranks,
            reduce=self.reduce,
            loaders=self.loaders,
            progress=tell if ranks.rank == 0 else None,
            from_scratch=self.from_scratch,
            watched=self.watched,
            score=reading(self.settings) if self.watched else None,
            asked=asked,
        )
        return str(last)


def train_to(training: Training, ranks: int = 1) -> str | None:
    """Train in `ranks` processes of this machine, or as the rank that a launcher made of this one.

    Shows how it goes. Returns the last checkpoint, None on other ranks of a launcher than the
    first, which say nothing.

    Raises:
        UserError: as `vae.fit`.
        RankDied: when one of several ranks did not finish.
    """
    from vae.training.ranks import Ranks, device_named

    place = launched()
    if place is not None and ranks != 1:
        raise UserError(
            f"--ranks {ranks}: a launcher made this process rank {place.rank} of {place.world}; "
            "leave --ranks out"
        )
    if place is not None and place.rank:
        take_part(place, training, lambda _: None)
        return None
    device_named(training.device if ranks == 1 else training.device_of(ranks - 1))
    training.check_shared(ranks)
    with shown(training) as show:
        if place is not None:
            return take_part(place, training, show)
        if ranks == 1:
            return training.fit(Ranks(training.device), show)
        return run_ranks(_rank, ranks, [training], show)


def reading(settings: TrainSettings) -> ReadingScore | None:
    """Return what reads watched images, where the settings ask for that.

    Raises:
        UserError: when the OCR engine is not installed.
    """
    if not settings.watch_read:
        return None
    from pipelines.evaluation.scoring import ReadingScore

    score = ReadingScore()
    _ = score.reader  # now, not after an hour of training
    return score


def _rank(rank: int, world: int, meeting: str, tell: Tell, training: Training) -> str:
    """Be one of the processes that `--ranks` starts."""
    return take_part(Place(rank, world, rank, meeting), training, tell)


def take_part(place: Place, training: Training, tell: Tell) -> str:
    """Meet the others, train as the rank of this place, and part."""
    import torch

    from vae.training.ranks import Ranks

    device = training.device_of(place.local_rank) if place.world > 1 else training.device
    if place.world > 1 and device == "cpu":
        # Several threads of a small model wait for each other where others want the cores.
        torch.set_num_threads(1)
    if place.rank:  # what it would warn of, rank 0 says too
        logging.getLogger().addHandler(logging.NullHandler())
    ranks = Ranks.join(place.rank, place.world, place.meeting, device=device)
    last = training.fit(ranks, tell)
    ranks.leave()
    return last


@contextmanager
def shown(training: Training) -> Generator[Tell, None, None]:
    """Give what shows the rows of a run: a bar, or lines where nobody watches a terminal."""
    from pipelines.engine.progress import LINE_SECONDS, progress_bar

    total = sum(stage.samples for stage in training.settings.stages)
    bar = progress_bar()
    task, watched, last = bar.add_task("train", total=total, note=""), False, -LINE_SECONDS

    def show(row: Mapping[str, Any]) -> None:
        nonlocal watched, last
        # Where every step since the last row was skipped there is no loss.
        loss = f"loss {row['total']:.4f}" if "total" in row else "no step taken"
        note = f"{row['stage']}  {loss}  {row['images_per_second']:.0f} img/s"
        now = time.monotonic()
        if bar.console.is_terminal:
            if not watched:  # not before: a mistake is told in one line, without a bar
                bar.start()
            watched = True
            bar.update(task, completed=row["n"], note=note)
        elif now - last > LINE_SECONDS:
            last = now
            line = f"train {row['n']:,}/{total:,} samples  {note}"
            bar.console.print(line, highlight=False, soft_wrap=True)

    try:
        yield show
    finally:
        if watched:
            bar.stop()
