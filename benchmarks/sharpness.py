"""The fit of `filters.edges.WEIGHTS`, done again: on images that pip brings, or on yours.

The constants in the code were fitted once, on 17 CC0 photographs and on crops of documents that
are not in this repository; only their description is left (`filters/edges.py`). The recipe is
repeated here on a list that is: PHOTOGRAPHS below and pages of our own renderer. `fit` takes any
other crops. The weights are printed beside those in use, and both are judged alike.
"""

import io
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks._rows import Row, main
from filters import Clarity
from filters.edges import BIAS, WEIGHTS, EdgeMarks, edge_marks, gray, richest_tiles
from render import Renderer, RenderSettings
from shards import RGB, ImageSource

PHOTOGRAPHS = (
    *("astronaut", "brick", "camera", "chelsea", "coffee", "coins"),
    *("grass", "gravel", "motorcycle_left", "rocket", "china", "flower"),
)
"""Photographs of scikit-image and scikit-learn that are sharp once they are reduced to REDUCED; of
the others some are blurred by the camera and some are microscopy or astronomy."""

REDUCED = (0.4, 0.45, 0.5, 0.55, 0.6)
"""Each photograph is reduced to these parts of its size: what a camera recorded is then sharp."""

PAGES = 40
"""Rendered pages, English and Chinese, 8 to 20 px."""

SIDE = 384
"""Longest side of a crop, px."""

Damage = Callable[[RGB, np.random.Generator], RGB]


def blurred(sigma: float) -> Damage:
    """Blur as a lens out of focus does."""
    return lambda pixels, _: np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.uint8)


def enlarged(factor: float) -> Damage:
    """Reduce and enlarge again."""

    def damage(pixels: RGB, _: np.random.Generator) -> RGB:
        height, width = pixels.shape[:2]
        size = (round(width / factor), round(height / factor))
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        return np.asarray(
            cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8
        )

    return damage


def shaken(length: int) -> Damage:
    """Move by `length` px while the shutter is open, across or down."""

    def damage(pixels: RGB, rng: np.random.Generator) -> RGB:
        kernel = np.full((1, length), 1 / length, np.float32)
        return np.asarray(
            cv2.filter2D(pixels, -1, kernel if rng.random() < 0.5 else kernel.T), np.uint8
        )

    return damage


def noisy(deviation: float) -> Damage:
    """Add noise, in grey levels."""

    def damage(pixels: RGB, rng: np.random.Generator) -> RGB:
        return np.clip(pixels + rng.normal(0, deviation, pixels.shape), 0, 255).astype(np.uint8)

    return damage


def compressed(quality: int) -> Damage:
    """Save as JPEG, chroma at half size."""

    def damage(pixels: RGB, _: np.random.Generator) -> RGB:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file))

    return damage


def both(first: Damage, second: Damage) -> Damage:
    """Do one after the other."""
    return lambda pixels, rng: second(first(pixels, rng), rng)


SHARP: dict[str, Damage] = {
    "as it is": lambda pixels, _: pixels,
    "noise of 6": noisy(6),
    "q85": compressed(85),
}
SPOILT: dict[str, Damage] = {
    **{f"gaussian of {sigma:g} px": blurred(sigma) for sigma in (0.8, 1, 1.5, 2, 3, 5, 8)},
    **{f"enlarged {factor:g} times": enlarged(factor) for factor in (1.5, 2, 3, 4)},
    **{f"motion of {length} px": shaken(length) for length in (5, 9)},
    "gaussian of 1.5 px, noise of 5": both(blurred(1.5), noisy(5)),
    "gaussian of 1.5 px, q60": both(blurred(1.5), compressed(60)),
}
"""What is done to a crop before it is saved as JPEG of quality 95; SHARP must be kept."""


class Case(NamedTuple):
    """One copy of one crop: `tiles` (n, 3) are the marks of its richest tiles."""

    kind: str
    source: str
    copy: str
    tiles: NDArray[np.float64]


class Fit(NamedTuple):
    """Weights and bias of the logistic regression."""

    weights: EdgeMarks
    bias: float

    def sharpness(self, case: Case) -> float:
        """Return the sharpness in [0, 1] of the sharpest tile, as the filter does."""
        total = self.bias + case.tiles @ np.array(self.weights)
        return float((1 / (1 + np.exp(-total))).max())


IN_USE = Fit(WEIGHTS, BIAS)


