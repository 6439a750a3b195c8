"""Sample: the one currency between the stages.

A sample is an encoded image with its text and its metadata. It is written to a WebDataset tar as
`KEY.png` (or jpg, webp), `KEY.txt` when there is text, and `KEY.json`. Image bytes are stored as
they came: a VAE must never learn the artefacts of a second compression. Formats that not every
reader of tars decodes are stored as PNG, of the same pixels.
"""

import io
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import version
from typing import Any, cast

import numpy as np
import orjson
from PIL import Image

from shards.errors import ShardError, UnreadableImage
from shards.images.decoding import RGB, decode
from shards.images.formats import READABLE, STORED
from shards.text import foreign_json, plain_text


class Sample:
    """An encoded image with what is known about it.

    `key` has no dot and no slash, as WebDataset splits names at the first dot; only a key that was
    read from a foreign tar may have them, so it is no file name. `format` is the ending of the
    image, ours for one of FORMATS; in a shard, one of STORED. `meta` holds what JSON can, and
    dataclasses, named tuples and arrays of numbers, which come back as dictionaries and lists.

    Text and metadata may be given as the bytes of their files. They are decoded when first asked
    for: the boxes of a page cost more to parse than its picture costs to read.
    """

    __slots__ = ("_meta", "_text", "format", "image", "key")

    def __init__(
        self,
        key: str,
        image: bytes,
        format: str,
        text: str | bytes = "",
        meta: dict[str, Any] | bytes | None = None,
    ) -> None:
        self.key, self.image, self.format = key, image, format
        self._text = text
        self._meta = {} if meta is None else meta

    @property
    def text(self) -> str:
        """What is written in the image, read as `shards.text.plain_text` does.

        Raises:
            ShardError: when the bytes of its file are not UTF-8.
        """
        if isinstance(self._text, bytes):
            try:
                self._text = plain_text(self._text)
            except ValueError as error:
                raise ShardError(f"sample {self.key}: its text is not UTF-8") from error
        return self._text

    @property
    def meta(self) -> dict[str, Any]:
        """What is known of the image, read as `shards.text.foreign_json` does.

        Raises:
            ShardError: when the bytes of its file are not a JSON object.
        """
        if isinstance(self._meta, bytes):
            try:
                meta = foreign_json(self._meta)
            except ValueError as error:
                raise ShardError(f"sample {self.key}: its metadata is not JSON") from error
            if not isinstance(meta, dict):
                raise ShardError(f"sample {self.key}: its metadata is not a JSON object")
            self._meta = cast("dict[str, Any]", meta)
        return self._meta

    @property
    def nbytes(self) -> int:
        """Bytes that its image takes, and its text and label where they were not decoded."""
        beside = (part for part in (self._text, self._meta) if isinstance(part, bytes))
        return len(self.image) + sum(map(len, beside))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sample) and self._fields() == other._fields()

    def __repr__(self) -> str:
        return f"Sample({self.key!r}, {len(self.image):,} bytes of {self.format})"

    def _fields(self) -> tuple[Any, ...]:
        return self.key, self.image, self.format, self.text, self.meta

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yield (ending, bytes) of each file of this sample, image first."""
        yield self.format, self.image
        if self.text:
            yield "txt", self.text.encode()
        yield "json", orjson.dumps(self.meta, _listed, orjson.OPT_SERIALIZE_NUMPY)

    @classmethod
    def of_files(cls, key: str, files: dict[str, bytes]) -> "Sample":
        """Rebuild a sample from its tar members.

        Raises:
            UnreadableImage: when no member has a known image ending.
        """
        for ending in READABLE.values():
            if ending in files:
                return cls(key, files[ending], ending, files.get("txt", b""), files.get("json"))
        raise UnreadableImage(key, f"no image among {sorted(files)}")

    def stored(self, pixels: RGB) -> "Sample":
        """Return it as shards hold it, `pixels` being what its image decodes to.

        A format that is not STORED becomes PNG, and the metadata say `stored_from` which.
        """
        if self.format in STORED:
            return self
        meta = {**self.meta, "stored_from": self.format}
        return Sample(self.key, encode_png(pixels), "png", self.text, meta)

    def pixels(self) -> RGB:
        """Decode to (h, w, 3) uint8 sRGB.

        Raises:
            UnreadableImage: when the bytes are broken or larger than MAX_PIXELS.
        """
        return decode(self.image, self.key)


def _listed(value: object) -> list[Any]:
    """Make a list of a named tuple, which orjson leaves to us."""
    if isinstance(value, tuple):
        return list(value)
    raise TypeError(type(value).__name__)


def encode_png(pixels: RGB) -> bytes:
    """Encode (h, w, 3) uint8 sRGB losslessly as PNG, by the encoder of `png_encoder`."""
    # fpng writes the sides in 16 bits, whatever they are.
    write = png_encoder()[1] if max(pixels.shape) < 2**16 else _slow_png
    return write(np.ascontiguousarray(pixels))


@cache
def png_encoder() -> tuple[str, Callable[[RGB], bytes]]:
    """Return what writes PNG in this process, for the versions of a shard, and its function.

    fpng is 6 times faster than OpenCV at zlib level 1 and 80 times faster than Pillow's default,
    for 11 and 14 % more bytes. It is one alpha release of a small project, so it is tried first,
    and where it is missing or fails Pillow writes the same pixels, at level 1 a tenth as fast.
    """
    trial = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    try:
        import fpng

        if np.array_equal(decode(fpng.from_ndarray(trial), "trial"), trial):
            return version("fpng"), fpng.from_ndarray
    except Exception:  # an extension that does not fit this machine may raise anything
        pass
    return "none: Pillow writes PNG", _slow_png


def _slow_png(pixels: RGB) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def encode_jpeg(pixels: RGB) -> bytes:
    """Encode (h, w, 3) uint8 sRGB as JPEG of quality 95 with all of its chroma (4:4:4).

    Never 4:2:0: the colour of a 5 px letter would be shared with its surroundings.
    """
    import simplejpeg

    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=95, colorsubsampling="444")


def encode_webp(pixels: RGB) -> bytes:
    """Encode (h, w, 3) uint8 sRGB losslessly as WebP, at its fastest setting."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, quality=0, method=0)
    return buffer.getvalue()


ENCODERS = {"png": encode_png, "jpg": encode_jpeg, "webp": encode_webp}


def encode(pixels: RGB, ending: str) -> bytes:
    """Encode (h, w, 3) uint8 sRGB by the ending that its file will have, one of STORED."""
    return ENCODERS[ending](pixels)
