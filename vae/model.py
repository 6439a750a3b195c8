"""The VAE: an encoder, a decoder and a skip, each a few lines.

    encoder   image ─► stem ─► levels ─► middle ─► head ─► + ─► latent
                └────────────────── fold ──────────────────┘
    decoder   latent ─► stem ─► middle ─► levels ─► finest ─► head ─► + ─► image
                 └────────────────────── mirror ──────────────────────┘

The layout is the one that reproduces every parameter count of the report's Table 1: a conv 3x3,
levels of residual blocks with a halving (or doubling) between them, two residual blocks in the
middle, then norm, SiLU, conv 3x3. The decoder is wider and deeper than the encoder. No attention.

Letters: b batch, c channel, C latent channels, h/w pixels, i/j latent rows and columns, f factor.
Read `vae/layers.py` for the blocks, `vae/skips.py` for the skips, `vae/presets.py` for the models.
"""

from itertools import pairwise
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from shards import Settings
from vae.layers import ChannelToSpace, Conv, Down, Head, Level, ResBlock, SpaceToChannel, Up
from vae.sizes import check_image, check_latent, crop, pad
from vae.skips import SKIPS, NoSkip, SkipKind


class VAESettings(Settings):
    """What a model is. The defaults are the report's f16c64.

    Level k of the encoder is `encoder_width * multipliers[k]` wide, so the list holds one number
    more than there are halvings: f = patch * 2 ** (len(multipliers) - 1). The report has patch 1;
    a larger one folds patches into channels before the first conv (as Wan2.2 does), which spares
    a small model the costly full-resolution level. `finest_blocks` are the residual blocks of the
    decoder's last level, `decoder_blocks` where it is None (as in the report).

    `colours` is 3 for RGB, 4 for RGB and straight alpha (-1 clear, 1 opaque; colour is kept where
    alpha is clear, so blank it there if it means nothing).

    The skip (vae/skips.py says what each kind does): `merge` is where its fold joins the encoder,
    the latent or the features before the middle blocks; `mirror` gives the decoder its
    counterpart; `kept` limits the channels it fills; `look` lets the decoder's finest level see
    the mirrored image through one more conv: to sharpen what is there already is learned in
    minutes, to paint it from latents in days (our choice). All but `look` are free of parameters
    unless the skip is learned.
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
    kept: int | None = Field(default=None, ge=1)
    look: bool = False

    @property
    def merge_width(self) -> int:
        """Channels of the place where the skip's fold joins the encoder."""
        deepest = self.encoder_width * self.multipliers[-1]
        return self.channels if self.merge == "latent" else deepest

    @model_validator(mode="after")
    def _levels_give_the_factor(self) -> Self:
        if min(self.multipliers, default=0) < 1:
            raise ValueError(f"multipliers={self.multipliers} must be positive and not empty")
        given = self.patch * 2 ** (len(self.multipliers) - 1)
        if given != self.factor:
            raise ValueError(
                f"patch={self.patch} and {len(self.multipliers)} multipliers make factor {given}, "
                f"not {self.factor}; give one multiplier more than there are halvings"
            )
        return self

    @model_validator(mode="after")
    def _skip_takes_its_settings(self) -> Self:
        for name in ("merge", "mirror", "kept", "look"):
            value, default = getattr(self, name), type(self).model_fields[name].default
            if value != default and name not in SKIPS[self.skip].takes:
                takers = ", ".join(kind for kind, skip in SKIPS.items() if name in skip.takes)
                raise ValueError(
                    f"{name}={value} means nothing to skip={self.skip!r}; "
                    f"set it to {default} or choose {takers}"
                )
        if self.look and not self.mirror:
            raise ValueError("look=True needs an image to look at; set mirror=true as well")
        if self.kept is not None and self.kept > self.merge_width:
            raise ValueError(
                f"kept={self.kept} is more than the {self.merge_width} channels filled"
            )
        return self


