"""PNG of every depth, and what lies beside the pixels: nothing there makes a picture unreadable."""

import io
import struct
import zlib
from itertools import product

import numpy as np
import pytest
from PIL import Image

from shards import UnreadableImage, decode
from shards.images.decoding import open_bounded, oriented_size
from shards.images.png import taken_apart
from tests.conftest import picture

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
"""Types of colour of a PNG."""


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(values: np.ndarray, colours: int, depth: int, *before: bytes, after: bytes = b"") -> bytes:
    """Write (h, w, channels) values of `depth` bits."""
    height, width = values.shape[:2]
    if depth < 8:
        bits = np.unpackbits(values.astype(np.uint8)[..., None], axis=-1)[..., -depth:]
        rows = np.packbits(bits.reshape(height, -1), axis=1)
    else:
        rows = values.astype(f">u{depth // 8}").reshape(height, -1).view(np.uint8)
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *before, chunk(b"IDAT", pixels), after, chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


CHANNELS = {GREY: 1, RGB: 3, GREY_ALPHA: 2, RGBA: 4}
DEPTHS = [*product((1, 2, 4, 8, 16), [GREY]), *product((8, 16), [RGB, GREY_ALPHA, RGBA])]


@pytest.mark.parametrize(("depth", "colours"), DEPTHS)
@pytest.mark.parametrize("clear", [False, True], ids=["", "a clear colour"])
def test_every_depth_keeps_its_shades(depth, colours, clear):
    top = 2**depth - 1
    shape = (24, 24, CHANNELS[colours])
    values = np.random.default_rng(0).integers(0, top, shape, endpoint=True)
    values[0, 0], values[0, 1], values[0, 2] = 0, top, values[5, 5]
    trns = chunk(b"tRNS", b"".join(struct.pack(">H", v) for v in values[5, 5])) if clear else b""
    alpha = np.ones((24, 24, 1))
    if CHANNELS[colours] in (2, 4):
        values, alpha, trns = values[..., :-1], values[..., -1:] / top, b""
        whole = np.concatenate([values, alpha * top], -1)
    else:
        whole = values
        if clear:
            alpha = 1.0 - (values == values[5, 5]).all(-1, keepdims=True)
    pixels = decode(png(np.rint(whole).astype(int), colours, depth, trns), "x")
    shown = 255 * (values / top * alpha + 1 - alpha)
    assert np.abs(pixels - shown).max() < 2


@pytest.mark.parametrize("transparency", [None, 1, bytes(range(0, 255, 15))])
def test_a_palette_keeps_its_colours_over_white(transparency):
    numbers = np.random.default_rng(0).integers(0, 17, (20, 20), dtype=np.uint8)
    image = Image.fromarray(numbers)
    image.putpalette(colours := picture(3, 1, 17).ravel().tolist())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **({} if transparency is None else {"transparency": transparency}))
    alpha = np.full(17, 255)
    if isinstance(transparency, int):
        alpha[transparency] = 0
    elif transparency:
        alpha[:] = list(transparency)
    share = (alpha / 255)[numbers][..., None]
    shown = np.array(colours).reshape(17, 3)[numbers] * share + 255 * (1 - share)
    assert np.abs(decode(buffer.getvalue(), "x") - shown).max() < 1.1


MUCH = bytes(3 << 20)
BESIDE = {
    "a long text": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(MUCH)),
    "a long text of the world": chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(MUCH)),
    "many texts": 70 * chunk(b"tEXt", b"k\0" + MUCH[: 1 << 20]),
    "a large profile": chunk(b"iCCP", b"x\0\0" + zlib.compress(MUCH)),
    "a bomb for a profile": chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(1 << 27), 9)),
    "a broken profile": chunk(b"iCCP", b"x\0\0junk"),
    "a profile of no method": chunk(b"iCCP", b"x"),
    "junk EXIF": chunk(b"eXIf", b"junk"),
    "a short gamma": chunk(b"gAMA", b"\0"),
    "a short density": chunk(b"pHYs", b"\0"),
    "no checksum": chunk(b"tEXt", b"k\0v")[:-4] + b"\0\0\0\0",
    "a broken animation": chunk(b"acTL", b"\0") + chunk(b"fcTL", b"\0"),
}


@pytest.mark.parametrize("beside", BESIDE.values(), ids=BESIDE)
def test_what_lies_beside_the_pixels_makes_no_picture_unreadable(beside):
    for data in (png(picture(0), RGB, 8, beside), png(picture(0), RGB, 8, after=beside)):
        assert np.array_equal(decode(data, "x"), picture(0))
        assert oriented_size(open_bounded(data, "x")) == (60, 40)


def test_the_first_picture_of_an_animation_is_the_one_that_every_viewer_shows():
    buffer = io.BytesIO()
    frames = [Image.fromarray(picture(seed)) for seed in range(3)]
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:], default_image=True)
    assert np.array_equal(decode(buffer.getvalue(), "x"), picture(0))


def test_a_plain_png_is_not_copied_and_one_that_breaks_off_is_named():
    plain = png(picture(0), RGB, 8)
    assert taken_apart(plain).pixels is plain
    long = png(picture(0), RGB, 8, chunk(b"tEXt", b"k\0v"))
    assert taken_apart(long).pixels == plain
    for cut in (8, 20, 60, len(plain) // 2):
        with pytest.raises(UnreadableImage, match="x: "):
            decode(plain[:cut], "x")
