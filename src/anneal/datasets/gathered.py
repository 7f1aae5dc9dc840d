"""Training batches made by one gather: crop, mirror image, normalisation and memory layout at once.

What is drawn stays on the CPU, from the streams of ``TrainingBatches``, and goes to the device for
many batches at once. The batches are those of ``TrainingBatches`` to the last bit. No operation
waits for the device or has a size that depends on what was drawn.

Shapes: B images of a batch, C channels, H height, W width, h and w those of a batch's images.
"""

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from anneal.datasets.augment import draw_moves
from anneal.datasets.batches import TrainingBatches, stream_seed
from anneal.datasets.image_data import Images, Split
from anneal.datasets.normalise import FULL

AHEAD: Final = 64  # batches whose draws go to the device at once


class GatheredBatches(TrainingBatches):
    """``TrainingBatches`` of images in memory, each made by one gather.

    Args:
        split: training images, in memory.
        keywords: of ``TrainingBatches``.

    Raises:
        ValueError: the images are decoded on demand, or are signals.
    """

    def __init__(self, split: Images, **keywords: Any) -> None:
        super().__init__(split, **keywords)
        if not isinstance(self._split, Split) or len(split.image_shape) != 3:
            raise ValueError(
                "hardware.inputs must be stepwise where images are decoded on demand "
                "(dataset.memory_gib), and for signals"
            )
        channels, height, width = split.image_shape
        offsets = torch.arange(channels, device=self._device) * (height * width)
        # one channel is both, and the usual batches keep it contiguous
        self._channels_last = self._memory_format is torch.channels_last and channels > 1
        self._channel_offsets = offsets if self._channels_last else offsets[:, None, None]
        self._pixels = self._split.images.reshape(-1)
        self._per_pixel_mean: Tensor | None = None
        if self._normalise.mean is not None and self._normalise.differs_by_place:
            self._per_pixel_mean = self._normalise.mean.reshape(-1)
        self._sources: dict[int, Tensor] = {}  # of batches to come, on the device

    def __call__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return images float32 ``(B, C, h, w)`` and labels int64 ``(B,)`` on the device."""
        return self.interleaved([index])

    def interleaved(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return batches of one size as a single one, an image of each in turn."""
        kept = {number: self._sources[number] for number in numbers if number in self._sources}
        if missing := [number for number in numbers if number not in kept]:
            self._sources = kept | self._sent_ahead(missing)
        sources = [self._sources.pop(number) for number in numbers]
        source = sources[0] if len(sources) == 1 else torch.stack(sources, 1).flatten(0, 1)
        return self.gather(source)

    def draw(self, index: int) -> Tensor:
        """Draw batch ``index``: its images, and of each the source of every row and column.

        Returns:
            int32 (B, 1 + h + w), -1 for a row or column outside the image.
        """
        _, images, mirrored = self._places(index)
        count, config = len(images), self._config
        _, height, width = self.image_shape
        windows = self._windows(index, count)
        generator = self._generator.manual_seed(stream_seed(self._seed, "augment", index))
        offsets, coins = draw_moves(
            count, crop_padding=config.crop_padding, mirror=config.mirror, generator=generator
        )
        across = torch.arange(width).expand(count, width)
        if coins is not None:
            across = torch.where(coins[:, None] > 0, width - 1 - across, across)
        down = torch.arange(height).expand(count, height)
        outside = None
        if offsets is not None:
            down = down + (offsets[0] - config.crop_padding)[:, None]
            across = across + (offsets[1] - config.crop_padding)[:, None]
            if config.crop_fill == "reflect":
                down, across = _reflected(down, height), _reflected(across, width)
            else:
                outside = [(p < 0) | (p >= n) for p, n in ((down, height), (across, width))]
        if config.mirrored_copies:
            across = torch.where(mirrored[:, None], width - 1 - across, across)
        if windows is not None:
            down, across = down + windows.offsets[0][:, None], across + windows.offsets[1][:, None]
        if outside is not None:
            down, across = (
                p.masked_fill(o, -1) for p, o in zip((down, across), outside, strict=True)
            )
        return torch.cat([images[:, None], down, across], dim=1).to(torch.int32)

    def gather(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Make a batch of what :meth:`draw` returned, on the device."""
        source = source.long()
        width = self._split.image_shape[2]
        images = source[:, 0]
        rows = source[:, 1 : 1 + self.image_shape[1], None]
        columns = source[:, None, 1 + self.image_shape[1] :]
        inside = None
        if self._config.crop_padding and self._config.crop_fill == "zero":
            inside = ((rows >= 0) & (columns >= 0))[:, None]
            rows, columns = rows.clamp(min=0), columns.clamp(min=0)
        pixels = rows * width + columns
        pixels = pixels[..., None] if self._channels_last else pixels[:, None]
        places = pixels + self._channel_offsets  # in an image
        size = len(self._pixels) // len(self._split)
        gathered = self._pixels.take(places + (images * size)[:, None, None, None])
        normal = self._normalised(gathered, places)
        if inside is not None:
            normal = torch.where(inside, normal, 0.0)
        return normal, self._split.labels.index_select(0, images)

    def _normalised(self, gathered: Tensor, places: Tensor) -> Tensor:
        """Return gathered bytes as float32 (B, C, h, w), by the same steps as ``Normalise``."""
        normalise, mean = self._normalise, self._normalise.mean
        normal = gathered.to(torch.float32)
        if normalise.scale != FULL:
            normal = normal.mul_(normalise.scale / FULL)
        if self._per_pixel_mean is not None:
            normal, mean = normal.sub_(self._per_pixel_mean.take(places)), None
        if self._channels_last:
            normal = normal.permute(0, 3, 1, 2)
        if mean is not None:
            normal = normal.sub_(mean)
        return normal if normalise.std is None else normal.div_(normalise.std)

    def _sent_ahead(self, numbers: Sequence[int]) -> dict[int, Tensor]:
        """Return the sources of these batches, and of those that follow, on the device."""
        wanted = list(numbers)
        while len(wanted) < AHEAD:
            wanted.append(self._following(wanted[-1]))
        drawn = [self.draw(number) for number in wanted]
        sizes = [len(source) for source in drawn]
        together = torch.cat(drawn)
        if torch.device(self._device).type == "cuda":
            together = together.pin_memory()
        on_device = torch.split(together.to(self._device, non_blocking=True), sizes)
        return dict(zip(wanted, on_device, strict=True))


def _reflected(places: Tensor, size: int) -> Tensor:
    """Return places with those outside 0..size - 1 reflected about the outermost ones."""
    return (size - 1) - ((size - 1) - places.abs()).abs()
