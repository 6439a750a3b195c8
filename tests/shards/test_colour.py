"""What a file says of its colours is done to its pixels, once; nearly always that is nothing."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from shards import decode
from shards.colour import MAX_PROFILE, SAME, conversion
from tests.conftest import picture

SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
"""XYZ of red, green and blue under D50, as the profiles of these spaces have them."""

CURVE = b"para" + struct.pack(">IHH5i", 0, 3, 0, 157286, 62119, 3416, 5072, 2651)
"""The curve of sRGB: power 2.4 above 0.04045, a line below."""


def power(gamma: float) -> bytes:
    return b"curv" + struct.pack(">IIH", 0, 1, round(256 * gamma))


def profile(space: bytes, tags: dict[bytes, bytes], connection: bytes = b"XYZ ") -> bytes:
    """An ICC profile of version 4: a header of 128 bytes, a table of tags, and what they hold."""
    head = struct.pack(">I4sI4s4s4s12x4s", 0, b"", 0x04000000, b"mntr", space, connection, b"acsp")
    head += struct.pack(">28xiii", *(round(65536 * x) for x in (0.9642, 1, 0.8249)))
    head = head.ljust(128, b"\0")
    table, held, at = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, tag in tags.items():
        padded = tag + bytes(-len(tag) % 4)
        table += name + struct.pack(">II", at + len(held), len(tag))
        held += padded
    whole = head + table + held
    return struct.pack(">I", len(whole)) + whole[4:]


def coloured(primaries: tuple[tuple[float, ...], ...], curve: bytes) -> bytes:
    tags = {b"%cTRC" % c: curve for c in b"rgb"} | {
        b"%cXYZ" % c: b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * x) for x in xyz))
        for c, xyz in zip(b"rgb", primaries, strict=True)
    }
    return profile(b"RGB ", tags)


def grey(gamma: float) -> bytes:
    return profile(
        b"GRAY",
        {b"kTRC": power(gamma), b"wtpt": b"XYZ " + struct.pack(">4i", 0, 63190, 65536, 54061)},
    )


def inks() -> bytes:
    """CMYK in which each of four inks takes a quarter of the lightness; a table of 2^4."""
    corners = (255 - 255 * sum(map(int, f"{i:04b}")) // 4 for i in range(16))
    table = b"".join(bytes((lightness, 128, 128)) for lightness in corners)
    even = bytes(range(256))
    unit = struct.pack(">9i", *(65536 * x for x in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    tag = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + unit + 4 * even + table + 3 * even
    return profile(b"CMYK", {b"A2B0": tag}, connection=b"Lab ")


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


def test_conversions_are_kept_by_profile():
    icc = coloured(P3, CURVE)
    assert conversion("RGB", icc) is conversion("RGB", bytes(bytearray(icc)))
    assert SAME < 5
