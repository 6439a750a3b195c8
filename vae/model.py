"""The VAE: an encoder, a decoder and a skip, each a few lines.

The layout is the one that reproduces every parameter count of the report's Table 1:
conv 3x3, stages of residual blocks with a halving (or doubling) between them, two residual blocks
in the middle, norm, SiLU, conv 3x3. No attention. There is no KL term, so the "VAE" is a plain
autoencoder whose 2C head keeps the report's size while only its mean half is used (our choice).

Letters: b batch, c channel, C latent channels, h/w pixels, i/j latent rows and columns, f factor.
"""

from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from shards import Settings
from vae.layers import ChannelToSpace, Down, Head, ResBlock, SpaceToChannel, Up
from vae.skips import SKIPS, NoSkip, SkipKind


class VAESettings(Settings):
    """What a model is. The defaults are the report's f16c64.

    Stage k of the encoder is `encoder_width * multipliers[k]` wide, so the list holds one number
    more than there are halvings: f = patch * 2 ** (len(multipliers) - 1). The report has patch 1;
    a larger one folds patches into channels before the first conv (as Wan2.2 does), which spares
    a small model the costly full-resolution stages. `finest_blocks` are the residual blocks of the
    decoder's last stage, `decoder_blocks` where it is None (as in the report).
    """

    factor: int = Field(default=16, ge=1)
    patch: int = Field(default=1, ge=1)
    channels: int = Field(default=64, ge=1)
    encoder_width: int = Field(default=96, ge=1)
    decoder_width: int = Field(default=144, ge=1)
    multipliers: tuple[int, ...] = (1, 2, 4, 8, 8)
    encoder_blocks: int = Field(default=2, ge=1)
    decoder_blocks: int = Field(default=3, ge=1)
    finest_blocks: int | None = Field(default=None, ge=1)
    mid_blocks: int = Field(default=2, ge=0)
    skip: SkipKind = "global"

    @model_validator(mode="after")
    def _stages_give_the_factor(self) -> Self:
        if min(self.multipliers, default=0) < 1:
            raise ValueError(f"multipliers={self.multipliers} must be positive and not empty")
        given = self.patch * 2 ** (len(self.multipliers) - 1)
        if given != self.factor:
            raise ValueError(
                f"patch={self.patch} and {len(self.multipliers)} multipliers make factor {given}, "
                f"not {self.factor}; give one multiplier more than there are halvings"
            )
        return self


class Encoder(nn.Module):
    """Pixels to features to the 2C head."""

    def __init__(self, settings: VAESettings, *, silent_head: bool = False) -> None:
        super().__init__()
        widths = [settings.encoder_width * m for m in settings.multipliers]
        width = widths[0]
        layers: list[nn.Module] = [
            SpaceToChannel(settings.patch),
            nn.Conv2d(3 * settings.patch**2, width, 3, padding=1),
        ]
        for k, wide in enumerate(widths):
            layers += [Down(width)] if k else []
            for _ in range(settings.encoder_blocks):
                layers.append(ResBlock(width, wide))
                width = wide
        layers += [ResBlock(width, width) for _ in range(settings.mid_blocks)]
        self.body = nn.Sequential(*layers)
        self.head = Head(width, 2 * settings.channels, silent=silent_head)

    def forward(self, x: Tensor) -> Tensor:
        """(b, 3, h, w) -> mean half of the head (b, C, h/f, w/f)."""
        mean, _ = self.head(self.body(x)).chunk(2, dim=1)
        return mean


