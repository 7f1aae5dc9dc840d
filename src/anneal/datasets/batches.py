"""Batches as functions of their number: normalised, augmented, on the device.

Shapes: N images of a split, B images of a batch, C channels, H height, W width.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from anneal.config.schema import DatasetConfig
from anneal.datasets.augment import augment, mirror_some
from anneal.datasets.image_data import Images
from anneal.datasets.splitting import stratified_split

_FULL = 255  # a white pixel


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

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        """Return uint8 images as float32 on the same device."""
        normal = images_BCHW.to(torch.float32)
        if self.scale != _FULL:
            normal = normal.mul_(self.scale / _FULL)
        if self.mean is not None:
            normal = normal.sub_(self.mean)
        if self.std is not None:
            normal = normal.div_(self.std)
        return normal

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
    total = torch.zeros(split.image_shape, dtype=torch.int64)  # (C, H, W)
    squares = torch.zeros(split.image_shape[0], dtype=torch.int64)  # (C,)
    for chunk in torch.split(torch.arange(len(split), device=split.labels.device), 1024):
        # int32 holds a chunk: 1024 * 255 for each pixel; squares are summed in 64 bits.
        images = split.take(chunk)[0].to(torch.int32)
        total += images.sum(0, dtype=torch.int64).cpu()
        squares += images.square_().sum((0, 2, 3), dtype=torch.int64).cpu()
    unit = config.scale / _FULL
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


class TrainingBatches:
    """Training batch number ``index`` since the start of a run, as a function of it alone.

    Batch 0 is the first of epoch 0. "stored" repeats the stored order, as Caffe reads its LMDB:
    every batch is full, and one may have the last images and the first. "shuffled" draws a
    permutation for each epoch from a stream keyed by (seed, epoch); augmentation draws from one
    keyed by (seed, index). There is no state between calls, so a run resumes from the number.
    Both streams are drawn on the CPU: the same images in the same order on every device. With
    ``mirrored_copies`` an epoch goes over the images and their mirror images, as SGDR's does
    (loshchil/SGDR, SGDR_WRNs.py): 2N in one order.

    Args:
        split: training images.
        config: order, augmentation, and whether the last, partial batch of an epoch is dropped.
        batch_size: images in one batch.
        seed: of the run, >= 0.
        device: where batches go; images in memory are moved there once.
        normalise: from :func:`statistics_of`.
        channels_last: give images in that memory format.
        indices: the images to use, in stored order; None for all.
        following: number of a batch -> the one asked for after it, to be read ahead; None: the
            next one.

    Raises:
        ValueError: the last batch is dropped and there is no other; an image is too small to
            reflect; or images are mirrored both ways.
    """

    def __init__(
        self,
        split: Images,
        *,
        config: DatasetConfig,
        batch_size: int,
        seed: int,
        device: torch.device | str,
        normalise: Normalise,
        channels_last: bool = False,
        indices: Tensor | None = None,
        following: Callable[[int], int] | None = None,
    ) -> None:
        self._split = split.to(device)
        self._following = following or (lambda number: number + 1)
        self._config = config
        self.batch_size = batch_size
        self.image_shape = split.image_shape
        self._seed = seed
        self._device = device
        self._normalise = normalise.to(device)
        self._memory_format = torch.channels_last if channels_last else torch.contiguous_format
        stored = torch.arange(len(split)) if indices is None else indices.to("cpu", torch.int64)
        self._stored = stored
        self._generator = torch.Generator()  # seeded before every use
        self._ordered: tuple[int, Tensor, Tensor] | None = None  # the epoch last asked for
        if not len(stored):
            raise ValueError("there are no training images")
        if config.drop_last and self.num_images < batch_size:
            raise ValueError(
                f"batch_size must be at most the {self.num_images} training images when "
                f"dataset.drop_last is true, got {batch_size}"
            )
        if config.mirror and config.mirrored_copies:
            raise ValueError("dataset.mirror must be false where dataset.mirrored_copies is true")
        shorter_side = min(split.image_shape[1:])
        if config.crop_fill == "reflect" and config.crop_padding >= shorter_side:
            raise ValueError(
                f"dataset.crop_padding must be less than the image's {shorter_side} px to reflect, "
                f"got {config.crop_padding}"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the images."""
        full, partial = divmod(self.num_images, self.batch_size)
        return full if self._config.drop_last else full + (partial > 0)

    @property
    def num_images(self) -> int:
        """Images that an epoch draws from, copies and what ``drop_last`` leaves out among them."""
        return len(self._stored) * (2 if self._config.mirrored_copies else 1)

    def num_images_of(self, index: int) -> int:
        """Return how many images batch ``index`` has."""
        return len(self.indices_of(index))

    def indices_of(self, index: int) -> Tensor:
        """Return which images of the split batch ``index`` is made of, ``(B,)``.

        Raises:
            ValueError: ``index`` is negative.
        """
        return self._places(index)[0]

    def _places(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the images of batch ``index``, and which are mirror images (on the CPU)."""
        if index < 0:
            raise ValueError(f"the number of a batch must not be negative, got {index}")
        if self._config.order == "stored" and not self._config.drop_last:
            place = index * self.batch_size + torch.arange(self.batch_size)
            return self._images(place % self.num_images)
        epoch, step = divmod(index, self.steps_per_epoch)
        if self._ordered is None or self._ordered[0] != epoch:
            self._ordered = epoch, *self._images(self._order(epoch))
        first = step * self.batch_size
        here = slice(first, first + self.batch_size)
        return self._ordered[1][here], self._ordered[2][here]

    def _images(self, order: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images at places of an epoch's order, and which are mirror images."""
        images = self._stored[order % len(self._stored)].to(self._split.labels.device)
        return images, order >= len(self._stored)

    def __call__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return images float32 ``(B, C, H, W)`` and labels int64 ``(B,)`` on the device."""
        chosen, copies = self._places(index)
        images, labels = self._split.take(chosen)
        self._split.prefetch(self.indices_of(self._following(index)))
        config = self._config
        generator = self._generator.manual_seed(stream_seed(self._seed, "augment", index))
        normal = self._normalise(images)
        if config.mirrored_copies:
            mirror_some(normal, copies)
        augmented = augment(
            normal,
            crop_padding=config.crop_padding,
            crop_fill=config.crop_fill,
            mirror=config.mirror,
            generator=generator,
        )
        return augmented.contiguous(memory_format=self._memory_format), labels

    def _order(self, epoch: int) -> Tensor:
        """Return the order of an epoch's images, 0..``num_images`` - 1; copies come after all."""
        if self._config.order == "stored":
            return torch.arange(self.num_images)
        generator = self._generator.manual_seed(stream_seed(self._seed, "order", epoch))
        return torch.randperm(self.num_images, generator=generator)


class EvaluationBatches:
    """All images of a split once, in stored order, the last batch partial; iterable again.

    Args:
        split: test images, or training images held out.
        batch_size: images in one batch.
        device: where batches go; images in memory are moved there once.
        normalise: that of the training images.
        channels_last: give images in that memory format.
        indices: the images to use; None for all.
        share: (r, W): every W-th batch from number r, for one of W processes.
    """

    def __init__(
        self,
        split: Images,
        *,
        batch_size: int,
        device: torch.device | str,
        normalise: Normalise,
        channels_last: bool = False,
        indices: Tensor | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self._split = split.to(device)
        self._normalise = normalise.to(device)
        self._memory_format = torch.channels_last if channels_last else torch.contiguous_format
        chosen = torch.arange(len(split)) if indices is None else indices
        first, every = share
        self._batches = torch.split(chosen.to(self._split.labels.device), batch_size)[first::every]

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images float32 ``(B, C, H, W)`` and labels int64 ``(B,)``."""
        for number, indices in enumerate(self._batches):
            images, labels = self._split.take(indices)
            if number + 1 < len(self._batches):
                self._split.prefetch(self._batches[number + 1])
            normal = self._normalise(images)
            yield normal.contiguous(memory_format=self._memory_format), labels


def hold_out(split: Images, *, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Set a fraction of a training split aside, stratified by class, for a range test.

    Returns:
        indices to train on and indices held out, each ascending, on the CPU.
    """
    kept, aside = stratified_split(split.labels.cpu().numpy(), fraction=fraction, seed=seed)
    return torch.from_numpy(kept), torch.from_numpy(aside)


def stream_seed(seed: int, purpose: str, number: int) -> int:
    """Return 63 bits that differ for every run, purpose and number."""
    digest = hashlib.blake2b(f"{seed} {purpose} {number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
