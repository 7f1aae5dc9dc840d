"""Fast decoding of colour JPEGs (simplejpeg, the extra ``imagenet``); without it Pillow does it."""

import numpy as np

from anneal.datasets.resizing import Bytes

try:
    import simplejpeg
except ModuleNotFoundError:  # the extra is not installed
    simplejpeg = None

__all__ = ["decode_colour_jpeg", "simplejpeg"]

_COLOUR = ("YCbCr", "RGB")
_MOST_PIXELS = 2 * 89_478_485  # Pillow refuses more


def decode_colour_jpeg(content: bytes, *, smallest: int = 0, space: str = "RGB") -> Bytes | None:
    """Return a colour JPEG as ``(height, width, 3)``, red, green, blue.

    At full size the pixels are those of Pillow, which has the same library inside.

    Args:
        content: of the file.
        smallest: with DCT scaling, the least height and width of the result: the image is decoded
            at a half, a quarter or an eighth, faster, to other pixels. 0: no scaling.
        space: "RGB"; or "RGBX", which adds a byte to each pixel: (height, width, 4).

    Returns:
        None for anything else, for what only Pillow can read, and where simplejpeg is missing.
    """
    if simplejpeg is None or not simplejpeg.is_jpeg(content):
        return None
    try:
        height, width, stored, _ = simplejpeg.decode_jpeg_header(content)
        if stored not in _COLOUR or height * width > _MOST_PIXELS:
            return None
        scaled = smallest and min(height, width) >= 2 * smallest
        limits = {"min_height": smallest, "min_width": smallest, "min_factor": 2} if scaled else {}
        decoded = simplejpeg.decode_jpeg(content, colorspace=space, **limits)
    except ValueError:
        return None  # Pillow forgives more, or says what is wrong
    found: Bytes = np.asarray(decoded, dtype=np.uint8)
    return found
