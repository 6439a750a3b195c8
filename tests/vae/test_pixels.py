import numpy as np
import torch

from vae import to_image, to_pixels

EVERY_VALUE = np.arange(256, dtype=np.uint8).reshape(8, 32, 1).repeat(3, 2)


def test_every_value_of_a_pixel_comes_back():
    image = to_image(EVERY_VALUE)
    assert (image.shape, image.dtype) == ((3, 8, 32), torch.float32)
    assert (image.min(), image.max()) == (-1, 1)
    np.testing.assert_array_equal(to_pixels(image), EVERY_VALUE)


def test_axes_in_front_stay_where_they_are():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2, 5, 4, 6, 3), dtype=np.uint8)
    image = to_image(pixels)
    assert image.shape == (2, 5, 3, 4, 6)
    torch.testing.assert_close(image[1, 2], to_image(pixels[1, 2]))
    np.testing.assert_array_equal(to_pixels(image), pixels)


def test_values_beyond_the_range_are_clamped_and_others_rounded():
    image = torch.tensor([-7.0, -1 + 0.9 / 127.5, 7.0]).reshape(3, 1, 1)
    assert to_pixels(image.requires_grad_()).tolist() == [[[0, 1, 255]]]


def test_an_image_shares_no_memory_with_read_only_pixels():
    pixels = EVERY_VALUE.copy()
    pixels.flags.writeable = False
    to_image(pixels).zero_()
    np.testing.assert_array_equal(pixels, EVERY_VALUE)
