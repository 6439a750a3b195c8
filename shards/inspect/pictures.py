"""Pictures inside a page: encoded as data URIs, shrunk to thumbnails."""

import base64
import io

import cv2
import numpy as np
from PIL import Image

from shards.images.decoding import RGB
from shards.sample import encode_png


def png_uri(pixels: RGB) -> str:
    """Encode (h, w, 3) uint8 as a lossless data URI."""
    return data_uri("image/png", encode_png(pixels))


def jpeg_uri(pixels: RGB) -> str:
    """Encode (h, w, 3) uint8 as a JPEG data URI: for thumbnails and differences only."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=85)
    return data_uri("image/jpeg", stream.getvalue())


def data_uri(kind: str, data: bytes) -> str:
    """Write bytes of a MIME type as a URI that a page holds in itself."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def shrunk(pixels: RGB, longest: int = 200) -> RGB:
    """Shrink so that the longer side has `longest` px; smaller images stay as they are."""
    height, width = pixels.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return pixels
    # At least a pixel: of a picture a thousand times as wide as high, too.
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
