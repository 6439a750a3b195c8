"""Images that other people made: what is read of them, and within which bounds."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from shards import Sample, UnreadableImage, decode
from shards.images.decoding import open_bounded, oriented_size
from shards.images.formats import READABLE, format_of
from shards.images.jpeg import MAX_SCANS
from shards.sample import encode_jpeg
from tests.conftest import picture


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_transparency_lies_over_white():
    assert decode(encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 0))), "x").min() == 255


def exif(orientation: int, kind: int = 3, count: int = 1) -> bytes:
    """EXIF whose one tag is an orientation of any type."""
    return b"Exif\0\0MM\0*\0\0\0\x08\0\1" + struct.pack(
        *(">HHIHHI", 0x0112, kind, count, orientation, 0, 0)
    )


KINDS = ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"]
"""Formats of Pillow that know the camera's orientation."""


def turned(kind: str, tag: bytes) -> bytes:
    image = Image.fromarray(picture(0, 20, 30))
    if kind == "TIFF":
        return encoded(image, kind, tiffinfo={0x0112: struct.unpack_from(">H", tag, 24)[0]})
    return encoded(image, kind, exif=tag)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_camera_rotation_is_applied_as_pillow_does(kind, orientation):
    data = turned(kind, exif(orientation))
    with Image.open(io.BytesIO(data)) as image:
        theirs = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    pixels = decode(data, "x")
    assert np.array_equal(pixels, theirs)
    assert oriented_size(open_bounded(data, "x")) == pixels.shape[1::-1]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "tag",
    [
        *(exif(9), exif(0), exif(6, kind=2, count=2), exif(6, kind=1), exif(6, kind=7, count=4)),
        *(exif(6)[:24], b"Exif\0\0junk", b"Exif\0\0II*\0\xff\xff\xff\xff"),
    ],
)
def test_an_orientation_that_is_none_is_as_if_absent(kind, tag):
    whole = Image.fromarray(picture(0, 20, 30))
    data, plain = (encoded(whole, kind, exif=given) for given in (tag, b""))
    assert np.array_equal(decode(data, "x"), decode(plain, "x"))
    assert oriented_size(open_bounded(data, "x")) == (30, 20)


def test_a_phone_s_jpeg_with_a_second_picture_is_a_jpeg():
    first, second = (Image.fromarray(picture(seed)) for seed in range(2))
    data = encoded(first, "MPO", save_all=True, append_images=[second], quality=95)
    assert np.array_equal(decode(data, "x"), decode(encoded(first, "JPEG", quality=95), "x"))
    assert format_of(data, "x").ending == "jpg"
    broken = data.replace(b"MPF\0MM", b"MPF\0??").replace(b"MPF\0II", b"MPF\0??")
    assert broken != data
    assert np.array_equal(decode(broken, "x"), decode(data, "x"))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {"save_all": True}),
        ("WEBP", {"save_all": True, "lossless": True}),
        ("TIFF", {"save_all": True}),
        ("TIFF", {"compression": "tiff_lzw", "big_tiff": True}),
        ("BMP", {}),
        ("GIF", {"save_all": True}),
        ("AVIF", {"save_all": True, "quality": 100, "subsampling": "4:4:4"}),
    ],
)
def test_of_every_format_the_first_picture_is_read(kind, options):
    first, second = (Image.fromarray(picture(seed)[:16, :8]) for seed in range(2))
    if options.get("save_all"):
        options = {**options, "append_images": [second]}
    data = encoded(first, kind, **options)
    apart = decode(data, "x").astype(int) - np.asarray(first)
    assert np.abs(apart).max() <= (4 if kind == "AVIF" else 0)


@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}])
@pytest.mark.parametrize("negative", [False, True])
def test_a_scan_of_16_bits_keeps_its_shades(options, negative):
    values = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
    image = Image.fromarray(65535 - values if negative else values)
    tags = {0x0106: 0 if negative else 1}
    data = encoded(image, "TIFF", tiffinfo=tags, **options)
    assert np.abs(decode(data, "x")[..., 0] - values / 257).max() < 1


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_pixels_of_which_no_white_is_known_are_refused_by_name(mode):
    with pytest.raises(UnreadableImage, match=r"x: pixels of .* are not read"):
        decode(encoded(Image.new(mode, (4, 4)), "TIFF"), "x")


def test_what_shards_do_not_hold_is_stored_as_png_and_says_so():
    tif, png = (
        Sample("k", encoded(Image.fromarray(picture(0)), kind), READABLE[kind.lower()])
        for kind in ("TIFF", "PNG")
    )
    stored = tif.stored(tif.pixels())
    assert (stored.format, stored.meta) == ("png", {"stored_from": "tif"})
    assert np.array_equal(stored.pixels(), picture(0))
    assert png.stored(png.pixels()) is png


@pytest.mark.parametrize("data", [b"", b"not an image", encoded(Image.new("RGB", (9, 9)))[:40]])
def test_broken_bytes_are_named(data):
    with pytest.raises(UnreadableImage, match=r"bad\.png"):
        decode(data, "bad.png")


def test_too_many_pixels_are_refused_before_decoding():
    data = encoded(Image.new("1", (20_000, 10_000)))
    with pytest.raises(UnreadableImage, match="pixels"):
        open_bounded(data, "bomb.png")


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_decodes_to_the_pixels_of_pillow(mode, subsampling, progressive):
    smooth = Image.fromarray(picture(0)).resize((97, 61), Image.Resampling.BICUBIC).convert(mode)
    buffer = io.BytesIO()
    smooth.save(buffer, "JPEG", quality=70, subsampling=subsampling, progressive=progressive)
    theirs = np.asarray(Image.open(io.BytesIO(buffer.getvalue())).convert("RGB"))
    assert np.array_equal(decode(buffer.getvalue(), "a"), theirs)


def test_cut_jpeg_is_unreadable_and_named():
    data = encode_jpeg(picture(0, 200, 200))
    with pytest.raises(UnreadableImage, match="a: broken or truncated"):
        decode(data[: len(data) // 2], "a")


def tiff(*tags: tuple[int, int, int]) -> bytes:
    """A grey TIFF of 100 x 100 px whose tags (number, how many, value) may promise anything."""
    told = {256: (1, 100), 257: (1, 100), 258: (1, 8), 259: (1, 1), 262: (1, 1), 277: (1, 1)}
    told |= {tag: (count, value) for tag, count, value in tags}
    entries = b"".join(struct.pack("<HHII", tag, 4, *told[tag]) for tag in sorted(told))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(told)) + entries + bytes(4 * 2**18)


def scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    data = encoded(Image.new("L", (64, 64), 100), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + count * last + data[-2:]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (scans(MAX_SCANS), "more than 100 scans"),
        (tiff((273, 2**18, 200), (278, 1, 1), (279, 2**18, 200)), "head is broken"),
        (tiff((322, 1, 30_000), (323, 1, 30_000), (324, 1, 300), (325, 1, 9)), "larger than"),
    ],
    ids=["JPEG of many scans", "TIFF of many strips", "TIFF of a giant tile"],
)
def test_a_few_bytes_never_ask_for_much_work(data, reason):
    with pytest.raises(UnreadableImage, match=reason):
        decode(data, "x")


def test_a_jpeg_of_many_scans_within_the_bound_is_read():
    assert decode(scans(50), "x").shape == (64, 64, 3)
