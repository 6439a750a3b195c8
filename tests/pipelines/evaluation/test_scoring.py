"""Scores of reconstructions, with codecs and readers whose answers are known."""

import pickle

import numpy as np
import pytest

from pipelines.evaluation.scoring import (
    ReadingScore,
    ScoringSettings,
    crops,
    reconstruct,
    score,
    size_of,
)
from shards import Sample, ShardWriter, decode, encode_png
from tests.conftest import picture

SETTINGS = ScoringSettings(images=3, side=32, pictures=1)


class BrightnessReader:
    """Reads a bright image as one text and a dark one as another."""

    def read(self, pixels):
        return "abcd" if pixels.mean() > 64 else "abxx"


def darker(x):
    return (x + 1) / 4 - 1


@pytest.fixture
def folder(tmp_path):
    """Rendered text, a document found by the density filter, a photograph, a small image."""
    rows = {
        "a": (Sample("a", encode_png(picture(0)), "png", text="abcd"), {}),
        "b": (None, {"scores": {"characters": 40.0}}),
        "c": (None, {"scores": {"characters": 0.0}}),
        "d": (Sample("d", encode_png(picture(3, 20, 20)), "png"), {}),
    }
    out = tmp_path / "data"
    out.mkdir()
    with ShardWriter(out, 0, recipe="r") as writer:
        for i, (key, (sample, meta)) in enumerate(rows.items()):
            writer.write(sample or Sample(key, encode_png(picture(i)), "png", meta=meta))
    return out


def test_perfect_codec_and_worse_one(folder, tmp_path):
    codecs = {"same": lambda x: x, "darker": darker}
    same, worse = score(
        codecs, {"d": folder}, tmp_path / "out", SETTINGS, reader=BrightnessReader()
    )
    assert (same["images"], same["psnr"], same["ssim"], same["ned"]) == (3, None, 1.0, 1.0)
    assert worse["psnr"] < 15
    assert worse["ned"] == 0.5


def test_text_is_read_where_there_is_some(folder, tmp_path):
    (row,) = score(
        {"same": lambda x: x}, {"d": folder}, tmp_path / "out", SETTINGS, reader=BrightnessReader()
    )
    assert row["read"] == 2
    (row,) = score({"same": lambda x: x}, {"d": folder}, tmp_path / "out", SETTINGS)
    assert (row["read"], row["ned"]) == (0, None)


def test_crops_are_central_and_small_images_are_left_out(folder):
    found = {sample.key: pixels for sample, pixels in crops(folder, SETTINGS)}
    assert list(found) == ["a", "b", "c"]
    assert np.array_equal(found["a"], picture(0)[4:36, 14:46])


def test_pictures_are_what_was_scored(folder, tmp_path):
    score({"darker": darker}, {"d": folder}, tmp_path / "out", SETTINGS)
    (sample, pixels) = next(crops(folder, SETTINGS))
    kept = {path.stem: path for path in (tmp_path / "out/d" / sample.key).iterdir()}
    assert np.array_equal(decode(kept["original"].read_bytes(), "x"), pixels)
    shown = decode(kept["darker"].read_bytes(), "x")
    assert np.array_equal(shown, reconstruct(darker, pixels))


def page(size_px, box=(10, 10, 50, 30)):
    meta = {"width": 60, "height": 40, "lines": [{"size_px": size_px, "box": box}]}
    return Sample("k", encode_png(picture(0)), "png", text="abcd", meta=meta)


@pytest.mark.parametrize(
    ("size_px", "name"),
    [(7, "ned/under 8"), (8, "ned/8-11"), (19.5, "ned/12-19"), (40, "ned/from 20")],
)
def test_reading_is_scored_by_the_size_of_text(size_px, name):
    score = ReadingScore(BrightnessReader)
    bright = np.full((40, 60, 3), 255, np.uint8)
    assert score(page(size_px), bright, bright) == {"ned": 1.0, name: 1.0}
    assert score(page(size_px), bright, bright // 8) == {"ned": 0.5, name: 0.5}


def test_the_size_is_that_of_the_lines_a_crop_shows():
    crop = np.zeros((20, 20, 3), np.uint8)  # of 60 x 40 px: from (20, 10) to (40, 30)
    assert size_of(page(9, (0, 0, 19, 40)), crop) is None
    assert size_of(page(9, (0, 0, 21, 11)), crop) == "8-11"
    assert size_of(Sample("k", b"", "png", text="x"), crop) is None


def test_an_original_is_read_once_and_no_texture_is_read():
    class Counting(BrightnessReader):
        reads = 0

        def read(self, pixels):
            type(self).reads += 1
            return super().read(pixels)

    score, bright = ReadingScore(Counting), np.full((40, 60, 3), 255, np.uint8)
    assert score(Sample("p", b"", "png"), bright, bright) == {}
    assert Counting.reads == 0
    for _ in range(2):
        score(page(9), bright, bright)
    assert Counting.reads == 3
    assert pickle.loads(pickle.dumps(ReadingScore(BrightnessReader))).reader.read(bright) == "abcd"
