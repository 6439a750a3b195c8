"""Which image files are read, what opens each, and what others call them.

Pillow's own `Image.open` is not asked: it takes an MPO, the JPEG of a phone that another picture
follows, for a format of its own, and fails where its list of pictures is broken.
"""

import io
from collections.abc import Callable
from math import prod
from typing import NamedTuple

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    TiffImagePlugin,
    WebPImagePlugin,
)

from shards.errors import UnreadableImage
from shards.images.jpeg import Jpeg
from shards.images.png import BEGIN, open_png

MAX_PIXELS = 100_000_000
"""Largest image we open, in pixels (our choice: 10,000 x 10,000, 300 MB decoded)."""

NOT_READ = {"I": "32 bits or with a sign", "F": "floating point", "LAB": "Lab"}
"""Modes of Pillow whose pixels are not read: of the first two no file says which value is white."""

MAX_STRIPS = 2**17
"""Strips or tiles of a TIFF that is read (our choice: a row each, at 131,072 rows). Each
takes a hundred times its 8 bytes to list."""

STRIPS = TiffImagePlugin.STRIPOFFSETS, TiffImagePlugin.TILEOFFSETS
TILE = TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH
"""Tags of TIFF: where strips or tiles lie; the sides in px of a tile, which is unpacked whole."""


class _Tiff(TiffImagePlugin.TiffImageFile):
    def _setup(self) -> None:
        """Look at the tags before Pillow believes them."""
        if max(len(self.tag_v2.get(tag, ())) for tag in STRIPS) > MAX_STRIPS:
            raise SyntaxError("more strips than any image has")
        if prod(self.tag_v2.get(tag, 1) for tag in TILE) > MAX_PIXELS:
            raise Image.DecompressionBombError("a tile larger than any image may be")
        super()._setup()
        # Pillow would turn it by an orientation written there, but tell its size unturned.
        self.info.pop("xmp", None)


def _by(
    plugin: Callable[[io.BytesIO], ImageFile.ImageFile],
) -> Callable[[bytes], ImageFile.ImageFile]:
    return lambda data: plugin(io.BytesIO(data))


class Format(NamedTuple):
    """A format that we read: the ending of its files here, what opens them, how they begin.

    `begins` are pairs of an offset in bytes and the bytes there; `aliases` are endings that others
    use. `stored` says whether shards hold the bytes of such a file as they came: that is so where
    every reader of WebDataset tars decodes them. Of other files they hold the pixels, as PNG.
    """

    ending: str
    open: Callable[[bytes], ImageFile.ImageFile]
    begins: tuple[tuple[int, bytes], ...]
    aliases: tuple[str, ...] = ()
    stored: bool = False


FORMATS = {
    "PNG": Format("png", open_png, ((0, BEGIN),), ("apng",), stored=True),
    "JPEG": Format(
        "jpg", _by(Jpeg), ((0, b"\xff\xd8\xff"),), ("jpeg", "jpe", "jfif", "mpo"), stored=True
    ),
    "WebP": Format("webp", _by(WebPImagePlugin.WebPImageFile), ((8, b"WEBP"),), stored=True),
    "TIFF": Format(
        "tif", _by(_Tiff), tuple((0, begin) for begin in TiffImagePlugin.PREFIXES), ("tiff",)
    ),
    "BMP": Format("bmp", _by(BmpImagePlugin.BmpImageFile), ((0, b"BM"),)),
    "GIF": Format("gif", _by(GifImagePlugin.GifImageFile), ((0, b"GIF87a"), (0, b"GIF89a"))),
    "AVIF": Format("avif", _by(AvifImagePlugin.AvifImageFile), ((4, b"ftyp"),)),
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
