import json

import numpy as np
import pytest
import torch

from render import Renderer, RenderSettings
from shards import Sample, ShardError, ShardWriter, encode_png
from vae import Stage, fit
from vae.data.em import CLASSES, LOWEST, em_map, text_scores, text_sums


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


def test_scores_by_size_are_those_of_the_pixels_of_each_size():
    rng = np.random.default_rng(5)
    image, output = (rng.uniform(-1, 1, (4, 3, 5, 7)).astype(np.float32) for _ in range(2))
    em = rng.integers(0, 26, (4, 5, 7), dtype=np.uint8)
    parts = [
        text_sums(*(torch.tensor(x[part]) for x in (output, image, em)))
        for part in (slice(0, 1), slice(1, 4))
    ]
    # Of all pixels alike, in however many parts.
    means = {name: (parts[0][name] + parts[1][name]).item() / 2 for name in parts[0]}
    scores = text_scores({"l1": 0.5, **means, "total": 2.0})
    assert (scores.pop("l1"), scores.pop("total")) == (0.5, 2.0)
    assert len(scores) == 2 * len(CLASSES)
    for name, low, high in zip(CLASSES, LOWEST, (*LOWEST[1:], 256), strict=True):
        inside = (low <= em) & (em < high)
        error = (output - image).transpose(0, 2, 3, 1)[inside]
        assert scores[f"text_l1/{name}"] == pytest.approx(np.abs(error).mean(), rel=1e-4)
        psnr = 10 * np.log10(4 / (error**2).mean())
        assert scores[f"text_psnr/{name}"] == pytest.approx(psnr, rel=1e-4)


def test_sizes_that_were_not_there_have_no_score_and_exact_text_has_a_finite_one():
    image, em = torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.uint8)
    em[0, 0] = 9
    sums = {name: value.item() for name, value in text_sums(image, image, em).items()}
    assert text_scores(sums) == {f"text_l1/{CLASSES[1]}": 0, f"text_psnr/{CLASSES[1]}": 100}
    assert text_scores({"l1": 1.0}) == {"l1": 1.0}


def test_a_run_logs_errors_inside_text_where_it_is_asked_to(settings, tmp_path):
    (tmp_path / "pages").mkdir()
    with ShardWriter(tmp_path / "pages", 0, recipe="test") as shard:
        for i in range(3):
            pixels = np.random.default_rng(i).integers(0, 256, (40, 40, 3), np.uint8)
            meta = {"width": 40, "height": 40, "lines": [line((0, 0, 40, 40), 9)]}
            shard.write(Sample(f"{i:06d}", encode_png(pixels), "png", "x", meta))
    streams = {"synthetic": tmp_path / "pages"}
    stage = {**settings.stages[0].model_dump(), "samples": 8, "shares": {"synthetic": 1.0}}
    settings = settings.model_copy(update={"stages": (Stage(**stage),), "average": 0})
    for asked in (True, False):
        told = settings.model_copy(update={"text_metrics": asked})
        fit(told, streams, tmp_path / f"{asked}")
    rows, without = (
        [json.loads(at) for at in (tmp_path / f"{asked}/metrics.jsonl").read_text().splitlines()]
        for asked in (True, False)
    )
    assert not any("text" in name for row in without for name in row)
    assert {name for name in rows[-1] if "text" in name} == {"text_l1/8-11", "text_psnr/8-11"}
    # Pages that are text all over.
    assert rows[-1]["text_l1/8-11"] == pytest.approx(rows[-1]["l1"], rel=1e-3)
    # It changes nothing else.
    assert [row["total"] for row in rows] == [row["total"] for row in without]
