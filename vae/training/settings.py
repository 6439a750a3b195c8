"""What a training run is: the model, the stages, the objective, how it learns and what it keeps."""

from collections.abc import Mapping
from math import lcm
from pathlib import Path
from typing import Any, Self, cast

from pydantic import Field, field_validator, model_validator

from shards import Settings, UserError
from shards.places import LocalPlace, apart
from shards.settings import Seed, digest
from vae.curriculum.buckets import Sizes, shapes
from vae.curriculum.curriculum import Curriculum
from vae.curriculum.schedule import Rate
from vae.curriculum.stage import Stage, check_stages, streams_of
from vae.objective.alignment import CELL, AlignmentSettings
from vae.objective.losses import Weights
from vae.objective.lpips import LEAST_SIDE
from vae.objective.teacher import teacher_fingerprint
from vae.presets import PRESETS
from vae.settings import VAESettings
from vae.training.guard import GuardSettings
from vae.training.retention import CheckpointSettings
from vae.training.start import Learning
from vae.training.step import Precision

MOVES_NOTHING = {
    *("log_every", "checkpoint_every", "checkpoint", "vgg", "guard", "max_epochs"),
    *("watch_every", "watch_images", "watch_side", "watch_read"),
}
"""Settings that a run may change on its way: no bit depends on them while all steps are good."""


