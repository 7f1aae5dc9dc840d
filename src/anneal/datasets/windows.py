"""Square windows of images: one for each image of a batch.

Shapes: B images, C channels, H height, W width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of a batch.

    Args:
        offsets: rows and columns of the upper left pixels, int64 (2, B), on the CPU.
        side: of the windows in px.
    """

    offsets: Tensor
    side: int

    def part(self, here: slice) -> "Windows":
        """Return the windows of some of the images."""
        return Windows(self.offsets[:, here], self.side)

    def cut(self, images_BCHW: Tensor) -> Tensor:
        """Return the windows of images, (B, C, side, side); of one image, if there is just one.

        A single window is a view.
        """
        if len(images_BCHW) == self.offsets.shape[1] == 1:
            top, left = self.offsets[:, 0].tolist()
            return images_BCHW[:, :, top : top + self.side, left : left + self.side]
        shape = (self.offsets.shape[1], images_BCHW.shape[1], self.side, self.side)
        return cut_windows(images_BCHW, self.offsets.to(images_BCHW.device), shape)


def random_windows(
    num_images: int, image_shape: tuple[int, ...], side: int, generator: torch.Generator
) -> Windows:
    """Draw a window for each image, every place with the same probability."""
    places = [size - side + 1 for size in image_shape[1:]]
    drawn = [torch.randint(count, (num_images,), generator=generator) for count in places]
    return Windows(torch.stack(drawn), side)


def centre_windows(num_images: int, image_shape: tuple[int, ...], side: int) -> Windows:
    """Return the centre window of each image, at (H - side) // 2 and (W - side) // 2."""
    centre = torch.tensor([(size - side) // 2 for size in image_shape[1:]])
    return Windows(centre[:, None].expand(2, num_images), side)


def cut_windows(images: Tensor, offsets: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Cut one window of ``shape`` (B, C, h, w) out of each image.

    Every row of a window is a contiguous stretch of the images' memory, so the cut is one selection
    of rows from all stretches of that length (overlapping views of the same memory).

    Args:
        images: (B, C, H, W); or (1, C, H, W), out of which all windows are cut.
        offsets: (2, B), rows and columns of the windows in their images, on the same device.
        shape: of the result.
    """
    num_images, num_channels, height, width = shape
    images = images.contiguous()
    image_stride, channel_stride, row_stride, _ = images.stride()
    device = images.device
    windows = torch.arange(num_images, device=device) * (image_stride if len(images) > 1 else 0)
    windows = windows + offsets[0] * row_stride + offsets[1]
    channels = torch.arange(num_channels, device=device) * channel_stride
    rows = torch.arange(height, device=device) * row_stride
    starts = windows[:, None, None] + channels[:, None] + rows
    stretches = images.as_strided((images.numel() - width + 1, width), (1, 1))
    return stretches.index_select(0, starts.flatten()).view(shape)
