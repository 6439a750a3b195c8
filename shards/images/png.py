"""PNG as Pillow should see it: the chunks that make the pixels, and no others.

Pillow refuses a picture over a long text, a large profile, a spoilt chunk that nobody needs, or a
fault in its animation. What tells how pixels are meant is taken out here, within bounds.
"""

import io
import struct
import zlib
from contextlib import suppress
from typing import NamedTuple

from PIL import ImageFile, PngImagePlugin

from shards.images.cicp import profile_of, refused
from shards.images.colour import MAX_PROFILE

BEGIN = b"\x89PNG\r\n\x1a\n"

PIXELS = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
"""Chunks of which the pixels are made. An animation has its others in chunks of its own."""

MEANING = frozenset((b"eXIf", b"cICP", b"iCCP", b"sRGB", b"gAMA"))
"""Chunks that tell how the pixels are meant; of each the first counts."""


class Png(NamedTuple):
    """The chunks that make the pixels, as a file; the bits of a value; how they are meant.

    `exif` and `profile` (ICC) are empty, `gamma` is 0, where the file tells none that holds. Code
    points go before a profile; `refused` is why pixels are not read of which they tell.
    """

    pixels: bytes | bytearray
    depth: int
    exif: bytes
    profile: bytes
    gamma: float
    refused: str


def taken_apart(data: bytes) -> Png:
    """Take a PNG apart. What is broken about it stays in, for Pillow to find."""
    view, pixels = memoryview(data), bytearray()
    told = dict.fromkeys(MEANING, b"")
    kept = at = len(BEGIN)
    pixels += view[:kept]
    while at + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        end = at + size + 12
        if name not in PIXELS:
            pixels += view[kept:at]
            kept = end
            if name in MEANING:
                told[name] = told[name] or bytes(view[at + 8 : end - 4])
        at = end
    whole = kept == len(BEGIN)
    pixels += b"" if whole else view[kept:]
    points = profile_of(told[b"cICP"])
    profile = points or b""
    if points is None and told[b"iCCP"]:
        profile = _inflated(told[b"iCCP"])
    known = points is not None or profile or told[b"sRGB"]
    return Png(
        data if whole else pixels,
        data[24] if len(data) > 24 else 0,
        told[b"eXIf"],
        profile,
        0.0 if known else _gamma(told[b"gAMA"]),
        refused(told[b"cICP"]),
    )


def _gamma(chunk: bytes) -> float:
    return int.from_bytes(chunk, "big") / 100_000 if len(chunk) == 4 else 0.0


def _inflated(chunk: bytes) -> bytes:
    """Return the profile in an iCCP chunk, nothing where it is broken or too large."""
    _, _, method_and_profile = chunk.partition(b"\0")
    inflating = zlib.decompressobj()
    with suppress(zlib.error):
        profile = inflating.decompress(method_and_profile[1:], MAX_PROFILE)
        return profile if inflating.eof else b""
    return b""


def open_png(data: bytes) -> ImageFile.ImageFile:
    """Open a PNG by Pillow; `info` holds what `Png` tells of them beside the pixels."""
    png = taken_apart(data)
    image = PngImagePlugin.PngImageFile(io.BytesIO(png.pixels))
    # Which colour is transparent is told in the file's own bits, of which Pillow takes no notice.
    clear = image.info.get("transparency")
    if image.mode == "L" and clear is not None:
        image.info["transparency"] = clear * 255 // (2**png.depth - 1)
    if image.mode == "RGB" and clear is not None and png.depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    image.info |= {"exif": png.exif, "icc_profile": png.profile, "gamma": png.gamma}
    image.info["refused"] = png.refused
    return image
