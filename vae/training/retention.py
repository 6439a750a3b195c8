"""Which checkpoints of a run stay when a new one is there."""

from collections.abc import Sequence

from pydantic import Field

from shards import Settings
from vae.training.checkpoint import Header

LOWER = ("l1", "lpips", "perceptual")
"""Watched metrics that are better the lower they are."""


class CheckpointSettings(Settings):
    """How checkpoints are written and which are kept.

    `background` writes them behind the training from a copy in memory. Kept are the newest `keep`;
    where `keep_every` is not 0, of each stretch of so many samples the first one; and the one with
    the best `keep_best`, a score that is watched, as `pages.psnr`.
    """

    background: bool = True
    keep: int = Field(default=2, ge=1)
    keep_every: int = Field(default=0, ge=0)
    keep_best: str = ""


def kept(headers: Sequence[Header], settings: CheckpointSettings) -> set[str]:
    """Name those that stay of good checkpoints, oldest first.

    What stays does not depend on which were removed before: it is safe to be killed in between.
    """
    stay = {header.name for header in headers[-settings.keep :]}
    if settings.keep_every:
        last = 0
        for header in headers:
            if header.n // settings.keep_every > last:
                stay.add(header.name)
            last = header.n // settings.keep_every
    scored = [header for header in headers if settings.keep_best in header.scores]
    if scored:
        sign = -1 if settings.keep_best.rpartition(".")[2] in LOWER else 1
        stay.add(max(scored, key=lambda header: sign * header.scores[settings.keep_best]).name)
    return stay
