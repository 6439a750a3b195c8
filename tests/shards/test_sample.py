"""Encoding, and a sample and its files."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shards import Sample, UnreadableImage, decode, encode_png
from tests.conftest import picture

pixels = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


@given(pixels)
def test_png_is_lossless(image):
    assert np.array_equal(decode(encode_png(image), "x"), image)


@pytest.mark.parametrize("shape", [(1, 70_000, 3), (70_000, 1, 3)])
def test_a_side_of_more_than_16_bits_is_written_whole(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(decode(encode_png(image), "x"), image)


@given(
    st.text(max_size=20).filter(str.isprintable),
    st.dictionaries(st.text(), st.integers(-(2**63), 2**63 - 1)),
)
def test_sample_survives_its_files(text, meta):
    sample = Sample("k", encode_png(picture(0)), "png", text, meta)
    assert Sample.of_files("k", dict(sample.files())) == sample


def test_files_without_image_are_named():
    with pytest.raises(UnreadableImage, match=r"k: no image among \['txt'\]"):
        Sample.of_files("k", {"txt": b"x"})


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