class Encoder(nn.Module):
    """Pixels to features to the 2C head: the mean and log variance of a diagonal Gaussian.

    Trained without a KL term (as in the report) the mean is the latent, and nothing reads or
    trains the other half; it is there because the report's parameter counts include it.
    """

    def __init__(self, settings: VAESettings, skip: NoSkip) -> None:
        super().__init__()
        self.merge = settings.merge
        widths = [settings.encoder_width * m for m in settings.multipliers]
        width = widths[0]
        self.stem = nn.Sequential(
            SpaceToChannel(settings.patch),
            Conv(settings.colours * settings.patch**2, width, 3, padding=1),
        )
        self.levels = nn.Sequential()
        for wide in widths[:-1]:
            body = blocks(width, wide, settings.encoder_blocks).append(Down(wide))
            self.levels.append(Level(body, skip.down(width, wide)))
            width = wide
        self.levels.append(Level(blocks(width, widths[-1], settings.encoder_blocks)))
        width = widths[-1]
        self.middle = blocks(width, width, settings.mid_blocks)
        self.head = Head(width, 2 * settings.channels, silent=skip.is_codec)

    def forward(self, x: Tensor, folded: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(b, colours, h, w) and the skip's fold, if any -> mean, log variance (b, C, h/f, w/f)."""
        features = self.levels(self.stem(x))
        if folded is not None and self.merge == "feature":
            features = features + folded
        mean, log_variance = self.head(self.middle(features)).chunk(2, dim=1)
        if folded is not None and self.merge == "latent":
            mean = mean + folded
        return mean, log_variance


class Decoder(nn.Module):
    """Latents to features to pixels: the encoder's levels in reverse, wider."""

    def __init__(self, settings: VAESettings, skip: NoSkip) -> None:
        super().__init__()
        widths = [settings.decoder_width * m for m in reversed(settings.multipliers)]
        values = settings.colours * settings.patch**2
        width = widths[0]
        self.stem = Conv(settings.channels, width, 3, padding=1)
        self.middle = blocks(width, width, settings.mid_blocks)
        self.levels = nn.Sequential()
        for wide in widths[:-1]:
            body = blocks(width, wide, settings.decoder_blocks).append(Up(wide))
            self.levels.append(Level(body, skip.up(width, wide)))
            width = wide
        self.look = nn.Sequential()
        if settings.look:
            self.look.append(SpaceToChannel(settings.patch))
            self.look.append(Conv(values, width, 3, padding=1))
        finest = settings.finest_blocks or settings.decoder_blocks
        self.finest = Level(blocks(width, widths[-1], finest))
        self.head = Head(widths[-1], values, silent=skip.is_codec)
        self.channel_to_space = ChannelToSpace(settings.patch)

    def forward(self, z: Tensor, mirrored: Tensor | None = None) -> Tensor:
        """(b, C, i, j) and the skip's image, if any -> (b, colours, f i, f j)."""
        features = self.levels(self.middle(self.stem(z)))
        if mirrored is not None and len(self.look):
            features = features + self.look(mirrored)
        image = self.channel_to_space(self.head(self.finest(features)))
        return image if mirrored is None else image + mirrored


def blocks(width_in: int, width_out: int, count: int) -> nn.Sequential:
    """Make `count` residual blocks, the first of which changes the width."""
    widths = [width_in] + [width_out] * count
    return nn.Sequential(*[ResBlock(before, after) for before, after in pairwise(widths)])


class VAE(nn.Module):
    """Images (b, colours, h, w) in [-1, 1] to latents (b, C, ceil(h/f), ceil(w/f)) and back.

    Any size will do: images are padded right and below to whole blocks of f x f, and cropped
    again by whoever knows the size. `latent_mean` and `latent_std` (C,) are what
    `measure_latents` found; until then 0 and 1. They are saved with the weights, for the
    diffusion model; nothing here applies them.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, settings: VAESettings) -> None:
        super().__init__()
        self.settings = settings
        self.skip: NoSkip = SKIPS[settings.skip](settings)
        self.encoder = Encoder(settings, self.skip)
        self.decoder = Decoder(settings, self.skip)
        self.register_buffer("latent_mean", torch.zeros(settings.channels))
        self.register_buffer("latent_std", torch.ones(settings.channels))

    def encode(self, x: Tensor, sample: torch.Generator | None = None) -> Tensor:
        """(b, colours, h, w) in [-1, 1] -> latent (b, C, ceil(h/f), ceil(w/f)), unbounded.

        The latent is the posterior's mean, or a sample of it drawn with the generator `sample`:
        for training with a KL term, which the report does without.

        Raises:
            ValueError: when x is no batch of images of this many colours.
        """
        mean, log_variance = self.posterior(x)
        if sample is None:
            return mean
        noise = torch.empty_like(mean).normal_(generator=sample)
        return mean + noise * log_variance.mul(0.5).exp()

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(b, colours, h, w) in [-1, 1] -> mean and log variance (b, C, ceil(h/f), ceil(w/f)).

        The log variance is clamped to [-30, 20], as in latent diffusion.

        Raises:
            ValueError: when x is no batch of images of this many colours.
        """
        check_image(x, self.settings.colours)
        x = pad(x, self.settings.factor)
        mean, log_variance = self.encoder(x, self.skip.fold(x))
        return mean, log_variance.clamp(-30, 20)

    def decode(self, z: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Latent (b, C, i, j) -> image (b, colours, f i, f j), about [-1, 1], not clamped.

        `size` (h, w) in px crops what `encode` padded.

        Raises:
            ValueError: when z does not have C channels, or `size` is no size z can come from.
        """
        check_latent(z, self.settings.channels)
        return crop(self.decoder(z, self.skip.mirror(z)), size, self.settings.factor)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct (b, colours, h, w) in [-1, 1]; same shape, not clamped."""
        return self.decode(self.encode(x), (x.shape[2], x.shape[3]))


def parameter_counts(settings: VAESettings) -> dict[str, int]:
    """Count the parameters of encoder, decoder and skip without allocating any."""
    with torch.device("meta"):
        model = VAE(settings)
    return {
        part: sum(p.numel() for p in module.parameters()) for part, module in model.named_children()
    }
