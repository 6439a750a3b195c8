import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from render import Renderer, RenderSettings
from shards import ShardError
from vae.training.em import CLASSES, LOWEST, em_map, text_scores, text_sums


def line(box, size_px, **rest):
    return {"box": list(box), "size_px": size_px, "characters": [list(box)], **rest}


def test_a_line_fills_its_box_and_the_later_one_lies_on_top():
    meta = {"lines": [line((2, 1, 6, 4), 9), line((4, 3, 8, 99), 300), line((-3, 0, 1, 1), 5.4)]}
    expected = np.zeros((6, 10), np.uint8)
    expected[1:4, 2:6] = 9
    expected[3:, 4:8] = 255
    expected[0, 0] = 5
    np.testing.assert_array_equal(em_map(meta, 6, 10, "a"), expected)


def test_a_label_without_lines_is_a_map_without_text():
    assert not em_map({"kind": "photo"}, 3, 4, "a").any()


def test_a_line_of_a_warped_page_fills_the_hull_of_its_characters():
    """Two characters on a slope: the corners of the line's box that they do not reach stay 0."""
    characters = [[0, 0, 4, 4], [9, 5, 9, 9], [16, 16, 20, 20]]
    meta = {"warped": True, "lines": [{"box": [0, 0, 20, 20], "size_px": 4}]}
    meta["lines"][0]["characters"] = characters
    drawn = em_map(meta, 24, 24, "a")
    for left, top, right, bottom in characters:
        assert (drawn[top:bottom, left:right] == 4).all()
    assert drawn[10, 10] == 4
    assert drawn[0, 19] == drawn[19, 0] == 0
    assert drawn[:20, :20].sum() == drawn.sum()


def test_the_map_of_a_rendered_page_covers_its_characters_and_little_else():
    settings = RenderSettings(width=160, height=128, size_px=[8, 12], warp_share=0.5)
    renderer = Renderer(settings, seed=3)
    pages = [renderer.sample(i).meta for i in range(8)]
    assert {page["warped"] for page in pages} == {False, True}
    for meta in pages:
        drawn = em_map(meta, 128, 160, "a")
        boxes = np.zeros_like(drawn)
        for left, top, right, bottom in (box for at in meta["lines"] for box in at["characters"]):
            boxes[top:bottom, left:right] = 1
        assert (drawn[boxes > 0] > 0).all()
        assert {*np.unique(drawn)} <= {0, *(at["size_px"] for at in meta["lines"])}
        assert (drawn > 0).sum() < 2.5 * boxes.sum()


@pytest.mark.parametrize(
    "lines", [7, [{}], [{"box": [1, 2], "size_px": 3}], [{"box": "abcd", "size_px": 3}], ["a"]]
)
def test_lines_that_are_none_name_the_sample(lines):
    with pytest.raises(ShardError, match="sample page7: its lines are no lines"):
        em_map({"lines": lines}, 9, 9, "page7")


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_sums_by_size_are_those_of_the_pixels_of_each_size(seed):
    rng = np.random.default_rng(seed)
    image, output = (rng.uniform(-1, 1, (2, 3, 5, 7)).astype(np.float32) for _ in range(2))
    em = rng.integers(0, 26, (2, 5, 7), dtype=np.uint8)
    sums = text_sums(torch.tensor(output), torch.tensor(image), torch.tensor(em))
    for (absolute, squared, pixels), low, high in zip(
        sums.tolist(), LOWEST, (*LOWEST[1:], 256), strict=True
    ):
        inside = (low <= em) & (em < high)
        error = (output - image).transpose(0, 2, 3, 1)[inside]
        assert pixels == inside.sum()
        assert absolute == pytest.approx(np.abs(error).sum() / 3, rel=1e-4)
        assert squared == pytest.approx((error**2).sum() / 3, rel=1e-4)


def test_scores_are_of_all_batches_and_leave_out_sizes_that_were_not_there():
    one = torch.tensor([[2.0, 1.0, 4.0], [0, 0, 0], [0, 0, 0], [0, 0, 9]])
    other = torch.tensor([[2.0, 0.0, 12.0], [0, 0, 0], [0, 0, 0], [0, 0, 1]])
    scores = text_scores(torch.stack([one, other]).mean(0).tolist())
    assert {name.split("/")[1] for name in scores} == {CLASSES[0], CLASSES[3]}
    assert scores[f"text_l1/{CLASSES[0]}"] == pytest.approx(4 / 16)
    assert scores[f"text_psnr/{CLASSES[0]}"] == pytest.approx(10 * np.log10(4 * 16 / 1))
    assert np.isfinite(list(scores.values())).all()
