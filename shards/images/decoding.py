"""Images that other people made: which are read, how large they may be, and their pixels.

Every image of the house is decoded here, whether it is filtered, drawn upon, trained on or scored.
What comes out is what a viewer shows: turned as the camera says, transparency over white. Whatever
is broken about a file is an UnreadableImage that names it.
"""

import struct
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

from shards.errors import UnreadableImage, foreign
from shards.images.colour import SPACES, Conversion, conversion
from shards.images.formats import MAX_PIXELS, NOT_READ, Format, format_of
from shards.images.jpeg import Jpeg, decoded_jpeg, refuse_many_scans

RGB = NDArray[np.uint8]
"""An image of shape (h, w, 3), uint8, sRGB in [0, 255]."""

ORIENTATION = 0x0112
"""EXIF tag of the camera's orientation, from 1 (upright); values from 5 swap width and height."""

BITS, PHOTOMETRIC = TiffImagePlugin.BITSPERSAMPLE, TiffImagePlugin.PHOTOMETRIC_INTERPRETATION
"""Tags of TIFF: the bits of a value of each channel, and what the values stand for."""

WHITE_IS_ZERO = 0
"""Photometric interpretation of a grey TIFF that holds a negative."""

SHORT = 3
"""EXIF's type of a number of 16 bits."""

UPRIGHT: dict[int, Callable[[RGB], RGB]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels[::-1].transpose(1, 0, 2),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: pixels[:, ::-1].transpose(1, 0, 2),
}
"""What turns pixels of each orientation upright."""


def open_bounded(data: bytes, name: str) -> ImageFile.ImageFile:
    """Read the head of an image and refuse it before any pixel is decoded if it is too large.

    Of several pictures in a file, it is the first.

    Raises:
        UnreadableImage: naming `name` and the reason.
    """
    kind = format_of(data, name)
    with _reading(
        kind, name, f"its head is broken, or of a kind of {kind.ending} that is not read"
    ):
        try:
            image = kind.open(data)
        except Image.DecompressionBombError as error:
            raise UnreadableImage(name, f"larger than {MAX_PIXELS:,} pixels") from error
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableImage(name, f"{image.width}x{image.height} exceeds {MAX_PIXELS:,} pixels")
    if refused := NOT_READ.get(image.mode) or image.info.get("refused"):
        raise UnreadableImage(name, f"pixels of {refused} are not read")
    return image


@contextmanager
def _reading(kind: Format, name: str, reason: str) -> Generator[None, None, None]:
    """Pass the boundary, without the warnings by which Pillow speaks of tags of rarer formats."""
    with foreign(name, reason):
        if kind.stored:
            yield
        else:
            with warnings.catch_warnings(action="ignore"):
                yield


def oriented_size(image: ImageFile.ImageFile) -> tuple[int, int]:
    """Return (width, height) in px as a viewer shows it: after the camera's EXIF rotation."""
    return (image.height, image.width) if _orientation(image) >= 5 else image.size


def decode(data: bytes, name: str) -> RGB:
    """Decode image bytes to (h, w, 3) uint8 sRGB, turned as the camera says.

    Transparency is laid over white.

    Raises:
        UnreadableImage: when the bytes are broken or larger than MAX_PIXELS.
    """
    image = open_bounded(data, name)
    fast: RGB | None = None
    with _reading(format_of(data, name), name, "broken or truncated image data"):
        if isinstance(image, Jpeg):
            if not image.of_one_scan:
                refuse_many_scans(data, name)
            fast = decoded_jpeg(data) if image.mode != "CMYK" else None
        if fast is None:
            pixels = _decode(image)
        elif convert := _conversion(image, image.mode):
            colours = fast if image.mode == "RGB" else fast[..., 0]
            pixels = np.asarray(convert(Image.fromarray(colours)))
        else:
            pixels = fast
    upright = UPRIGHT.get(_orientation(image))
    if upright:
        pixels = np.ascontiguousarray(upright(pixels))
    if pixels.shape[1::-1] != oriented_size(image):
        raise UnreadableImage(name, "its head tells another size than its pixels have")
    return pixels


def _decode(image: Image.Image) -> RGB:
    """Make sRGB of an image of any mode that is read, transparency over white."""
    told, alpha = image, None
    if image.mode.startswith("I;16"):
        image = _of_8_bits(image)
    if image.has_transparency_data:
        grey = image.mode in ("1", "L", "LA", "La")
        whole = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        alpha = whole.getchannel("A")
        image = whole.getchannel("R") if grey else whole.convert("RGB")
    elif image.mode not in SPACES:
        image = image.convert("L" if image.mode == "1" else "RGB")
    convert = _conversion(told, image.mode)
    image = convert(image) if convert else image.convert("RGB")
    if alpha:
        image.putalpha(alpha)
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return np.asarray(image)


def _conversion(image: Image.Image, mode: str) -> Conversion | None:
    """Return what makes sRGB of the pixels of an image once they are of `mode`."""
    profile = image.info.get("icc_profile")
    gamma = image.info.get("gamma", 0.0)
    return conversion(mode, profile if isinstance(profile, bytes) else b"", gamma)


def _of_8_bits(image: Image.Image) -> Image.Image:
    """Keep the upper 8 of the bits of a grey image, as Pillow does of a coloured one.

    That is right for values of 8 bits that were widened, whichever way, and off by less than 1 for
    all others.
    """
    values = np.asarray(image)
    bits = 16
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = image.tag_v2.get(BITS, (bits,))[0]
        if image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO:
            values = 2**bits - 1 - values
    grey = Image.fromarray((values >> (bits - 8)).astype(np.uint8))
    clear = image.info.get("transparency")
    if clear is not None:
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey


def _orientation(image: ImageFile.ImageFile) -> int:
    """Return the camera's orientation as EXIF gives it, 1 where that is broken or no such number.

    Only a single SHORT counts, as the standard asks. TIFF Pillow turns by itself.
    """
    tiff = bytes(image.info.get("exif", b"")).removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2], "")
    with suppress(struct.error):
        (start,) = struct.unpack_from(f"{order}4xI", tiff)
        (tags,) = struct.unpack_from(f"{order}H", tiff, start)
        for place in range(start + 2, start + 2 + 12 * tags, 12):
            tag, kind, count, value = struct.unpack_from(f"{order}HHIH", tiff, place)
            if tag == ORIENTATION:
                return value if (kind, count) == (SHORT, 1) and value in UPRIGHT else 1
    return 1
