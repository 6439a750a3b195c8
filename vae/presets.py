"""Named models: the report's four, and three small ones of the same code."""

from vae.settings import VAESettings

PRESETS: dict[str, VAESettings] = {
    "f16c64": VAESettings(),
    "f16c128": VAESettings(channels=128),
    "f32c128": VAESettings(factor=32, channels=128, multipliers=(1, 1, 2, 4, 8, 8)),
    "f32c192": VAESettings(factor=32, channels=192, multipliers=(1, 1, 2, 4, 8, 8)),
    "small": VAESettings(encoder_width=32, decoder_width=48),
    "tiny": VAESettings(
        encoder_width=8, decoder_width=12, encoder_blocks=1, decoder_blocks=2, mid_blocks=1
    ),
    "nano": VAESettings(
        patch=2,
        encoder_width=8,
        decoder_width=24,
        multipliers=(1, 1, 1, 1),
        encoder_blocks=1,
        decoder_blocks=1,
        finest_blocks=4,
        mid_blocks=0,
        skip="global-learned",
        mirror=True,
        feed_mirror=True,
    ),
}
"""Millions of parameters, encoder / decoder, and what for:

    f16c64    75.5 / 247.8   the report's Table 1, to its rounding, with its encoder-only skip
    f16c128   76.4 / 248.4
    f32c128   76.8 / 249.7
    f32c192   77.7 / 250.4
    small      8.6 /  27.7   f16c64 at a third of its widths, a ninth of its work: for one GPU
    tiny      0.35 /  1.22   all five levels at a twelfth, fewer blocks: comparing skips on a CPU
                             (a step of 8 crops of 64 px takes one core 0.10 s)
    nano      0.02 /  0.11   f16c64 that learns on two cores in minutes: the quickstart's

`nano` has 0.10 more in its learned skip. It is our choice: nearly all of its work is done in the
finest level, at half resolution, which sharpens what the skip mirrors. After 90 s on one core it
reached 20.8 dB on text. With patches of 4 and more width it reached 18.4 dB, at full resolution
and with less width 20.7 dB.
"""
