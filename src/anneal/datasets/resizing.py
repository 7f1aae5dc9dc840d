"""Resizing of images: shorter side, then centre crop (Pillow, no torch)."""

import numpy as np
import numpy.typing as npt
from PIL import Image

Bytes = npt.NDArray[np.uint8]


def fit(image: Image.Image, *, size: int | None, num_channels: int) -> Bytes:
    """Return an image as ``(num_channels, height, width)`` bytes.

    The shorter side is resized to ``size`` px (Pillow's bilinear filter, which is antialiased and
    computes in integers, so it gives the same bytes on every machine), then the centre is cropped.

    Args:
        image: in any mode of 8 bits a channel.
        size: side of the square in px; None keeps the stored size.
        num_channels: 1 (grey) or 3 (red, green, blue).

    Raises:
        ValueError: more than 8 bits a channel, which would be clipped.
    """
    if image.mode not in _MODES:
        raise ValueError(f"images must have 8 bits a channel, got Pillow's mode {image.mode!r}")
    converted = image.convert("L" if num_channels == 1 else "RGB")
    if size is not None:
        converted = _cut_square(converted, size)
    pixels = np.asarray(converted, dtype=np.uint8)
    return pixels[None] if num_channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def fit_all(images: Bytes, *, size: int | None) -> Bytes:
    """Return a batch ``(N, C, H, W)`` brought to ``size``; the same array when it has that size."""
    num_channels = images.shape[1]
    if size is None or images.shape[2:] == (size, size):
        return images
    fitted = np.empty((len(images), num_channels, size, size), dtype=np.uint8)
    for index, image in enumerate(images):
        pixels = image[0] if num_channels == 1 else image.transpose(1, 2, 0)
        fitted[index] = fit(Image.fromarray(pixels), size=size, num_channels=num_channels)
    return fitted


_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


def _cut_square(image: Image.Image, size: int) -> Image.Image:
    """Resize the shorter side to ``size`` and cut the centre square out."""
    shorter = min(image.size)
    width, height = (max(size, round(side * size / shorter)) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))
