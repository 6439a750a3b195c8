from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import filters.ocr
from filters import Density, Recognizer
from filters.density import MEAN_PITCH, characters, line_height, sampled
from filters.ocr import MAX_ASPECT, Detector, PaddleReader, Quadrilateral, cut_line
from shards import ImageSource, UserError
from tests.filters.pages import page


def rectangle(x: float, y: float, width: float, height: float) -> Quadrilateral:
    corners = [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]
    return np.array(corners, np.float32)


@pytest.fixture(scope="module")
def density() -> Density:
    return Density()


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer()


def letters(text: str) -> int:
    return len("".join(text.split()))


@pytest.mark.parametrize(
    ("language", "size_px"), [("en", 10), ("en", 14), ("en", 20), ("zh", 12), ("zh", 20)]
)
def test_the_estimate_is_close_to_the_truth(density: Density, language: str, size_px: int) -> None:
    pixels, text = page(language, size_px)
    scores = density.score(pixels)
    assert scores["characters"] == pytest.approx(letters(text), rel=0.35)
    per_megapixel = 1e6 * scores["characters"] / (256 * 256)
    assert scores["characters_per_megapixel"] == pytest.approx(per_megapixel, rel=0.01)
    assert density.reason(scores) is None


def test_line_height_is_about_the_size_of_the_type(density: Density) -> None:
    assert 12 <= density.score(page("en", 16)[0])["line_height_px"] <= 26


def test_large_images_are_reduced_and_scored_in_their_own_pixels() -> None:
    pixels, text = page("en", 36, height=400, width=1000)
    scores = Density(max_side=500).score(pixels)
    assert scores["characters"] == pytest.approx(letters(text), rel=0.35)
    assert 27 <= scores["line_height_px"] <= 56


def test_a_photograph_has_few_characters(density: Density) -> None:
    source = ImageSource.embedded()
    (i,) = (i for i in range(len(source)) if source.name(i).endswith("astronaut.png"))
    assert density.reason(density.score(source.read(i).pixels())) == "few_characters"


def test_an_empty_page_has_no_characters(density: Density) -> None:
    scores = density.score(np.full((100, 300, 3), 255, np.uint8))
    assert scores == {"characters": 0, "characters_per_megapixel": 0}
    assert density.reason(scores) == "few_characters"


def test_a_maximum_drops_crowded_images() -> None:
    scores = {"characters_per_megapixel": 9000.0}
    assert Density(maximum=5000).reason(scores) == "many_characters"
    assert Density().reason(scores) is None


def test_columns_count_along_the_writing() -> None:
    across, down = rectangle(0, 0, 100, 10), rectangle(0, 0, 10, 100)
    assert characters([across], 2) == characters([down], 2) == 20
    assert line_height([across, down]) == 10
    assert sampled([down], 2) == []


def test_lines_are_sampled_from_top_to_bottom_among_the_long_ones() -> None:
    boxes = [rectangle(0, 20 * i, 30 if i % 2 else 200, 10) for i in range(8)]
    assert [box[0, 1] for box in sampled(boxes, 2)] == [40, 120]
    assert sampled(boxes, 0) == []


def test_a_cut_line_is_level_and_bounded() -> None:
    pixels = np.zeros((60, 200, 3), np.uint8)
    pixels[20:30, 10:110] = 255
    whole = cut_line(pixels, rectangle(10, 20, 100, 10), aspect=20)
    assert whole.shape == (10, 100, 3)
    assert whole.mean() > 240
    assert cut_line(pixels, rectangle(10, 20, 100, 10), aspect=4).shape == (10, 40, 3)


def test_without_sampled_lines_the_mean_pitch_is_used() -> None:
    pixels, text = page("en", 14)
    scores = Density(sampled_lines=0).score(pixels)
    boxes = Detector().boxes(pixels)
    assert scores["characters"] == pytest.approx(characters(boxes, MEAN_PITCH), rel=0.01)
    assert scores["characters"] == pytest.approx(letters(text), rel=0.5)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_clean_page_is_read_back(recognizer: Recognizer, language: str) -> None:
    from rapidfuzz.distance import Levenshtein

    pixels, text = page(language, 16)
    read = recognizer.read(pixels)
    assert read.count("\n") == text.count("\n")
    found, expected = "".join(read.split()), "".join(text.split())
    assert Levenshtein.normalized_similarity(found, expected) > 0.97


def test_nothing_is_read_from_nothing(recognizer: Recognizer) -> None:
    assert recognizer.read(np.full((64, 64, 3), 255, np.uint8)) == ""
    assert Detector().boxes(np.full((64, 64, 3), 255, np.uint8)) == []


def test_reading_is_silent(recognizer: Recognizer, capfd: pytest.CaptureFixture[str]) -> None:
    recognizer.read(np.full((64, 64, 3), 255, np.uint8))
    assert capfd.readouterr() == ("", "")


def test_a_missing_engine_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(filters.ocr, "import_module", missing)
    with pytest.raises(UserError, match=r"pip install nonpareil\[ocr\]"):
        Recognizer()


def test_paddle_needs_its_model_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a folder"):
        PaddleReader(tmp_path / "det", tmp_path)


def test_paddle_lines_are_joined_as_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, object] = {}

    class Fake:
        @staticmethod
        def PaddleOCR(**options: object) -> "Fake":
            given.update(options)
            return Fake()

        def predict(self, pixels: np.ndarray) -> list[dict[str, list[str]]]:
            return [{"rec_texts": ["one ", "二"]}]

    monkeypatch.setattr(filters.ocr, "import_module", lambda name: Fake)
    reader = PaddleReader(tmp_path, tmp_path, limit_side=736)
    assert reader.read(np.zeros((8, 8, 3), np.uint8)) == "one \n二"
    assert given["text_det_limit_side_len"] == 736
    assert given["text_detection_model_name"] == tmp_path.name


def test_no_page_is_given_to_the_engine_more_oblong_than_its_bound(monkeypatch):
    given = []

    def engine(picture):
        given.append(picture)
        return SimpleNamespace(boxes=[[[1, 0], [90, 0], [90, 8], [1, 8]]], txts=["word"])

    monkeypatch.setattr("filters.ocr._rapidocr", lambda *_: engine)
    sides = [(1, 1), (2, 2), (1, 400), (400, 1), (64, 40_000), (40_000, 3), (60, 80)]
    for height, width in sides:
        assert Density().score(np.full((height, width, 3), 7, np.uint8))["characters"] >= 0
        short, long = sorted(given[0].shape[:2])
        assert long <= MAX_ASPECT * short
        assert (given[0] == 7).all()
        given.clear()
