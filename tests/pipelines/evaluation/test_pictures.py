"""Pictures of an evaluation, kept and shown."""

import numpy as np

from pipelines.evaluation.pictures import DETAIL, difference, keep, kept, preview
from shards.store import Folder
from tests.conftest import picture

MODEL, DCT = "model f16c64", "DCT f16c64"


def test_what_is_kept_is_read_back_in_order(tmp_path):
    original, outputs = picture(0), {DCT: picture(1), MODEL: picture(2)}
    for data in ("unseen_photos", "unseen_pages"):
        keep(Folder(tmp_path / data / "000000003"), original, outputs)
    examples = list(kept(tmp_path))
    assert [example.data for example in examples] == ["unseen_pages", "unseen_photos"]
    assert [*examples[0].outputs] == [MODEL, DCT]
    assert np.array_equal(examples[0].original, original)
    assert all(np.array_equal(examples[0].outputs[name], outputs[name]) for name in outputs)


def test_the_difference_is_doubled_and_the_same_in_both_directions():
    dark, bright = np.full((1, 1, 3), 10, np.uint8), np.full((1, 1, 3), 30, np.uint8)
    assert difference(dark, bright).tolist() == difference(bright, dark).tolist() == [[[40] * 3]]
    assert difference(dark, dark).max() == 0
    assert difference(dark, bright + 200).max() == 255


def test_the_preview_shows_the_first_example_of_each_data_set(tmp_path):
    for data, keys in (("b", "12"), ("a", "34")):
        for key in keys:
            pixels = picture(int(key), 256, 256)
            keep(Folder(tmp_path / data / key), pixels, {MODEL: pixels // 2})
    shown = preview(list(kept(tmp_path)))
    assert shown.shape == (2 * 2 * DETAIL, 2 * 2 * 3 * DETAIL, 3)
    assert np.array_equal(shown[:2:2, : 6 * DETAIL : 2], picture(3, 256, 256)[:1, : 3 * DETAIL])
    assert np.array_equal(shown[2 * DETAIL, 6 * DETAIL], picture(1, 256, 256)[0, 0] // 2)
