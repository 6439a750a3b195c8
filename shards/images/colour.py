"""Colours as sRGB: what the ICC profile of a file, or the gamma of a PNG, says is done to pixels.

A photograph in Display P3 or Adobe RGB that is taken for sRGB is too pale, and so would be whatever
a model learns from it. Nearly all files are sRGB, by a profile or without: they stay as they are.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from hashlib import blake2b
from threading import Lock

import numpy as np
from cachetools import LRUCache, cached
from numpy.typing import NDArray
from PIL import Image

from shards.errors import Unreadable, foreign

MAX_PROFILE = 2**24
"""Largest ICC profile that is read, in bytes (our choice: those of presses have 3 MB; a JPEG can
hold 16). A larger one counts as absent."""

PROFILES = 32
"""Profiles whose conversion is kept (our choice: the cameras of a folder are fewer)."""

SAME = 2
"""Grey levels that a conversion may change while its profile still counts as sRGB (our choice:
the shortest and the oldest sRGB profiles change 1)."""

SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
"""What an ICC profile calls the colours of each mode of Pillow that it can be for."""

SRGB_GAMMA = 0.45455
"""What PNG gives as gamma for sRGB; so much that is within a twentieth (our choice)."""

Conversion = Callable[[Image.Image], Image.Image]
"""Makes an RGB image of sRGB from one of the mode that it was asked for."""


def conversion(mode: str, profile: bytes, gamma: float = 0.0) -> Conversion | None:
    """Return what makes sRGB of an image of mode L, RGB or CMYK; None where nothing is to be done.

    That is so without a profile and gamma, where they say sRGB, and where the profile is broken,
    larger than MAX_PROFILE, or for other colours than `mode`.
    """
    if profile:
        return _by_profile(mode, profile) if len(profile) <= MAX_PROFILE else None
    # Gamma of 0.2 to 2 (our choice): beyond, the file is wrong rather than its pixels unusual.
    if mode == "CMYK" or not 0.2 <= gamma <= 2 or abs(gamma / SRGB_GAMMA - 1) <= 0.05:
        return None
    return lambda image: image.convert("RGB").point(_table(gamma) * 3)


@cache
def _table(gamma: float) -> list[int]:
    """Return the value of sRGB, IEC 61966-2-1, for each of 256 whose power 1/gamma is the light."""
    light = np.linspace(0, 1, 256) ** (1 / gamma)
    values = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(255 * values).astype(int).tolist()


@cached(
    LRUCache[tuple[str, bytes], Conversion | None](PROFILES),
    key=lambda mode, profile: (mode, blake2b(profile).digest()),
    lock=Lock(),
)
def _by_profile(mode: str, profile: bytes) -> Conversion | None:
    from PIL import ImageCms

    with suppress(Unreadable), foreign("ICC profile", "broken"):
        opened = ImageCms.core.profile_frombytes(profile)
        if opened.xcolor_space.strip() != SPACES[mode]:
            return None
        source, target = ImageCms.ImageCmsProfile(opened), ImageCms.createProfile("sRGB")
        # Optimised, a curve of grey is a few straight lines.
        flags = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE
        transform = ImageCms.buildTransform(source, target, mode, "RGB", flags=flags)

        def convert(image: Image.Image) -> Image.Image:
            converted = ImageCms.applyTransform(image, transform)
            assert converted is not None, "a new image"
            return converted

        if mode == "CMYK":
            return convert
        probe = Image.fromarray(_probe(mode))
        shown = convert(probe)
        apart = np.asarray(shown, np.int16) - np.asarray(probe.convert("RGB"))
        if np.abs(apart).max() <= SAME:
            return None
        if mode == "RGB":
            return convert
        tables = [np.asarray(channel).ravel().tolist() for channel in shown.split()]
        return lambda image: Image.merge("RGB", [image.point(table) for table in tables])
    return None


def _probe(mode: str) -> NDArray[np.uint8]:
    """Return colours by which a profile is known: all greys, or a grid of 9 steps a channel."""
    if mode == "L":
        return np.arange(256, dtype=np.uint8)[None]
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    return np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(1, -1, 3)
