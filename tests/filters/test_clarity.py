import io

import cv2
import numpy as np
import pytest
from PIL import Image

from filters import Clarity, Compression, Resolution
from filters.clarity import blockiness
from filters.edges import TILE, edge_slopes, edge_types, richest_tiles
from shards import RGB, ImageSource
from tests.filters.pages import page


def photo(name: str) -> RGB:
    source = ImageSource.embedded(documents=True)
    (i,) = (i for i in range(len(source)) if source.name(i).endswith(name))
    return source.read(i).pixels()


def blurred(pixels: RGB, sigma: float) -> RGB:
    return cv2.GaussianBlur(pixels, (0, 0), sigma) if sigma else pixels


def enlarged(pixels: RGB, factor: int) -> RGB:
    height, width = pixels.shape[:2]
    small = cv2.resize(pixels, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def shaken(pixels: RGB, length: int) -> RGB:
    return cv2.filter2D(pixels, -1, np.full((1, length), 1 / length, np.float32))


def jpeg(pixels: RGB, quality: int) -> RGB:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def judge(one: Resolution | Clarity | Compression, pixels: RGB) -> str | None:
    return one.reason(one.score(pixels))


def test_a_small_image_is_too_small() -> None:
    assert judge(Resolution(minimum=64), np.zeros((63, 200, 3), np.uint8)) == "too_small"
    assert judge(Resolution(minimum=64), np.zeros((64, 64, 3), np.uint8)) is None


@pytest.mark.parametrize(
    "name",
    ["astronaut.png", "camera.png", "coffee.png", "chelsea.png", "page.png", "china.jpg"],
)
def test_sharp_photographs_are_kept(name: str) -> None:
    assert judge(Clarity(), photo(name)) is None


@pytest.mark.parametrize("name", ["clock_motion.png", "text.png"])
def test_photographs_blurred_in_the_camera_are_blurry(name: str) -> None:
    assert judge(Clarity(), photo(name)) == "blurry"


@pytest.mark.parametrize("name", ["astronaut.png", "coffee.png", "china.jpg"])
def test_spoilt_copies_of_photographs_are_blurry(name: str) -> None:
    sharp = photo(name)
    noise = np.random.default_rng(0).normal(0, 5, sharp.shape)
    noisy = np.clip(blurred(sharp, 1.5) + noise, 0, 255).astype(np.uint8)
    for spoilt in (blurred(sharp, 1), blurred(sharp, 3), enlarged(sharp, 2), shaken(sharp, 9)):
        assert judge(Clarity(), spoilt) == "blurry"
    assert judge(Clarity(), noisy) == "blurry"
    assert judge(Clarity(), jpeg(blurred(sharp, 1.5), 60)) == "blurry"


def test_sharpness_falls_with_blur() -> None:
    sharp = photo("coffee.png")
    found = [Clarity().score(blurred(sharp, sigma))["sharpness"] for sigma in (0, 0.7, 1, 2)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.9
    assert found[-1] < 0.1


def test_noise_and_good_jpeg_do_not_make_a_photograph_blurry() -> None:
    sharp = photo("astronaut.png")
    noise = np.random.default_rng(0).normal(0, 6, sharp.shape)
    assert judge(Clarity(), np.clip(sharp + noise, 0, 255).astype(np.uint8)) is None
    assert judge(Clarity(), jpeg(sharp, 85)) is None


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("size_px", [8, 14, 20])
def test_a_page_of_text_is_sharp_until_it_is_blurred(language: str, size_px: int) -> None:
    sharp, _ = page(language, size_px)
    assert judge(Clarity(), sharp) is None
    assert judge(Clarity(), blurred(sharp, 1.2)) == "blurry"
    assert judge(Clarity(), enlarged(sharp, 2)) == "blurry"


def test_a_small_subject_in_focus_is_enough() -> None:
    sharp = photo("coffee.png")
    shallow = blurred(sharp, 4).copy()
    shallow[150:300, 200:350] = sharp[150:300, 200:350]
    assert judge(Clarity(), shallow) is None


def test_an_image_without_edges_is_flat_and_never_blurry() -> None:
    ramp = np.linspace(60, 200, 300).astype(np.uint8)
    sky = np.repeat(np.repeat(ramp[:, None, None], 300, 1), 3, 2)
    assert judge(Clarity(), sky) == "flat"
    assert judge(Clarity(flat="keep"), sky) is None
    assert Clarity().score(sky) == {}


def test_tiny_images_have_no_evidence() -> None:
    for height, width in ((1, 1), (5, 400), (31, 31)):
        speck = np.zeros((height, width, 3), np.uint8)
        assert judge(Clarity(flat="keep"), speck) is None
        assert judge(Compression(), speck) is None


@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (40, 700), (129, 128)])
def test_any_shape_can_be_measured(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert 0 <= Clarity().score(noise)["sharpness"] <= 1
    assert np.isfinite(Compression().score(noise)["blockiness"])


def test_richest_tiles_hold_the_detail() -> None:
    luma = np.full((600, 600), 128, np.uint8)
    luma[400:500, 400:500] = np.random.default_rng(0).integers(0, 256, (100, 100))
    tiles = richest_tiles(luma)
    assert all(tile.shape == (TILE, TILE) for tile in tiles)
    assert tiles[0].std() > 10


def test_steps_are_sharp_edges_and_ramps_are_not() -> None:
    x = np.arange(128)
    step = np.repeat(np.where(x % 32 < 17, 40, 200).astype(np.uint8)[None], 128, 0)
    ramp = np.asarray(cv2.blur(step, (9, 1)), np.uint8)
    assert edge_slopes(step)[0].max() == 1
    assert edge_slopes(step)[1].size == 0
    assert np.median(edge_slopes(ramp)[0]) < 0.25
    (edges, sharp), down = edge_types(ramp)
    assert edges > 0
    assert sharp == 0
    assert down.tolist() == [0, 0]


def test_strong_jpeg_is_blocky_wherever_the_crop_began() -> None:
    spoilt = jpeg(photo("astronaut.png"), 30)
    assert judge(Compression(), spoilt) == "blocky"
    for top, left in ((1, 0), (3, 5), (7, 7)):
        crop = spoilt[top:, left:]
        assert judge(Compression(), crop) == "blocky"
        assert judge(Compression(), jpeg(crop, 95)) == "blocky"


@pytest.mark.parametrize("name", ["astronaut.png", "coffee.png", "page.png", "china.jpg"])
def test_clean_enlarged_and_well_compressed_photographs_are_not_blocky(name: str) -> None:
    clean = photo(name)
    for one in (clean, enlarged(clean, 2), jpeg(clean, 90)):
        assert judge(Compression(), one) is None


def test_text_set_on_a_grid_of_eight_is_not_blocky() -> None:
    columns = np.full((256, 256), 255, np.uint8)
    columns[:, ::8] = 0
    assert blockiness(columns) == 0
    for size_px in (8, 16):
        assert judge(Compression(), page("zh", size_px)[0]) is None
