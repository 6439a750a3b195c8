"""What a model is, as values: everything that `VAE` is built from."""

from typing import Literal, Self

from pydantic import Field, model_validator

from shards import Settings

SkipKind = Literal["none", "local", "global", "global-dct", "global-learned"]
"""The skips by name; the classes are in vae/skips.py."""

SKIP_SETTINGS: dict[SkipKind, frozenset[str]] = {
    "none": frozenset(),
    "local": frozenset({"mirror"}),
    "global": frozenset({"merge", "mirror", "feed_mirror"}),
    "global-dct": frozenset({"merge", "mirror", "feed_mirror", "skip_channels"}),
    "global-learned": frozenset({"merge", "mirror", "feed_mirror", "skip_channels"}),
}
"""The settings that mean something to each kind of skip."""


class VAESettings(Settings):
    """The architecture. The defaults are the report's f16c64.

    Level k of the encoder is `encoder_width * multipliers[k]` wide, so the list holds one number
    more than there are halvings: f = patch * 2 ** (len(multipliers) - 1). The report has patch 1.
    A larger one folds patches into channels before the first conv (as Wan2.2 does), which spares
    a small model the costly level at full resolution. `finest_blocks` counts the residual blocks
    of the decoder's last level; None takes `decoder_blocks`, as in the report.

    `colours` is 3 for RGB, 4 for RGB and straight alpha (-1 clear, 1 opaque). The colour of clear
    pixels is coded as it is; make it one constant if it means nothing.

    The rest describes the skip (vae/skips.py says what each kind does). `merge` is where its fold
    joins the encoder: at the latent, or at the features before the middle blocks. `mirror` gives
    the decoder its counterpart. `skip_channels` limits the channels it fills. `feed_mirror` feeds
    the mirrored image to the decoder's finest level through one more conv. That level then only
    has to sharpen an image, which it learns in minutes; drawing one from latents takes days (our
    choice). Only `feed_mirror` and a learned skip have parameters.
    """

    factor: int = Field(default=16, ge=1)
    channels: int = Field(default=64, ge=1)
    colours: Literal[3, 4] = 3
    patch: int = Field(default=1, ge=1)
    encoder_width: int = Field(default=96, ge=1)
    decoder_width: int = Field(default=144, ge=1)
    multipliers: tuple[int, ...] = (1, 2, 4, 8, 8)
    encoder_blocks: int = Field(default=2, ge=1)
    decoder_blocks: int = Field(default=3, ge=1)
    finest_blocks: int | None = Field(default=None, ge=1)
    mid_blocks: int = Field(default=2, ge=0)
    skip: SkipKind = "global"
    merge: Literal["latent", "feature"] = "latent"
    mirror: bool = False
    skip_channels: int | None = Field(default=None, ge=1)
    feed_mirror: bool = False

    @property
    def merge_width(self) -> int:
        """Channels of the place where the skip's fold joins the encoder."""
        deepest = self.encoder_width * self.multipliers[-1]
        return self.channels if self.merge == "latent" else deepest

    @model_validator(mode="after")
    def _levels_give_the_factor(self) -> Self:
        if min(self.multipliers, default=0) < 1:
            raise ValueError(f"multipliers={self.multipliers} must be positive and not empty")
        factor = self.patch * 2 ** (len(self.multipliers) - 1)
        if factor != self.factor:
            raise ValueError(
                f"patch={self.patch} and {len(self.multipliers)} multipliers make factor {factor}, "
                f"not {self.factor}; give one multiplier more than there are halvings"
            )
        return self

    @model_validator(mode="after")
    def _skip_takes_its_settings(self) -> Self:
        for name in ("merge", "mirror", "skip_channels", "feed_mirror"):
            value, default = getattr(self, name), type(self).model_fields[name].default
            if value != default and name not in SKIP_SETTINGS[self.skip]:
                takers = ", ".join(kind for kind, names in SKIP_SETTINGS.items() if name in names)
                raise ValueError(
                    f"{name}={value} means nothing to skip={self.skip!r}; "
                    f"set it to {default} or choose {takers}"
                )
        if self.feed_mirror and not self.mirror:
            raise ValueError("feed_mirror=True needs a mirrored image; set mirror=true as well")
        if self.skip_channels is not None and self.skip_channels > self.merge_width:
            raise ValueError(
                f"skip_channels={self.skip_channels} is more than the {self.merge_width} channels "
                "of the place it joins; lower it, or leave it out for all"
            )
        return self
