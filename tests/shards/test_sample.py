"""Encoding, decoding, and bounds on what is opened."""

import io
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from shards import Sample, UnreadableImage, decode, encode_png
from shards.sample import encode_jpeg, open_bounded
from tests.conftest import picture

pixels = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@given(pixels)
def test_png_is_lossless(image):
    assert np.array_equal(decode(encode_png(image), "x"), image)


@given(
    st.text(max_size=20).filter(str.isprintable),
    st.dictionaries(st.text(), st.integers(-(2**63), 2**63 - 1)),
)
def test_sample_survives_its_files(text, meta):
    sample = Sample("k", encode_png(picture(0)), "png", text, meta)
    assert Sample.of_files("k", dict(sample.files())) == sample


def test_transparency_lies_over_white():
    assert decode(encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 0))), "x").min() == 255


def test_camera_rotation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.new("RGB", (30, 20)), "JPEG", exif=exif)
    assert decode(data, "x").shape == (30, 20, 3)


@pytest.mark.parametrize("data", [b"", b"not an image", encoded(Image.new("RGB", (9, 9)))[:40]])
def test_broken_bytes_are_named(data):
    with pytest.raises(UnreadableImage, match=r"bad\.png"):
        decode(data, "bad.png")


def test_too_many_pixels_are_refused_before_decoding():
    data = encoded(Image.new("1", (20_000, 10_000)))
    with pytest.raises(UnreadableImage, match="pixels"):
        open_bounded(data, "bomb.png")


def test_files_without_image_are_named():
    with pytest.raises(UnreadableImage, match=r"k: no image among \['txt'\]"):
        Sample.of_files("k", {"txt": b"x"})


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


@pytest.mark.parametrize(
    "broken",
    [
        "sys.modules['fpng'] = None",
        "import fpng; fpng.from_ndarray = lambda pixels: b'no picture'",
        "import fpng; fpng.from_ndarray = lambda pixels: 1 / 0",
    ],
    ids=["missing", "wrong", "raising"],
)
def test_without_fpng_the_same_pixels_are_written_and_the_versions_say_so(broken):
    code = f"""
import sys
import numpy as np
{broken}
from shards import decode, encode_png
from render import versions
pixels = np.random.default_rng(0).integers(0, 256, (33, 21, 3), dtype=np.uint8)
assert np.array_equal(decode(encode_png(pixels[:, ::-1]), "x"), pixels[:, ::-1])
assert versions()["fpng"] == "none: Pillow writes PNG", versions()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