class Decoder(nn.Module):
    """Latents to features to pixels: the encoder's stages in reverse, wider.

    Where the skip has a mirror, the finest stage also sees the mirrored image: to sharpen what
    is there already is learned in minutes, to paint it from latents in days (our choice).
    """

    def __init__(self, settings: VAESettings, *, sees_mirror: bool = False) -> None:
        super().__init__()
        widths = [settings.decoder_width * m for m in reversed(settings.multipliers)]
        width = widths[0]
        layers: list[nn.Module] = [nn.Conv2d(settings.channels, width, 3, padding=1)]
        layers += [ResBlock(width, width) for _ in range(settings.mid_blocks)]
        for k, wide in enumerate(widths):
            if k:
                layers.append(Up(width))
            if k == len(widths) - 1:
                break
            for _ in range(settings.decoder_blocks):
                layers.append(ResBlock(width, wide))
                width = wide
        self.body = nn.Sequential(*layers)
        self.look = nn.Sequential()
        if sees_mirror:
            self.look.append(SpaceToChannel(settings.patch))
            self.look.append(nn.Conv2d(3 * settings.patch**2, width, 3, padding=1))
        self.finest = nn.Sequential()
        for _ in range(settings.finest_blocks or settings.decoder_blocks):
            self.finest.append(ResBlock(width, widths[-1]))
            width = widths[-1]
        self.head = Head(width, 3 * settings.patch**2, silent=sees_mirror)
        self.channel_to_space = ChannelToSpace(settings.patch)

    def forward(self, z: Tensor, mirrored: Tensor | None = None) -> Tensor:
        """(b, C, i, j) and the skip's image, if any -> (b, 3, f i, f j) to add to it."""
        features = self.body(z)
        if mirrored is not None:
            features = features + self.look(mirrored)
        return self.channel_to_space(self.head(self.finest(features)))


class VAE(nn.Module):
    """Images (b, 3, h, w) in [-1, 1] to latents (b, C, h/f, w/f) and back."""

    def __init__(self, settings: VAESettings) -> None:
        super().__init__()
        self.settings = settings
        self.skip: NoSkip = SKIPS[settings.skip](settings.factor, settings.channels)
        self.encoder = Encoder(settings, silent_head=self.skip.mirrors)
        self.decoder = Decoder(settings, sees_mirror=self.skip.mirrors)

    def encode(self, x: Tensor) -> Tensor:
        """(b, 3, h, w) in [-1, 1] -> latent (b, C, h/f, w/f), unbounded.

        Raises:
            ValueError: when x is no batch of RGB images or h or w is no multiple of f.
        """
        check_image(x, self.settings.factor)
        folded = self.skip.fold(x)
        return self.encoder(x) if folded is None else self.encoder(x) + folded

    def decode(self, z: Tensor) -> Tensor:
        """Latent (b, C, i, j) -> image (b, 3, f i, f j), about [-1, 1], not clamped.

        Raises:
            ValueError: when z does not have C channels.
        """
        check_latent(z, self.settings.channels)
        mirrored = self.skip.mirror(z)
        image = self.decoder(z, mirrored)
        return image if mirrored is None else image + mirrored

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct (b, 3, h, w) in [-1, 1]; same shape, not clamped."""
        return self.decode(self.encode(x))


def check_image(x: Tensor, factor: int) -> None:
    """Raise ValueError unless x is (b, 3, h, w) with h and w positive multiples of `factor`."""
    if x.ndim != 4 or x.shape[1] != 3:
        raise ValueError(f"expected images (b, 3, h, w), got shape {tuple(x.shape)}")
    h, w = x.shape[2:]
    if h % factor or w % factor or not h * w:
        raise ValueError(
            f"image is h={h}, w={w} but f={factor} needs positive multiples of {factor}; "
            "pad or crop it first"
        )


def check_latent(z: Tensor, channels: int) -> None:
    """Raise ValueError unless z is (b, channels, i, j)."""
    if z.ndim != 4 or z.shape[1] != channels:
        raise ValueError(f"expected latents (b, {channels}, i, j), got shape {tuple(z.shape)}")


def parameter_counts(settings: VAESettings) -> dict[str, int]:
    """Count the parameters of encoder, decoder and skip without allocating any."""
    with torch.device("meta"):
        model = VAE(settings)
    return {
        part: sum(p.numel() for p in module.parameters()) for part, module in model.named_children()
    }


PRESETS: dict[str, VAESettings] = {
    "f16c64": VAESettings(),
    "nano": VAESettings(
        patch=2,
        encoder_width=8,
        decoder_width=24,
        multipliers=(1, 1, 1, 1),
        encoder_blocks=1,
        decoder_blocks=1,
        finest_blocks=4,
        mid_blocks=0,
        skip="global-linear",
    ),
}
"""Named models. `f16c64` is the report's Table 1.

`nano` learns on two cores in minutes (our choice): nearly all of its work is in the finest stage,
at half resolution, which sharpens what the skip mirrors. After 90 s of one core that reached
20.8 dB on text; the same idea on patches of 4, wider, 18.4 dB; at full resolution, narrower, 20.7.
"""
