"""Which runs there are: the arms, the models, the rates, and their order.

Arms differ in the skip alone. Those in ARMS have equally many parameters, the same start weights
but for heads that start silent, and at equal seeds the same batches. Those in EXTRA learn their
skip, have more parameters, and are no part of the comparison.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vae import VAESettings

SMALL: dict[str, Any] = {
    "encoder_width": 8,
    "decoder_width": 8,
    "encoder_blocks": 1,
    "decoder_blocks": 1,
    "mid_blocks": 1,
}
"""All levels of the report at a twelfth of its encoder's widths, one block each: a step of 4 crops
of 64 px takes one core 0.05 s. The decoder is as wide as the encoder (the report's: 1.5 times)."""

MODELS = {
    "f16c64": VAESettings(**SMALL),
    # Its two deepest levels are twice as wide as the report's list would have it: 128 channels of
    # a latent do not pass through 64 features, and only a skip would go round them.
    "f32c128": VAESettings(factor=32, channels=128, multipliers=(1, 1, 2, 4, 16, 16), **SMALL),
}

ARMS: dict[str, dict[str, Any]] = {
    "none": {"skip": "none"},
    "local": {"skip": "local"},
    "global": {"skip": "global"},
    "global-dct": {"skip": "global-dct"},
    "local mirrored": {"skip": "local", "mirror": True},
    "global mirrored": {"skip": "global", "mirror": True},
    "global-dct mirrored": {"skip": "global-dct", "mirror": True},
}
"""Encoder-only and mirrored arms: matched pairs, `none` is the control of both."""

EXTRA: dict[str, dict[str, Any]] = {
    "global-learned": {"skip": "global-learned"},
    "global-learned mirrored": {"skip": "global-learned", "mirror": True},
}

SEEDS = (0, 1, 2, 3)
STEPS = 4_000

RATES = (1e-3, 2e-3, 4e-3)
"""Peaks of the learning rate. One is chosen for all arms (`runs.best_rate`), by the runs of
`search` with SEARCH_ARMS; the other arms and the other model are searched last, to see whether the
order would be another at a rate of each arm's own."""

SEARCH_ARMS = ("none", "global-dct mirrored")
SEARCH_MODEL = "f16c64"
SEARCH_STEPS = 1_000


@dataclass(frozen=True, slots=True)
class Run:
    """Everything a result depends on, besides the code and the images."""

    model: str
    arm: str
    seed: int
    rate: float
    steps: int = STEPS

    @property
    def name(self) -> str:
        """Return the stem of its files."""
        arm = self.arm.replace(" ", "-")
        return f"{self.model}-{arm}-seed{self.seed}-steps{self.steps}-rate{self.rate:g}"

    def settings(self) -> VAESettings:
        """Return the model: one of MODELS with the skip of the arm."""
        skip = (ARMS | EXTRA)[self.arm]
        return VAESettings.model_validate(MODELS[self.model].model_dump() | skip)


def search() -> list[Run]:
    """Return the runs the rate is chosen by."""
    return [_searched(SEARCH_MODEL, arm, rate) for rate in RATES for arm in SEARCH_ARMS]


def plan(rate: float) -> Iterator[Run]:
    """Yield the runs at the chosen rate, each seed of ARMS whole, then of EXTRA, then the rest.

    Cut anywhere, the runs of the finished seeds are a fair comparison.
    """
    for arms in (ARMS, EXTRA):
        for seed in SEEDS:
            yield from (Run(model, arm, seed, rate) for model in MODELS for arm in arms)
    for model in MODELS:
        yield from (_searched(model, arm, rate) for arm in ARMS for rate in RATES)


def _searched(model: str, arm: str, rate: float) -> Run:
    return Run(model, arm, 0, rate, SEARCH_STEPS)
