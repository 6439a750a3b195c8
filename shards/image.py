"""Images that other people made: which are read, how large they may be, and their pixels.

Every image of the house is decoded here, whether it is filtered, drawn upon, trained on or scored.
What comes out is what a viewer shows: turned as the camera says, transparency over white. Whatever
is broken about a file is an UnreadableImage that names it.
"""

import io
import struct
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from shards.errors import UnreadableImage, foreign

RGB = NDArray[np.uint8]
"""An image of shape (h, w, 3), uint8, sRGB in [0, 255]."""

MAX_PIXELS = 100_000_000
"""Largest image we open, in pixels (our choice: 10,000 x 10,000, 300 MB decoded)."""

ORIENTATION = 0x0112
"""EXIF tag of the camera's orientation, from 1 (upright); values from 5 swap width and height."""

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


class _Jpeg(JpegImagePlugin.JpegImageFile):
    def _read_dpi_from_exif(self) -> None:
        """Leave out dots an inch, which nobody asks for: broken EXIF would have a say."""


class Format(NamedTuple):
    """A format that we read: the ending of its files here, what opens them, how they begin.

    `begins` are pairs of an offset in bytes and the bytes there; `aliases` are endings that others
    use. `stored` says whether shards hold the bytes of such a file as they came: that is so where
    every reader of WebDataset tars decodes them. Of other files they hold the pixels, as PNG.
    """

    ending: str
    open: Callable[[io.BytesIO], ImageFile.ImageFile]
    begins: tuple[tuple[int, bytes], ...]
    aliases: tuple[str, ...] = ()
    stored: bool = False


# The classes of Pillow and not its `Image.open`, which takes an MPO, the JPEG of a phone that
# another picture follows, for a format of its own, and fails where its list of pictures is broken.
FORMATS = {
    "PNG": Format(
        "png", PngImagePlugin.PngImageFile, ((0, b"\x89PNG\r\n\x1a\n"),), ("apng",), stored=True
    ),
    "JPEG": Format(
        "jpg", _Jpeg, ((0, b"\xff\xd8\xff"),), ("jpeg", "jpe", "jfif", "mpo"), stored=True
    ),
    "WebP": Format("webp", WebPImagePlugin.WebPImageFile, ((8, b"WEBP"),), stored=True),
    "TIFF": Format(
        "tif",
        TiffImagePlugin.TiffImageFile,
        tuple((0, begin) for begin in TiffImagePlugin.PREFIXES),
        ("tiff",),
    ),
    "BMP": Format("bmp", BmpImagePlugin.BmpImageFile, ((0, b"BM"),)),
    "GIF": Format("gif", GifImagePlugin.GifImageFile, ((0, b"GIF87a"), (0, b"GIF89a"))),
    "AVIF": Format("avif", AvifImagePlugin.AvifImageFile, ((4, b"ftyp"),)),
}
"""Every format that we read, by its name."""

READABLE = {
    ending: kind.ending for kind in FORMATS.values() for ending in (kind.ending, *kind.aliases)
}
"""Endings of files that may be read, in small letters and without dot, and our ending for the same.
Names only tell where to look: what a file is, its first bytes say."""

STORED = tuple(kind.ending for kind in FORMATS.values() if kind.stored)
"""Endings of the images that our shards hold."""


def format_of(data: bytes, name: str) -> Format:
    """Tell the format of a file from its first bytes.

    Raises:
        UnreadableImage: when it is none that we read.
    """
    for kind in FORMATS.values():
        if any(data.startswith(begin, offset) for offset, begin in kind.begins):
            return kind
    raise UnreadableImage(name, f"not a readable {', '.join(FORMATS)} file")


def open_bounded(data: bytes, name: str) -> ImageFile.ImageFile:
    """Read the head of an image and refuse it before any pixel is decoded if it is too large.

    Of several pictures in a file, it is the first.

    Raises:
        UnreadableImage: naming `name` and the reason.
    """
    kind = format_of(data, name)
    with _reading(kind, name, f"broken head of a {kind.ending}"):
        try:
            image = kind.open(io.BytesIO(data))
        except Image.DecompressionBombError as error:
            raise UnreadableImage(name, f"larger than {MAX_PIXELS:,} pixels") from error
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableImage(name, f"{image.width}x{image.height} exceeds {MAX_PIXELS:,} pixels")
    # By an orientation written there Pillow would turn some formats and not others.
    image.info.pop("xmp", None)
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
    pixels = _decode_jpeg(data) if isinstance(image, _Jpeg) and image.mode != "CMYK" else None
    if pixels is None:
        with _reading(format_of(data, name), name, "broken or truncated image data"):
            pixels = _decode(image)
    upright = UPRIGHT.get(_orientation(image))
    if upright:
        pixels = np.ascontiguousarray(upright(pixels))
    if pixels.shape[1::-1] != oriented_size(image):
        raise UnreadableImage(name, "its head tells another size than its pixels have")
    return pixels


def _decode(image: ImageFile.ImageFile) -> RGB:
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB"))
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image.convert("RGBA")).convert("RGB"))


def _decode_jpeg(data: bytes) -> RGB | None:
    """Decode grey or coloured JPEG in half the time that Pillow takes, to the same pixels.

    None when anything is odd about it: Pillow then decides.
    """
    import simplejpeg

    try:
        return simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False)
    except ValueError:
        return None


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