class TrainSettings(Settings):
    """What a training run is.

    `overrides` replaces fields of the preset. `resized` names the streams whose photographs may
    be resized; all else is cropped at native scale. No image is seen more than `max_epochs` times
    (None: as often as the stages draw it). A learned skip starts from the principal
    components of `skip_start` batches, spread over the whole curriculum (0: from the DCT), and
    learns at `skip_rate` times the rate of the network. For every checkpoint the latents of
    `latent_batches` micro-batches, spread over the stage in hand, are measured. `weights` hold in
    every stage without its own; `alignment` and `vgg` (a file, None for torch's cache; see
    vae/objective/lpips.py) matter where one has alignment or lpips. `average` is the half-life of
    the average of the weights in samples, EDM's; 0 keeps none (see vae/training/average.py). A
    line is logged every `log_every` steps, and with `text_metrics` L1 and PSNR inside text by its
    size (vae/data/em.py). Checkpoints are written every `checkpoint_every` samples,
    `checkpoint` says how and which are kept. Every `watch_every` samples the first `watch_images`
    images of each watched set are scored, of each its central `watch_side` px; the first
    `watch_read` of them are read as well (vae/training/watch.py).

    `precision` is that of convs and matrix products (vae/training/step.py); with `compile` torch
    makes one kernel of many. LPIPS sees a random crop of images above `lpips_side` px a side: VGG
    would take more memory than the model, and it judges details.

    `init` is a model to start from, in place of random weights: what `load_model` takes, or a
    folder for diffusers. `train` says which half learns; the other one keeps its bits
    (vae/training/start.py).
    """

    preset: str = "nano"
    overrides: dict[str, Any] = Field(default={})
    init: str | None = None
    train: Learning = "all"
    stages: tuple[Stage, ...]
    resized: tuple[str, ...] = ("general",)
    seed: Seed = 0
    max_epochs: float | None = Field(default=None, gt=0)
    weights: Weights = Weights()
    alignment: AlignmentSettings = AlignmentSettings()
    vgg: LocalPlace | None = None
    rate: Rate = Rate()
    skip_start: int = Field(default=64, ge=0)
    skip_rate: float = Field(default=0.25, gt=0)
    latent_batches: int = Field(default=64, ge=1)
    weight_decay: float = Field(default=1e-4, ge=0)
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = Field(default=1.0, gt=0)
    precision: Precision = "float32"
    compile: bool = False
    lpips_side: int | None = Field(default=512, ge=LEAST_SIDE)
    guard: GuardSettings = GuardSettings()
    average: int = Field(default=500_000, ge=0)
    log_every: int = Field(default=20, ge=1)
    text_metrics: bool = False
    watch_every: int = Field(default=2000, ge=1)
    watch_images: int = Field(default=16, ge=1)
    watch_side: int = Field(default=256, ge=16)
    watch_read: int = Field(default=4, ge=0)
    checkpoint_every: int = Field(default=2000, ge=1)
    checkpoint: CheckpointSettings = CheckpointSettings()

    @model_validator(mode="before")
    @classmethod
    def _speaks_of_samples(cls, value: Any) -> Any:
        if isinstance(value, dict) and "sample_every" in cast("dict[str, Any]", value):
            raise ValueError(
                "sample_every is now watch_every; like checkpoint_every and rate.warmup it counts "
                "samples (see docs/training.md)"
            )
        return value

    @field_validator("stages")
    @classmethod
    def _stages_have_names(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        try:
            check_stages(stages)
        except UserError as error:
            raise ValueError(str(error)) from error
        return stages

    @model_validator(mode="after")
    def _model_can_be_built(self) -> Self:
        colours = self.model().colours
        if colours != 3:
            raise ValueError(f"colours={colours}: shards are read as RGB; train with colours=3")
        return self

    @model_validator(mode="after")
    def _what_is_frozen_has_no_loss(self) -> Self:
        if self.train == "decoder" and self.largest_weights().alignment:
            raise ValueError(
                "train='decoder' freezes the encoder, which alone the alignment moves; "
                "set every weights.alignment to 0"
            )
        return self

    @model_validator(mode="after")
    def _crops_are_whole_blocks_and_not_too_small(self) -> Self:
        block = self.block
        for stage in self.stages:
            for side in (stage.resolution, *stage.also):
                if side % block:
                    raise ValueError(
                        f"stage {stage.name!r}: resolution {side} is no multiple of {block} px, "
                        f"which hold whole blocks of the model (factor {self.model().factor})"
                        + (f" and of the teacher ({CELL})" if self.aligned else "")
                    )
                least = min(min(shape) for shape in shapes(side, stage.aspects, block))
                seen = max(stage.weights_at(at, self.weights).lpips for at in (0.0, 1.0))
                if seen and least < LEAST_SIDE:
                    raise ValueError(
                        f"stage {stage.name!r}: crops of {least} px a side are too small for "
                        f"lpips, which needs {LEAST_SIDE}; raise the resolution or leave lpips out"
                    )
        return self

    @model_validator(mode="after")
    def _resized_streams_exist(self) -> Self:
        drawn = streams_of(self.stages)
        unknown = sorted(set(self.resized) - set(drawn))
        # The default may name a stream that a run does without.
        if unknown and self.resized != type(self).model_fields["resized"].default:
            raise ValueError(
                f"resized names {', '.join(unknown)}, but the stages draw from {', '.join(drawn)}"
            )
        return self

    @property
    def recipe(self) -> str:
        """The digest of what shapes a run: equal ones go on from each other's checkpoints.

        A teacher counts by what its files hold. Whatever `init` names is read before the first
        step, and from then on the checkpoints hold what came of it.
        """
        recipe = apart(self, MOVES_NOTHING)["recipe"]
        if isinstance(self.alignment.teacher, Path) and self.aligned:
            recipe["alignment"]["teacher"] = teacher_fingerprint(self.alignment.teacher)
        return digest(recipe | {"init": None if self.init is None else "given"})

    @property
    def aligned(self) -> bool:
        """Whether any stage has an alignment."""
        return self.largest_weights().alignment > 0

    @property
    def block(self) -> int:
        """Sides of crops are multiples of so many px: whole blocks of model and teacher."""
        return lcm(self.model().factor, CELL if self.aligned else 1)

    def curriculum(self, sizes: Mapping[str, Sizes]) -> Curriculum:
        """Line up the stages over streams of these sizes.

        Raises:
            UserError: when a stage draws from a stream that is not there, or whose images are all
                too small.
        """
        return Curriculum(
            self.stages,
            sizes,
            self.seed,
            block=self.block,
            weights=self.weights,
            rate=self.rate,
        )

    def largest_weights(self) -> Weights:
        """Return each weight at its largest over the stages: what the objective is built for."""
        used = [
            stage.weights_at(progress, self.weights).model_dump()
            for stage in self.stages
            for progress in (0.0, 1.0)
        ]
        return Weights.model_validate({name: max(at[name] for at in used) for name in used[0]})

    def model(self) -> VAESettings:
        """Return the settings of the model: the preset with the overrides."""
        if self.preset not in PRESETS:
            raise ValueError(f"preset={self.preset!r} is unknown; choose {', '.join(PRESETS)}")
        return VAESettings.model_validate(PRESETS[self.preset].model_dump() | self.overrides)
