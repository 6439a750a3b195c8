import json
import sys
from dataclasses import FrozenInstanceError
from subprocess import run
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from filters import FILTERS, Chain, Clarity, Density, FilterSettings, Resolution, Verdict, build
from shards import RGB, Settings
from tests.filters.pages import page


class Fake:
    def __init__(self, name: str, verdict: str | None) -> None:
        self.name, self.verdict, self.calls = name, verdict, 0

    def score(self, pixels: RGB) -> dict[str, float]:
        self.calls += 1
        return {self.name: float(pixels.mean())}

    def reason(self, scores: dict[str, float]) -> str | None:
        return self.verdict


BLACK = np.zeros((4, 4, 3), np.uint8)


def test_an_image_that_passes_everything_is_kept_with_all_its_scores() -> None:
    verdict = Chain([Fake("one", None), Fake("two", None)]).judge(BLACK)
    assert verdict == Verdict(None, {"one": 0, "two": 0})
    assert verdict.kept


def test_the_first_reason_stops_the_chain() -> None:
    last = Fake("three", "never")
    verdict = Chain([Fake("one", None), Fake("two", "dull"), last]).judge(BLACK)
    assert verdict == Verdict("dull", {"one": 0, "two": 0})
    assert not verdict.kept
    assert last.calls == 0


def test_an_empty_chain_keeps_everything() -> None:
    assert Chain([]).judge(BLACK) == Verdict(None, {})


def test_a_verdict_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Verdict("dull").reason = None  # pyright: ignore[reportAttributeAccessIssue]


def test_build_puts_cheap_filters_first() -> None:
    chain = build([Density(), Clarity(), Resolution(minimum=9)])
    assert [type(one) for one in chain.filters] == [Resolution, Clarity, Density]
    verdict = chain.judge(BLACK)
    assert verdict == Verdict("too_small", {"short_side_px": 4})


class Recipe(Settings):
    filter: tuple[FilterSettings, ...]


def recipe(**table: Any) -> FilterSettings:
    return Recipe.model_validate({"filter": [table]}).filter[0]


def test_every_filter_can_be_named_in_a_recipe() -> None:
    assert list(FILTERS) == ["resolution", "compression", "clarity", "density"]
    for kind, one in FILTERS.items():
        assert type(recipe(kind=kind)) is one
    assert recipe(kind="clarity", minimum=0.5) == Clarity(minimum=0.5)


def test_settings_survive_json() -> None:
    before = Recipe(filter=(Clarity(flat="keep"), Density(maximum=9000)))
    assert Recipe.model_validate_json(before.model_dump_json()) == before


def test_an_unknown_kind_names_the_allowed_ones() -> None:
    with pytest.raises(ValidationError) as caught:
        recipe(kind="sharpness")
    assert all(repr(kind) in str(caught.value) for kind in FILTERS)


@pytest.mark.parametrize(
    "table",
    [
        {"kind": "clarity", "minimun": 0.5},
        {"kind": "clarity", "minimum": 1.5},
        {"kind": "clarity", "flat": "maybe"},
        {"kind": "resolution", "minimum": 0},
        {"kind": "compression", "maximum": -1},
        {"kind": "density", "max_side": 4000},
    ],
)
def test_impossible_settings_are_refused(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=table["kind"]):
        recipe(**table)


def test_measuring_and_deciding_are_apart() -> None:
    pixels, _ = page("en", 14)
    scores = Clarity().score(pixels)
    assert Clarity(minimum=0).reason(scores) is None
    assert Clarity(minimum=1).reason(scores) == "blurry"


def test_scores_can_be_written_as_strict_json() -> None:
    sky = np.full((64, 64, 3), 200, np.uint8)
    for pixels in (page("en", 14)[0], sky):
        for one in (FILTERS["resolution"](), FILTERS["compression"](), FILTERS["clarity"]()):
            scores = one.score(pixels)
            assert json.loads(json.dumps(scores, allow_nan=False)) == scores


def test_importing_the_package_loads_no_engine() -> None:
    code = (
        "import sys, filters; print(sorted({'rapidocr', 'onnxruntime', 'torch'} & {*sys.modules}))"
    )
    done = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
