"""Taking one step of a run again, to see which of its samples did what.

Everything that holds at a step follows from n, so the step at n can be taken again wherever its
weights are: those of the newest checkpoint before it, after the steps in between. On the machine
that trained these are the same bits.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.utils import get_total_norm

from shards import StoreError, UserError
from shards.store import Places, Where
from vae.curriculum.curriculum import Curriculum, Knobs
from vae.data.batches import Batches, open_streams, sizes_of
from vae.data.unindexed import Unindexed
from vae.objective.balance import Pull
from vae.training.begin import begin
from vae.training.checkpoint import newest
from vae.training.ranks import Ranks
from vae.training.settings import TrainSettings
from vae.training.state import State
from vae.training.step import take


class Replay(NamedTuple):
    """A step taken again: what held, where its weights came from, and a row for each sample."""

    knobs: Knobs
    checkpoint: str
    rows: list[dict[str, Any]]


def replay(
    settings: TrainSettings,
    streams: Mapping[str, Places],
    run: Where,
    n: int,
    *,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Replay:
    """Take the step at `n` of a run, by folder or URL, again, a sample at a time; save nothing.

    A row names the sample's micro-batch and key, the terms of the objective, their total, and the
    norm of the gradient that the model has from this sample alone, before clipping. `progress` is
    called with (steps taken, steps to take) on the way from the checkpoint.

    Raises:
        UserError: when no step begins at `n`, no good checkpoint is from before it, or a stream
            cannot be read by number.
    """
    readers = open_streams(streams, settings.stages)
    for name, reader in readers.items():
        if isinstance(reader, Unindexed):
            raise UserError(
                f"stream {name} has no index, so what a step drew from it cannot be drawn again"
            )
    curriculum = settings.curriculum(sizes_of(readers))
    knobs = _knobs(curriculum, n)
    try:
        checkpoint = newest(run, at_most=knobs.step)
    except StoreError:
        raise
    except UserError as error:
        raise UserError(
            f"{run} holds no good checkpoint from before step {knobs.step + 1}, which begins at n "
            f"{n}; replay a later step"
        ) from error
    batches = Batches(readers, curriculum, resized=settings.resized)
    for name, fingerprint in batches.fingerprints().items():
        if fingerprint != checkpoint.header.streams.get(name):
            raise UserError(
                f"stream {name} does not hold the samples that {run} was trained on; give the "
                "dataset of then"
            )
    state = begin(settings, Ranks(device))
    state.load(checkpoint)
    steps = knobs.step - state.step
    for taken, before in enumerate(curriculum.starts(state.n)):
        if progress is not None:
            progress(taken, steps)
        if before == n:
            break
        at = curriculum.at(before)
        drawn = (batches[before, m] for m in range(at.micro_batches))
        outcome = take(state.reduction, drawn, at, settings.seed, state.balance)
        bad = state.guard.judge(at, outcome.losses, outcome.gradient)
        state.update(at, outcome, settings.clip, bad)
        state.guard.read()
    return Replay(knobs, str(checkpoint.store), _rows(state, batches, knobs, settings.seed))


def _rows(state: State, batches: Batches, knobs: Knobs, seed: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    device = next(state.model.parameters()).device
    ratio = state.balance.ratio() if state.balance and knobs.weights.alignment else None
    for m in range(knobs.micro_batches):
        batch = batches[knobs.n, m]
        for image, key in zip(batch.images.to(device), batch.keys, strict=True):
            state.optimizer.zero_grad(set_to_none=True)
            rng = np.random.default_rng([seed, knobs.n, m])
            pull = None if ratio is None else Pull(ratio, ratio.new_full((2,), torch.nan))
            total, terms = state.reduction.step(image[None], knobs.weights, rng, pull)
            total.backward()
            gradients = [p.grad for p in state.model.parameters() if p.grad is not None]
            values = terms | {"total": total, "gradient_norm": get_total_norm(gradients)}
            numbers = {name: value.item() for name, value in values.items()}
            rows.append({"micro_batch": m, "sample": key, **numbers})
    return rows


def _knobs(curriculum: Curriculum, n: int) -> Knobs:
    try:
        return curriculum.at(n)
    except (IndexError, ValueError) as error:
        raise UserError(f"{error}; take an n of skipped.jsonl or metrics.jsonl") from error
