"""What a file says of its colours is done to its pixels, once; nearly always that is nothing."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from shards import UnreadableImage, decode
from shards.images.colour import MAX_PROFILE, SAME, conversion
from tests.conftest import picture
from tests.profiles import ADOBE, CURVE, P3, SRGB, coloured, grey, inks, power


def seen(pixels: np.ndarray, primaries: tuple[tuple[float, ...], ...], gamma: float) -> np.ndarray:
    """sRGB of (..., 3) values of other primaries, by the formulas; `gamma` 0 is the sRGB curve."""
    values = pixels / 255
    srgb = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    light = values**gamma if gamma else srgb
    light = np.clip(light @ np.array(primaries) @ np.linalg.inv(np.array(SRGB)), 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def encoded(image: Image.Image, form: str, icc: bytes | None, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, icc_profile=icc, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize(
    ("primaries", "gamma"), [(P3, 0.0), (ADOBE, 2.19921875)], ids=["Display P3", "Adobe RGB"]
)
def test_other_colours_become_srgb(form, primaries, gamma):
    image = Image.fromarray(picture(0, 4, 4).repeat(16, 0).repeat(16, 1))
    options = {"quality": 95, "lossless": True} if form in ("JPEG", "WEBP") else {}
    icc = coloured(primaries, power(gamma) if gamma else CURVE)
    plain = decode(encoded(image, form, b"", **options), "x")
    pixels = decode(encoded(image, form, icc, **options), "x")
    assert np.abs(pixels - seen(plain, primaries, gamma)).max() < 2
    assert np.abs(pixels.astype(int) - plain).max() > 20


@pytest.mark.parametrize(
    "icc",
    [
        coloured(SRGB, CURVE),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        coloured(P3, CURVE)[:300],
        b"junk",
        coloured(P3, CURVE).ljust(MAX_PROFILE + 1, b"\0"),
        inks(),
        grey(1.0),
    ],
    ids=["sRGB", "another sRGB", "cut", "junk", "too large", "of inks", "of grey"],
)
def test_srgb_and_what_is_no_profile_of_these_pixels_change_nothing(icc):
    image = Image.fromarray(picture(0))
    assert np.array_equal(decode(encoded(image, "PNG", icc), "x"), picture(0))
    assert conversion("RGB", icc) is None


def test_grey_and_inks_go_by_their_profiles():
    values = np.arange(256, dtype=np.uint8)[None]
    for form, alpha in [("PNG", False), ("PNG", True), ("TIFF", False), ("JPEG", False)]:
        image = Image.fromarray(values).convert("LA" if alpha else "L")
        pixels = decode(encoded(image, form, grey(1.0), **JPEG.get(form, {})), "x")
        plain = decode(encoded(image, form, b"", **JPEG.get(form, {})), "x")
        assert np.abs(pixels - seen(plain, SRGB, 1.0)).max() < 2
    amounts = np.zeros((8, 64, 4), np.uint8)
    amounts[:, 16:32, 0] = amounts[:, 32:48, 3] = amounts[:, 48:] = 255
    for form in ("TIFF", "JPEG"):
        data = encoded(Image.fromarray(amounts, "CMYK"), form, inks(), **JPEG.get(form, {}))
        # L* of 100, 75, 75 and 0 in sRGB.
        assert np.abs(decode(data, "x")[4, 8::16].mean(1) - (255, 185, 185, 0)).max() < 2


JPEG = {"JPEG": {"quality": 95}}


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def test_gamma_of_a_png_counts_where_no_profile_does_and_is_not_that_of_srgb():
    plain = encoded(Image.fromarray(picture(0)), "PNG", None)

    def with_chunks(*chunks: bytes) -> np.ndarray:
        return decode(plain[:33] + b"".join(chunks) + plain[33:], "x")

    def gamma(value: int) -> bytes:
        return chunk(b"gAMA", struct.pack(">I", value))

    linear = with_chunks(gamma(100_000))
    assert np.abs(linear - seen(picture(0), SRGB, 1.0)).max() <= 0.5
    icc = chunk(b"iCCP", b"x\0\0" + zlib.compress(coloured(SRGB, CURVE)))
    others = [(gamma(45_455),), (gamma(0),), (gamma(100_000), chunk(b"sRGB", b"\0"))]
    for chunks in [*others, (icc, gamma(100_000))]:
        assert np.array_equal(with_chunks(*chunks), picture(0))


def test_code_points_of_a_png_count_before_its_profile():
    plain = encoded(Image.fromarray(picture(0)), "PNG", None)
    icc = chunk(b"iCCP", b"x\0\0" + zlib.compress(coloured(P3, CURVE)))

    def told(*points: int, beside: bytes = b"") -> np.ndarray:
        return decode(plain[:33] + chunk(b"cICP", bytes(points)) + beside + plain[33:], "x")

    assert np.abs(told(12, 13, 0, 1) - seen(picture(0), P3, 0.0)).max() < 2
    assert np.abs(told(12, 8, 0, 1) - seen(picture(0), P3, 1.0)).max() < 2
    assert np.abs(told(1, 4, 0, 1) - seen(picture(0), SRGB, 2.2)).max() < 2
    wide = told(9, 1, 0, 1).astype(int)
    assert np.abs(wide - told(1, 1, 0, 1)).max() > 50
    assert np.array_equal(told(1, 13, 0, 1, beside=icc), picture(0))
    for points in [(2, 2, 0, 1), (12, 13, 9, 1), (12,), ()]:
        assert np.array_equal(told(*points), picture(0))
        assert np.abs(told(*points, beside=icc) - seen(picture(0), P3, 0.0)).max() < 2
    for points, reason in [
        ((9, 16, 0, 1), r"high dynamic range \(PQ\)"),
        ((9, 18, 0, 1), r"high dynamic range \(HLG\)"),
        ((12, 13, 0, 0), "narrow range"),
    ]:
        with pytest.raises(UnreadableImage, match=f"x: pixels of {reason} are not read"):
            told(*points)


def test_conversions_are_kept_by_profile():
    icc = coloured(P3, CURVE)
    assert conversion("RGB", icc) is conversion("RGB", bytes(bytearray(icc)))
    assert SAME < 5
