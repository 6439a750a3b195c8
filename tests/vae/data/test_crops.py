import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vae.data.crops import native, shrunk


@st.composite
def cases(draw):
    shape = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    size = tuple(side + draw(st.integers(0, 40)) for side in shape)
    return size, shape, draw(st.integers(0, 2**32 - 1))


def cut(crop, em, pixels):
    out, map_out = np.empty((*crop.shape, 3), np.uint8), np.empty(crop.shape, np.uint8)
    crop.cut(pixels, out)
    crop.cut_em(em, map_out)
    return out, map_out


@given(cases())
def test_a_native_crop_is_a_window_of_the_image_and_the_same_of_the_map(case):
    size, shape, seed = case
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    crop = native(size, shape, rng)
    assert (crop.height, crop.width, crop.scale) == (*shape, 1)
    out, em = cut(crop, pixels[..., 0], pixels)
    np.testing.assert_array_equal(
        out, pixels[crop.top : crop.top + shape[0], crop.left : crop.left + shape[1]]
    )
    np.testing.assert_array_equal(em, out[..., 0])


@given(cases())
def test_a_shrunk_crop_fits_and_is_never_enlarged(case):
    size, shape, seed = case
    crop = shrunk(size, shape, np.random.default_rng(seed))
    assert crop.scale <= 1
    assert crop.width >= shape[1]
    assert 0 <= crop.top <= size[0] - crop.height
    assert 0 <= crop.left <= size[1] - crop.width
    assert abs(crop.height / shape[0] - crop.width / shape[1]) <= 1 / min(shape)


@given(cases(), st.integers(1, 255))
def test_where_there_is_text_in_a_shrunk_crop_its_em_shrinks_as_the_picture_does(case, em):
    """Left half text, right half none: so does the crop say, to within a pixel."""
    size, shape, seed = case
    crop = shrunk(size, shape, np.random.default_rng(seed))
    half = size[1] // 2
    drawn = np.zeros(size, np.uint8)
    drawn[:, :half] = em
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[:, :half] = 255
    out, small = cut(crop, drawn, pixels)
    assert set(np.unique(small)) <= {0, max(1, round(em * crop.scale))}
    assert (small[out[..., 0] == 255] > 0).all()
    assert (small[out[..., 0] == 0] == 0).all()


def test_scales_are_spread_evenly_over_octaves():
    rng = np.random.default_rng(0)
    times = np.log2([1 / shrunk((512, 512), (32, 32), rng).scale for _ in range(4000)])
    counts, _ = np.histogram(times, 4, (0, 4))
    assert counts.min() > 900
