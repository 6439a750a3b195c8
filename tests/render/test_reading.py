"""An OCR engine reads what was drawn: text of 12 to 20 px on plain paper, at its own size."""

import pytest

from filters.ocr import Recognizer
from render import Renderer, RenderSettings
from vae import ned

PAGES = 6


@pytest.fixture(scope="module")
def reader() -> Recognizer:
    return Recognizer(limit_side=736)


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "zh", "zh-hant"])
def test_pages_are_read_back(reader, language):
    settings = {
        "width": 256, "height": 256, "size_px": (12, 20), "flat_share": 1,
        "languages": {language: 1}, "layouts": {"paragraph": 1},
        "character_shares": {},  # a reader guesses words, and runs of rare Han are none
    }  # fmt: skip
    one = Renderer(RenderSettings.model_validate(settings))
    scores = []
    for i in range(PAGES):
        sample = one.sample(i)
        wanted, read = (
            "".join(text.split()) for text in (sample.text, reader.read(sample.pixels()))
        )
        scores.append(ned(wanted, read))
    assert sum(scores) / PAGES >= 0.99, scores
