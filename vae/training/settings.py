"""What a training run is: the model, the stages, the objective, how it learns and what it keeps."""

from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from shards import Settings
from vae.objective.alignment import AlignmentSettings
from vae.objective.losses import Weights
from vae.presets import PRESETS
from vae.settings import VAESettings
from vae.training.curriculum import Curriculum, Stage
from vae.training.schedule import Rate


class TrainSettings(Settings):
    """What a training run is.

    `overrides` replaces fields of the preset. `resized` names the streams whose photographs may
    be resized; all else is cropped at native scale. A learned skip starts from the principal
    components of `skip_start` batches, spread over the whole curriculum (0: from the DCT), and
    learns at `skip_rate` times the rate of the network. When the run ends, the latents of
    `latent_batches` batches, spread over the last stage, are measured. `weights` hold in every
    stage without its own; `alignment` and `vgg` (a file, None for torch's cache; see
    vae/objective/lpips.py) matter where one has alignment or lpips.
    """

    preset: str = "nano"
    overrides: dict[str, Any] = Field(default={})
    stages: tuple[Stage, ...]
    resized: tuple[str, ...] = ("general",)
    seed: int = Field(default=0, ge=0)
    weights: Weights = Weights()
    alignment: AlignmentSettings = AlignmentSettings()
    vgg: Path | None = None
    rate: Rate = Rate()
    skip_start: int = Field(default=64, ge=0)
    skip_rate: float = Field(default=0.25, gt=0)
    latent_batches: int = Field(default=64, ge=1)
    weight_decay: float = Field(default=1e-4, ge=0)
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = Field(default=1.0, gt=0)
    log_every: int = Field(default=20, ge=1)
    sample_every: int = Field(default=200, ge=1)
    checkpoint_every: int = Field(default=200, ge=1)

    @model_validator(mode="after")
    def _model_can_be_built(self) -> Self:
        factor, colours = self.model().factor, self.model().colours
        if colours != 3:
            raise ValueError(f"colours={colours}: shards are read as RGB; train with colours=3")
        for stage in self.stages:
            if stage.resolution % factor:
                raise ValueError(
                    f"stage {stage.name!r}: resolution {stage.resolution} is no multiple of the "
                    f"model's factor {factor}"
                )
        return self

    @model_validator(mode="after")
    def _resized_streams_exist(self) -> Self:
        drawn = Curriculum(self.stages).streams
        unknown = sorted(set(self.resized) - set(drawn))
        # The default may name a stream that a run does without.
        if unknown and self.resized != type(self).model_fields["resized"].default:
            raise ValueError(
                f"resized names {', '.join(unknown)}, but the stages draw from {', '.join(drawn)}"
            )
        return self

    def weights_at(self, stage: Stage) -> Weights:
        """Return the weights of a stage: its own, or the run's."""
        return self.weights if stage.weights is None else stage.weights

    def largest_weights(self) -> Weights:
        """Return each weight at its largest over the stages: what the objective is built for."""
        used = [self.weights_at(stage).model_dump() for stage in self.stages]
        return Weights.model_validate({name: max(at[name] for at in used) for name in used[0]})

    def model(self) -> VAESettings:
        """Return the settings of the model: the preset with the overrides."""
        if self.preset not in PRESETS:
            raise ValueError(f"preset={self.preset!r} is unknown; choose {', '.join(PRESETS)}")
        return VAESettings.model_validate(PRESETS[self.preset].model_dump() | self.overrides)
