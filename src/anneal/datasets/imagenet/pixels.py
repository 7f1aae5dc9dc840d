"""From the bytes of an image file to the pixels of a store: decoded, converted to RGB, warped.

A warp keeps no aspect ratio, as Caffe's ``convert_imageset`` and Chrabaszcz et al. (1707.08819)
resize. EXIF orientation is ignored, as both ignore it.
"""

import importlib.metadata
import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from anneal.datasets.jpeg import decode_colour_jpeg, simplejpeg
from anneal.datasets.resizing import Bytes, fit, resize_bilinear

FILTERS = ("bilinear", "box")
SCALED_TO = 4  # with DCT scaling, both sides of the decoded image have this many times the size
QUALITY = 95  # of the JPEGs in a store
_DEEP_WHITE = 65535.0
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


@dataclass(frozen=True, kw_only=True)
class Warp:
    """How an image becomes ``(size, size, 3)`` bytes, red, green, blue.

    Args:
        size: side in px.
        filter: "bilinear" (antialiased) or "box".
        dct_scaling: decode a JPEG at a half, a quarter or an eighth while both sides keep
            ``SCALED_TO * size`` px. Faster, other pixels: benchmarks/imagenet.py measures both. On
            smooth pictures a test holds the mean difference to 4 of 255 for "box", 2 for
            "bilinear"; "box" moves whole pixels from one box to the next.
    """

    size: int
    filter: str
    dct_scaling: bool = False

    def __call__(self, content: bytes) -> Bytes:
        """Return the pixels of an image file.

        Raises:
            ValueError, OSError, SyntaxError: it cannot be decoded.
        """
        space = "RGBX" if self.filter == "box" else "RGB"  # as Pillow keeps pixels: no copy
        return warp(decode(content, smallest=self.smallest, space=space), self)

    @property
    def smallest(self) -> int:
        """The least height and width of a decoded image with DCT scaling; 0: no scaling."""
        return SCALED_TO * self.size if self.dct_scaling else 0


def describe_libraries(filter_name: str) -> dict[str, str]:
    """Return the libraries that decide about pixels, with their versions."""
    pillow = f"Pillow {importlib.metadata.version('pillow')}"
    decoder = f"simplejpeg {simplejpeg.__version__}, {pillow}" if simplejpeg else pillow
    resizer = (
        f"torch {torch.__version__.partition('+')[0]}" if filter_name == "bilinear" else pillow
    )
    return {"decoder": decoder, "resizer": resizer}


def decode(content: bytes, *, smallest: int = 0, space: str = "RGB") -> Bytes:
    """Return an image file as ``(height, width, 3)``, red, green, blue.

    simplejpeg decodes colour JPEGs. Pillow decodes everything else: CMYK, grey, 16 bits, PNG under
    the name of a JPEG, and all files where simplejpeg is missing; it converts to RGB.

    Args:
        content: of the file.
        smallest: with DCT scaling, the least height and width of the result; 0: no scaling.
        space: "RGBX" lets simplejpeg add a byte to each pixel: (height, width, 4).
    """
    decoded = decode_colour_jpeg(content, smallest=smallest, space=space)
    if decoded is not None:
        return decoded
    with Image.open(io.BytesIO(content)) as image:
        pixels = fit(image, size=None, num_channels=3, full_pixel=_DEEP_WHITE)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))


def warp(pixels: Bytes, to: Warp) -> Bytes:
    """Resize ``(height, width, 3)`` to ``(size, size, 3)``; each side by its own factor.

    For "box" a pixel may have a fourth byte, which is left out.

    "bilinear" is torch's antialiased filter on bytes, which differs from Pillow's by at most 1.
    "box" is Pillow's: the plain mean of the pixels whose centres lie in the box of a target pixel,
    rounded after each of the two directions.
    """
    if to.filter == "box":
        height, width, num_bytes = pixels.shape
        space = "RGBX" if num_bytes > 3 else "RGB"
        image = Image.frombuffer(space, (width, height), pixels, "raw", space, 0, 1)
        resized = np.asarray(image.resize((to.size, to.size), Image.Resampling.BOX))
        return np.array(resized[..., :3], order="C")
    return resize_bilinear(pixels, height=to.size, width=to.size)


def encode(pixels: Bytes) -> bytes:
    """Return pixels as JPEG of quality ``QUALITY`` with chroma subsampled by two."""
    if simplejpeg is not None:
        found: bytes = simplejpeg.encode_jpeg(pixels, quality=QUALITY, colorsubsampling="420")
        return found
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "JPEG", quality=QUALITY, subsampling="4:2:0")
    return target.getvalue()
