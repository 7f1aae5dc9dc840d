"""From bytes to normalised floats, by statistics of the training images.

Shapes: N images of a split, B images of a batch, C channels, H height, W width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from anneal.config.schema import DatasetConfig
from anneal.datasets.image_data import Images, images_in_cache
from anneal.datasets.windows import Windows

FULL = 255  # a white pixel


@dataclass(frozen=True, eq=False)
class Normalise:
    """Bytes to float32: ``(pixel * scale / 255 - mean) / std``.

    Args:
        scale: value of a white pixel; 255 keeps the raw values, as Caffe does.
        mean: (C, H, W) or (C, 1, 1), after scaling; None subtracts nothing.
        std: (C, 1, 1) or (1, 1, 1), after scaling; None divides by nothing.
    """

    scale: float
    mean: Tensor | None = None
    std: Tensor | None = None

    @property
    def differs_by_place(self) -> bool:
        """Whether pixels at different places of an image have different means."""
        return self.mean is not None and self.mean.shape[1:] != (1, 1)

    def __call__(
        self,
        images_BCHW: Tensor,
        windows: Windows | None = None,
        *,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> Tensor:
        """Return uint8 images as float32, with windows the mean image at their places."""
        normal = torch.empty(
            images_BCHW.shape,
            dtype=torch.float32,
            device=images_BCHW.device,
            memory_format=memory_format,
        )
        laid_out = self._laid_out(images_BCHW.shape[-1], memory_format)
        each = images_in_cache(images_BCHW)
        places = windows if self.differs_by_place else None
        for first in range(0, len(normal), each):
            here = slice(first, first + each)
            laid_out._fill(normal[here], images_BCHW[here], places and places.part(here))
        return normal

    def _fill(self, normal: Tensor, images_BCHW: Tensor, windows: Windows | None) -> None:
        normal.copy_(images_BCHW)
        if self.scale != FULL:
            normal.mul_(self.scale / FULL)
        if self.mean is not None:
            normal.sub_(self.mean if windows is None else windows.cut(self.mean[None]))
        if self.std is not None:
            normal.div_(self.std)

    def _laid_out(self, width: int, memory_format: torch.memory_format) -> "Normalise":
        """Return it with statistics that vary as the images of a batch do in memory.

        In channels_last a statistic of channels is repeated along a row: torch then computes on a
        row at once instead of on a pixel.
        """
        if memory_format is not torch.channels_last:
            return self

        def laid_out(statistic: Tensor | None) -> Tensor | None:
            if statistic is None or len(statistic) == 1:
                return statistic
            if statistic.shape[2] == 1:
                statistic = statistic.expand(-1, -1, width)
            return statistic[None].contiguous(memory_format=memory_format)[0]

        return Normalise(self.scale, laid_out(self.mean), laid_out(self.std))

    def to(self, device: torch.device | str) -> "Normalise":
        """Return it with its statistics on ``device``."""
        return Normalise(
            self.scale,
            None if self.mean is None else self.mean.to(device),
            None if self.std is None else self.std.to(device),
        )


def statistics_of(split: Images, config: DatasetConfig) -> Normalise:
    """Compute the mean and standard deviation of ``config`` over all images of a training split.

    Pixels are summed as integers, so the result does not depend on device, threads or chunks.
    ``mean_image`` is a mean of each pixel (Caffe's ``compute_image_mean``, He et al.); the standard
    deviation is over all pixels of a channel, or of all channels together ("overall_std"), about
    their own mean and divided by their number (not one less).

    Raises:
        ValueError: the standard deviation of a constant channel would be a divisor.
    """
    if config.subtract == "nothing" and config.divide == "nothing":
        return Normalise(config.scale)
    total, squares = split.sums() or _sums(split)
    unit = config.scale / FULL
    num_pixels = len(split) * split.image_shape[1] * split.image_shape[2]
    channel_mean = total.sum((1, 2)).double() / num_pixels
    mean = {
        "nothing": None,
        "mean_image": total.double() / len(split) * unit,
        "channel_mean": channel_mean[:, None, None] * unit,
    }[config.subtract]
    std = None
    if config.divide != "nothing":
        centre, second = channel_mean, squares.double() / num_pixels
        if config.divide == "overall_std":
            centre, second = centre.mean(0, keepdim=True), second.mean(0, keepdim=True)
        deviation = (second - centre.square()).clamp(min=0).sqrt()
        if not bool((deviation > 0).all()):
            raise ValueError("dataset.divide: a channel is constant, its standard deviation is 0")
        std = (deviation[:, None, None] * unit).float()
    return Normalise(config.scale, None if mean is None else mean.float(), std)


def _sums(split: Images) -> tuple[Tensor, Tensor]:
    """Return the integer sums of pixels (C, H, W) and of their squares (C,) over all images."""
    total = torch.zeros(split.image_shape, dtype=torch.int64)
    squares = torch.zeros(split.image_shape[0], dtype=torch.int64)
    for chunk in torch.split(torch.arange(len(split), device=split.labels.device), 1024):
        # int32 holds a chunk: 1024 * 255 for each pixel; squares are summed in 64 bits.
        images = split.take(chunk)[0].to(torch.int32)
        total += images.sum(0, dtype=torch.int64).cpu()
        squares += images.square_().sum((0, 2, 3), dtype=torch.int64).cpu()
    return total, squares
