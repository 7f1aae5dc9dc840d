"""Random crops and mirror images of a whole batch at once.

Shapes: B images, C channels, H height, W width.
"""

import torch
from torch import Tensor
from torch.nn import functional

from anneal.datasets.image_data import images_in_cache
from anneal.datasets.windows import cut_windows


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
    device = images_BCHW.device
    offsets, coins = draw_moves(
        len(images_BCHW), crop_padding=crop_padding, mirror=mirror, generator=generator
    )
    augmented = images_BCHW
    if offsets is not None:
        padded = functional.pad(images_BCHW, (crop_padding,) * 4, mode=_PAD_MODES[crop_fill])
        augmented = cut_windows(padded, offsets.to(device, non_blocking=True), images_BCHW.shape)
    if coins is not None:
        mirror_some(augmented, coins)
    return augmented


def draw_moves(
    num_images: int, *, crop_padding: int, mirror: bool, generator: torch.Generator
) -> tuple[Tensor | None, Tensor | None]:
    """Draw the crop's rows and columns (2, B), then a coin for each mirror image (B,).

    None for what is not asked for.
    """
    device, offsets, coins = generator.device, None, None
    if crop_padding:
        places, shape = 2 * crop_padding + 1, (2, num_images)
        offsets = torch.randint(places, shape, generator=generator, device=device)
    if mirror:
        coins = torch.randint(2, (num_images,), generator=generator, device=device)
    return offsets, coins


def mirror_some(images_BCHW: Tensor, which_B: Tensor) -> None:
    """Turn the images left-right, in place, where ``which_B`` is not zero.

    Args:
        images_BCHW: on any device.
        which_B: numbers or booleans; on the CPU nothing waits for the images' device.
    """
    chosen, each = which_B.nonzero()[:, 0], images_in_cache(images_BCHW)
    if each == 1:  # fewer copies than by a selection
        for number in chosen.tolist():
            images_BCHW[number] = images_BCHW[number].flip(2)
        return
    for part in torch.split(chosen.to(images_BCHW.device, non_blocking=True), each):
        images_BCHW.index_copy_(0, part, images_BCHW.index_select(0, part).flip(3))


_PAD_MODES = {"zero": "constant", "reflect": "reflect"}
