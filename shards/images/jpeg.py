"""JPEG: opened without what nobody asks for, decoded in half the time, its scans bounded."""

import re
from os import SEEK_CUR

import numpy as np
from numpy.typing import NDArray
from PIL import JpegImagePlugin

from shards.errors import UnreadableImage

MAX_SCANS = 100
"""Scans of a JPEG that is read (our choice: encoders write 10). Each passes over all of its pixels,
with a few bytes if need be."""

MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""What parts a JPEG: begin, end, segments and scans; nothing that stands inside of a scan."""

BEGIN, END, SCAN = b"\xff\xd8", b"\xff\xd9", b"\xff\xda"


class Jpeg(JpegImagePlugin.JpegImageFile):
    """A JPEG as Pillow opens it, an MPO too: then the first of its pictures."""

    def _read_dpi_from_exif(self) -> None:
        """Leave out dots an inch: broken EXIF would have a say."""

    @property
    def of_one_scan(self) -> bool:
        """Whether the scan that was met first holds all there is of each pixel."""
        assert self.fp, "it was not decoded"
        self.fp.seek(-4 - 2 * self.layers, SEEK_CUR)  # Pillow stops behind the head of that scan
        return "progressive" not in self.info and self.fp.read(1) == bytes((self.layers,))


def refuse_many_scans(data: bytes, name: str) -> None:
    """Raise UnreadableImage when a JPEG has more than MAX_SCANS, its thumbnail's apart."""
    at = scans = 0
    while (marker := MARKER.search(data, at)) and marker[0] != END:
        at = marker.end()
        if marker[0] != BEGIN:
            at += int.from_bytes(data[at : at + 2], "big")
        scans += marker[0] == SCAN
        if scans > MAX_SCANS:
            raise UnreadableImage(name, f"more than {MAX_SCANS} scans")


def decoded_jpeg(data: bytes) -> NDArray[np.uint8] | None:
    """Decode grey or coloured JPEG in half the time that Pillow takes, to the same pixels.

    (h, w, 3) uint8 of whatever its profile says; None when anything is odd about it: Pillow then
    decides.
    """
    import simplejpeg

    try:
        return simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False)
    except ValueError:
        return None
