"""The VAE: an encoder, a decoder and a skip, each a few lines.

    encoder   image ─► stem ─► levels ─► middle ─► head ─► + ─► latent
                └────────────────── fold ──────────────────┘
    decoder   latent ─► stem ─► middle ─► levels ─► finest ─► head ─► + ─► image
                 └────────────────────── mirror ──────────────────────┘

The layout is the one that reproduces every parameter count of the report's Table 1: a conv 3x3,
levels of residual blocks with a halving (or doubling) between them, two residual blocks in the
middle, then norm, SiLU, conv 3x3. The decoder is wider and deeper than the encoder. No attention.

Letters: b batch, c channel, C latent channels, h/w pixels, i/j latent rows and columns, f factor.
Read `vae/settings.py` for what may vary, `vae/layers.py` for the blocks, `vae/skips.py` for the
skips, `vae/presets.py` for the models.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from vae.layers import ChannelToSpace, Conv, Down, Head, Level, SpaceToChannel, Up, res_blocks
from vae.settings import VAESettings
from vae.sizes import check_image, check_latent, check_range, crop, pad
from vae.skips import SKIPS, NoSkip


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
            body = res_blocks(width, wide, settings.encoder_blocks).append(Down(wide))
            self.levels.append(Level(body, skip.down(width, wide)))
            width = wide
        self.levels.append(Level(res_blocks(width, widths[-1], settings.encoder_blocks)))
        width = widths[-1]
        self.middle = res_blocks(width, width, settings.mid_blocks)
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
        self.middle = res_blocks(width, width, settings.mid_blocks)
        self.levels = nn.Sequential()
        for wide in widths[:-1]:
            body = res_blocks(width, wide, settings.decoder_blocks).append(Up(wide))
            self.levels.append(Level(body, skip.up(width, wide)))
            width = wide
        self.mirror_stem = nn.Sequential()
        if settings.feed_mirror:
            self.mirror_stem.append(SpaceToChannel(settings.patch))
            self.mirror_stem.append(Conv(values, width, 3, padding=1))
        finest = settings.finest_blocks or settings.decoder_blocks
        self.finest = Level(res_blocks(width, widths[-1], finest))
        self.head = Head(widths[-1], values, silent=skip.is_codec)
        self.channel_to_space = ChannelToSpace(settings.patch)

    def forward(self, z: Tensor, mirrored: Tensor | None = None) -> Tensor:
        """(b, C, i, j) and the skip's image, if any -> (b, colours, f i, f j)."""
        features = self.levels(self.middle(self.stem(z)))
        if mirrored is not None and len(self.mirror_stem):
            features = features + self.mirror_stem(mirrored)
        image = self.channel_to_space(self.head(self.finest(features)))
        return image if mirrored is None else image + mirrored


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
            ValueError: when x is no batch of images of this many colours, of another type than the
                weights or, outside of training, with values far from [-1, 1].
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
            ValueError: when x is no batch of images of this many colours, of another type than the
                weights or, outside of training, with values far from [-1, 1].
        """
        check_image(x, self.settings.colours, self.latent_mean.dtype)
        if not (self.training or x.is_meta or torch.compiler.is_compiling()):
            check_range(x)  # in training it would wait for the GPU
        x = pad(x, self.settings.factor)
        mean, log_variance = self.encoder(x, self.skip.fold(x))
        return mean, log_variance.clamp(-30, 20)

    def decode(self, z: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Latent (b, C, i, j) -> image (b, colours, f i, f j), about [-1, 1], not clamped.

        `size` (h, w) in px crops what `encode` padded.

        Raises:
            ValueError: when z does not have C channels, or `size` is no size z can come from.
        """
        check_latent(z, self.settings.channels, self.latent_mean.dtype)
        return crop(self.decoder(z, self.skip.mirror(z)), size, self.settings.factor)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct (b, colours, h, w) in [-1, 1]; same shape, not clamped."""
        return self.decode(self.encode(x), (x.shape[2], x.shape[3]))

    def half_of(self, name: Literal["encoder", "decoder"]) -> list[nn.Parameter]:
        """Return all that encoding needs, or all that decoding needs: its part of the skip too."""
        folding = self.skip.folding()
        if name == "encoder":
            return [*self.encoder.parameters(), *folding]
        inside = {id(p) for p in folding}
        mirroring = [p for p in self.skip.parameters() if id(p) not in inside]
        return [*self.decoder.parameters(), *mirroring]


def parameter_counts(settings: VAESettings) -> dict[str, int]:
    """Count the parameters of encoder, decoder and skip without allocating any."""
    with torch.device("meta"):
        model = VAE(settings)
    return {
        part: sum(p.numel() for p in module.parameters()) for part, module in model.named_children()
    }