def measure(quick: bool) -> list[Row]:
    """The weights of sharpness fitted again, and the blur that they and those in use catch."""
    crops = {"photographs": photographs(REDUCED[::2] if quick else REDUCED)}
    crops["pages"] = pages(PAGES // 4 if quick else PAGES)
    made = [case for kind, found in crops.items() for case in cases(kind, found)]
    fitted, left_out = fit(made), leave_one_out(made)
    rows = [Row(f"weight of {name}: fitted", weight, "logit") for name, weight in _named(fitted)]
    rows += [Row(f"weight of {name}: in use", weight, "logit") for name, weight in _named(IN_USE)]
    for how, fits in (("leaving one out", left_out), ("in use", dict.fromkeys(left_out, IN_USE))):
        rows += _judged(made, fits, how)
    return rows


def photographs(reduced: Iterable[float]) -> Iterator[tuple[str, RGB]]:
    """Yield crops of the photographs that pip brought, named by their source."""
    source = ImageSource.embedded()
    for i in range(len(source)):
        name = source.name(i).rpartition("/")[2].rpartition(".")[0]
        if name in PHOTOGRAPHS:
            yield from reduced_crops(name, source.read(i).pixels(), reduced)


def reduced_crops(name: str, pixels: RGB, reduced: Iterable[float]) -> Iterator[tuple[str, RGB]]:
    """Yield a crop of an image at each reduction."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    for part in reduced:
        small = cv2.resize(pixels, None, fx=part, fy=part, interpolation=cv2.INTER_AREA)
        y, x = (int(rng.integers(max(1, size - SIDE + 1))) for size in small.shape[:2])
        yield name, np.ascontiguousarray(small[y : y + SIDE, x : x + SIDE], np.uint8)


def pages(count: int) -> Iterator[tuple[str, RGB]]:
    """Yield rendered pages on paper, without effects or turns."""
    plain = {"flat_share": 1, "size_px": (8, 20), "effects": {}, "warp_share": 0}
    settings = RenderSettings.model_validate({"width": SIDE, "height": SIDE, **plain})
    renderer = Renderer(settings, seed=0)
    for i in range(count):
        yield f"page {i}", renderer.sample(i).pixels()


def cases(kind: str, crops: Iterable[tuple[str, RGB]]) -> Iterator[Case]:
    """Yield every copy of every crop that shows edges."""
    save = compressed(95)
    for number, (source, crop) in enumerate(crops):
        for copy, damage in {**SHARP, **SPOILT}.items():
            rng = np.random.default_rng([number, zlib.crc32(copy.encode())])
            pixels = save(damage(crop, rng), rng)
            marks = [edge_marks(tile) for tile in richest_tiles(gray(pixels))]
            tiles = np.array([one for one in marks if one is not None], np.float64)
            if len(tiles):
                yield Case(kind, source, copy, tiles)


def fit(made: Iterable[Case]) -> Fit:
    """Fit a logistic regression to the sharpest tile of each case, both classes alike in weight.

    Which tile is sharpest depends on the weights, so it is chosen again until it stays; at first
    by the slope of its edges.
    """
    from sklearn.linear_model import LogisticRegression

    held = list(made)
    sharp = np.array([case.copy in SHARP for case in held])
    found = Fit(EdgeMarks(0, 0, 1), 0.0)
    for _ in range(20):
        weights = np.array(found.weights)
        chosen = np.stack([case.tiles[np.argmax(case.tiles @ weights)] for case in held])
        model: Any = LogisticRegression(C=100, class_weight="balanced", max_iter=5000)
        model.fit(chosen, sharp)
        before = found
        found = Fit(EdgeMarks(*map(float, model.coef_[0])), float(model.intercept_[0]))
        if np.allclose(before.weights, found.weights, rtol=1e-3):
            break
    return found


def leave_one_out(made: list[Case]) -> dict[str, Fit]:
    """Return for each source the fit that has not seen it."""
    return {
        source: fit(case for case in made if case.source != source)
        for source in dict.fromkeys(case.source for case in made)
    }


def picture(path: Path) -> None:
    """Draw a crop of a photograph as it is and spoilt, with what the filter says of each."""
    from PIL import ImageDraw

    side, room = 176, 34
    crop = next(pixels for name, pixels in photographs([0.6]) if name == "coffee")[:side, 60:]
    shown = ("as it is", "gaussian of 1 px", "enlarged 2 times", "motion of 9 px")
    sheet = Image.new("RGB", (len(shown) * (side + 8) + 8, side + room + 8), "white")
    pen = ImageDraw.Draw(sheet)
    for number, copy in enumerate(shown):
        pixels = {**SHARP, **SPOILT}[copy](crop[:, :side], np.random.default_rng(0))
        scores = Clarity().score(pixels)
        left = 8 + number * (side + 8)
        sheet.paste(Image.fromarray(pixels), (left, 8))
        said = Clarity().reason(scores) or "kept"
        text = f"{copy}\nsharpness {scores['sharpness']:.2f}: {said}"
        pen.text((left, side + 12), text, "black")
    sheet.save(path, quality=90)


def _named(fitted: Fit) -> list[tuple[str, float]]:
    return [*zip(EdgeMarks._fields, fitted.weights, strict=True), ("bias", fitted.bias)]


def _judged(made: list[Case], fits: Mapping[str, Fit], how: str) -> list[Row]:
    """Return the share of each kind of copy that the filter would call blurry."""
    minimum = Clarity().minimum
    rows: list[Row] = []
    for kind in dict.fromkeys(case.kind for case in made):
        called: dict[str, list[bool]] = {"sharp": [], "spoilt": []}
        for case in made:
            if case.kind == kind:
                blurry = fits[case.source].sharpness(case) < minimum
                called["sharp" if case.copy in SHARP else "spoilt"].append(blurry)
                called.setdefault(case.copy, []).append(blurry)
        rows += [
            Row(f"{kind}, {how}: {copy}, called blurry", 100 * float(np.mean(blurry)), "%")
            for copy, blurry in called.items()
        ]
    return rows


if __name__ == "__main__":
    main(measure)
