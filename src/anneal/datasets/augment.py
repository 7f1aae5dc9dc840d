"""Random crops and mirror images of a whole batch at once.

Shapes: B images, C channels, H height, W width.
"""

import torch
from torch import Tensor
from torch.nn import functional


def augment(
    images_BCHW: Tensor,
    *,
    crop_padding: int,
    crop_fill: str,
    mirror: bool,
    generator: torch.Generator,
) -> Tensor:
    """Crop and mirror each image by its own draw (He et al., 1512.03385v1, section 4.2).

    Applied after normalisation, so that filling with zero means filling with the mean. Offsets and
    coins are drawn on ``generator``'s device: from a CPU generator the batch is the same whatever
    device the images are on.

    Args:
        images_BCHW: float; may be overwritten.
        crop_padding: px added on each side before a crop of the old size; 0 for no crop.
        crop_fill: "zero" or "reflect" (about the outermost pixel, which is not repeated).
        mirror: flip left-right with probability 1/2, after the crop.
        generator: draws two offsets for each image, then one coin for each image.

    Returns:
        images of the same shape, contiguous.
    """
    num_images, device = len(images_BCHW), images_BCHW.device
    augmented = images_BCHW
    if crop_padding:
        offsets = torch.randint(
            2 * crop_padding + 1, (2, num_images), generator=generator, device=generator.device
        )
        padded = functional.pad(images_BCHW, (crop_padding,) * 4, mode=_PAD_MODES[crop_fill])
        augmented = _cut(padded, offsets.to(device, non_blocking=True), images_BCHW.shape)
    if mirror:
        coins = torch.randint(2, (num_images,), generator=generator, device=generator.device)
        mirror_some(augmented, coins)
    return augmented


def mirror_some(images_BCHW: Tensor, which_B: Tensor) -> None:
    """Turn the images left-right, in place, where ``which_B`` is not zero.

    Args:
        images_BCHW: on any device.
        which_B: numbers or booleans; on the CPU nothing waits for the images' device.
    """
    flipped = which_B.nonzero()[:, 0].to(images_BCHW.device, non_blocking=True)
    images_BCHW.index_copy_(0, flipped, images_BCHW.index_select(0, flipped).flip(3))


_PAD_MODES = {"zero": "constant", "reflect": "reflect"}


def _cut(padded: Tensor, offsets: Tensor, shape: torch.Size) -> Tensor:
    """Cut one window of ``shape`` (B, C, H, W) out of each padded image.

    Every row of a window is a contiguous stretch of the padded images' memory, so the cut is one
    selection of rows from all stretches of that length (overlapping views of the same memory).

    Args:
        padded: (B, C, H + 2p, W + 2p).
        offsets: (2, B), rows and columns into the padded image, 0..2p.
        shape: of the result.
    """
    num_images, num_channels, height, width = shape
    padded = padded.contiguous()
    image_stride, channel_stride, row_stride, _ = padded.stride()
    device = padded.device
    windows = torch.arange(num_images, device=device) * image_stride
    windows = windows + offsets[0] * row_stride + offsets[1]
    channels = torch.arange(num_channels, device=device) * channel_stride
    rows = torch.arange(height, device=device) * row_stride
    starts = windows[:, None, None] + channels[:, None] + rows
    stretches = padded.as_strided((padded.numel() - width + 1, width), (1, 1))
    return stretches.index_select(0, starts.flatten()).view(shape)
