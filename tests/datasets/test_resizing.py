import numpy as np
import pytest
from PIL import Image

from anneal.datasets.resizing import fit, fit_all, fit_pixels


def test_batch_of_the_right_size_is_left_alone():
    images = np.zeros((2, 3, 8, 8), dtype=np.uint8)
    assert fit_all(images, size=8) is images
    assert fit_all(images, size=None) is images


@pytest.mark.parametrize("num_channels", [1, 3])
def test_batch_is_resized_as_its_images_are(num_channels):
    shape = (4, num_channels, 8, 8)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    fitted = fit_all(images, size=12)
    for image, found in zip(images, fitted, strict=True):
        picture = Image.fromarray(image[0] if num_channels == 1 else image.transpose(1, 2, 0))
        expected = np.asarray(picture.resize((12, 12), Image.Resampling.BILINEAR))
        expected = expected[None] if num_channels == 1 else expected.transpose(2, 0, 1)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("width", "height"), [(9, 7), (7, 9), (100, 3), (5, 5), (1, 1)])
def test_any_shape_becomes_the_square_asked_for(width, height):
    assert fit(Image.new("RGB", (width, height)), size=6, num_channels=3).shape == (3, 6, 6)


def test_transparency_and_palettes_become_colours():
    for mode in ("RGBA", "P", "LA", "CMYK", "1"):
        assert fit(Image.new(mode, (4, 4)), size=None, num_channels=3).shape == (3, 4, 4)


def test_more_than_8_bits_a_channel_are_refused():
    with pytest.raises(ValueError, match="8 bits a channel, got Pillow's mode 'I;16'"):
        fit(Image.new("I;16", (4, 4)), size=None, num_channels=1)


@pytest.mark.parametrize("shape", [(75, 56), (50, 90), (10, 10), (333, 500)])
def test_torch_resizes_and_cuts_as_pillow_within_one_step(shape):
    small = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize(shape[::-1])
    found = fit_pixels(np.asarray(image).copy(), size=10)
    expected = fit(image, size=10, num_channels=3)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 1
