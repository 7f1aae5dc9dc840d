"""Images as bytes: turned upright, scaled to 8 bits, resized, centre-cropped."""

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

Bytes = npt.NDArray[np.uint8]


GREY_MODES = {"1", "L", "I", "F", "I;16", "I;16L", "I;16B"}  # Pillow's, of one channel


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation of an image, 1 to 8; 1 if Pillow applies it itself (TIFF)."""
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1  # a PNG may have it after the pixels, where Pillow does not read it
    found = image.getexif().get(ExifTags.Base.Orientation, 1)
    return found if found in range(1, 9) else 1


def upright(image: Image.Image) -> Image.Image:
    """Return the image turned upright as EXIF says; the same one where it is."""
    return ImageOps.exif_transpose(image) if orientation_of(image) > 1 else image


def fit(
    image: Image.Image, *, size: int | None, num_channels: int, full_pixel: float | None = None
) -> Bytes:
    """Return an image as ``(num_channels, height, width)`` bytes.

    The shorter side is resized to ``size`` px (Pillow's bilinear filter, which is antialiased and
    computes in integers, so it gives the same bytes on every machine), then the centre is cut out.

    Args:
        image: in any mode of 8 bits a channel; in grey of 16 or 32 bits with ``full_pixel``.
        size: side of the square in px; None keeps the image as it is.
        num_channels: 1 (grey) or 3 (red, green, blue).
        full_pixel: the value of white where a pixel has more than 8 bits; it becomes 255.

    Raises:
        ValueError: more than 8 bits a channel without ``full_pixel``, or a value beyond it.
    """
    if image.mode in _DEEP_MODES and full_pixel is not None:
        image = _to_bytes(image, full_pixel)
    if image.mode not in _MODES:
        hint = (
            "; give dataset.full_pixel=<the value of white, as 65535 or 1.0>"
            if image.mode in _DEEP_MODES
            else ""
        )
        raise ValueError(
            f"images must have 8 bits a channel, got Pillow's mode {image.mode!r}{hint}"
        )
    mode = "L" if num_channels == 1 else "RGB"
    converted = image if image.mode == mode else image.convert(mode)  # which copies in any case
    if size is not None:
        converted = _cut_square(converted, size)
    pixels = np.asarray(converted, dtype=np.uint8)
    return pixels[None] if num_channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def fit_pixels(pixels: Bytes, *, size: int) -> Bytes:
    """Return what :func:`fit` does for ``(height, width, 3)`` bytes, resized by torch: faster.

    Pixels may differ by 1 from those of :func:`fit`.
    """
    shorter = min(pixels.shape[:2])
    height, width = (max(size, round(side * size / shorter)) for side in pixels.shape[:2])
    resized = resize_bilinear(pixels, height=height, width=width)
    top, left = (height - size) // 2, (width - size) // 2
    window = resized[top : top + size, left : left + size]
    return np.ascontiguousarray(window.transpose(2, 0, 1))


def resize_bilinear(pixels: Bytes, *, height: int, width: int) -> Bytes:
    """Return ``(H, W, 3)`` bytes resized by torch's antialiased filter.

    It computes in integers and differs from Pillow's by at most 1.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    import torch
    from torch.nn import functional

    # As one batch in channels_last, which torch resizes without a copy.
    planes = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    resized = functional.interpolate(planes, size=(height, width), mode="bilinear", antialias=True)
    found: Bytes = resized.permute(0, 2, 3, 1)[0].contiguous().numpy()
    return found


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
_DEEP_MODES = GREY_MODES - set(_MODES)


def _to_bytes(image: Image.Image, full_pixel: float) -> Image.Image:
    """Scale 0 to ``full_pixel`` to 0 to 255, rounded."""
    pixels = np.asarray(image).astype(np.float64)
    if not (pixels.min() >= 0 and pixels.max() <= full_pixel):  # NaN too
        raise ValueError(
            f"pixels must lie in 0 to dataset.full_pixel = {full_pixel:g}, "
            f"got {pixels.min():g} to {pixels.max():g}"
        )
    return Image.fromarray(np.rint(pixels * (255 / full_pixel)).astype(np.uint8))


def _cut_square(image: Image.Image, size: int) -> Image.Image:
    """Resize the shorter side to ``size`` and cut the centre square out."""
    shorter = min(image.size)
    width, height = (max(size, round(side * size / shorter)) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))
