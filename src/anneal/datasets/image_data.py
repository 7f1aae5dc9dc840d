"""Images (bytes) or signals (float32) with labels, in memory or decoded on demand.

Shapes: N images, C channels, H height, W width, B images of one batch.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from anneal.config.schema import DatasetConfig
from anneal.datasets.resizing import Bytes, fit_all
from anneal.datasets.windows import Windows

GIB = 2**30


class Images(Protocol):
    """One split; the interface of :class:`Split` and :class:`DecodedSplit`."""

    @property
    def labels(self) -> Tensor:
        """Class of each image, int64 ``(N,)``."""

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Channels, height and width; of signals channels and samples."""

    def __len__(self) -> int:
        """Return the number of images."""

    def take(self, indices: Tensor, windows: Windows | None = None) -> tuple[Tensor, Tensor]:
        """Return uint8 ``(B, C, H, W)`` and int64 ``(B,)`` of these images, in this order.

        With windows, each image is cut to its own.
        """

    def prefetch(self, indices: Tensor, windows: Windows | None = None) -> None:
        """Start to load the images that are likely to be taken next; changes no batch."""

    def sums(self) -> tuple[Tensor, Tensor] | None:
        """Return the integer sums of pixels (C, H, W) and of squares (C,); None: not known."""

    def to(self, device: torch.device | str) -> "Images":
        """Return the same split, giving its batches on ``device``."""

    def first(self, count: int) -> "Images":
        """Return the split of its first images alone, in stored order."""


@dataclass(frozen=True, eq=False)
class Split:
    """A split in memory.

    Args:
        images: uint8 ``(N, C, H, W)``; signals are float32 ``(N, channels, samples)``.
        labels: int64 ``(N,)``, on the same device.
    """

    images: Tensor
    labels: Tensor

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Channels, height and width; of signals channels and samples."""
        return tuple(self.images.shape[1:])

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def take(self, indices: Tensor, windows: Windows | None = None) -> tuple[Tensor, Tensor]:
        """Return these images and labels, in this order; ``indices`` on the split's device."""
        images = self.images.index_select(0, indices)
        labels = self.labels.index_select(0, indices)
        return images if windows is None else windows.cut(images), labels

    def prefetch(self, indices: Tensor, windows: Windows | None = None) -> None:
        """Do nothing: memory does not wait."""

    def sums(self) -> None:
        """Know no sums."""

    def to(self, device: torch.device | str) -> "Split":
        """Return the split on ``device``; the same tensors when they are there."""
        return Split(self.images.to(device), self.labels.to(device))

    def first(self, count: int) -> "Split":
        """Return the split of its first images alone: views of the same memory."""
        return Split(self.images[:count], self.labels[:count])


class DecodedSplit:
    """A split whose images are decoded, by a few threads, each time they are asked for.

    Args:
        decode: index of an image -> uint8 ``(C, H, W)``; called from several threads.
        labels: int64 ``(N,)``.
        image_shape: what ``decode`` gives.
        device: where batches go.
    """

    def __init__(
        self,
        decode: Callable[[int], Bytes],
        labels: Tensor,
        *,
        image_shape: tuple[int, int, int],
        device: torch.device | str = "cpu",
    ) -> None:
        self.labels = labels.to(device)
        self.image_shape = image_shape
        self._decode = decode
        self._device = device
        self._pool = ThreadPoolExecutor(decoding_threads(), thread_name_prefix="decode")
        self._prefetched: tuple[list[int], list[Future[Bytes]]] | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def take(self, indices: Tensor, windows: Windows | None = None) -> tuple[Tensor, Tensor]:
        """Return these images and labels, in this order."""
        wanted = indices.tolist()
        begun, self._prefetched = self._prefetched, None
        if begun is not None and begun[0] == wanted:
            futures = begun[1]
        else:
            for future in begun[1] if begun else ():
                future.cancel()
            futures = self._begin(wanted)
        images = np.stack([future.result() for future in futures])
        labels = self.labels.index_select(0, indices.to(self.labels.device))
        whole = torch.from_numpy(images)
        cut = whole if windows is None else windows.cut(whole)
        return cut.to(self._device), labels

    def prefetch(self, indices: Tensor, windows: Windows | None = None) -> None:  # noqa: ARG002
        """Begin to decode these images while the caller does something else."""
        wanted = indices.tolist()
        self._prefetched = wanted, self._begin(wanted)

    def sums(self) -> None:
        """Know no sums: nothing is decoded yet."""

    def to(self, device: torch.device | str) -> "DecodedSplit":
        """Return the split giving its batches on ``device``."""
        return DecodedSplit(self._decode, self.labels, image_shape=self.image_shape, device=device)

    def first(self, count: int) -> "DecodedSplit":
        """Return the split of its first images alone."""
        return DecodedSplit(
            self._decode, self.labels[:count], image_shape=self.image_shape, device=self._device
        )

    def _begin(self, wanted: Sequence[int]) -> list[Future[Bytes]]:
        return [self._pool.submit(self._decode, index) for index in wanted]


@dataclass(frozen=True, eq=False)
class ImageData:
    """One set: training and test images, and what identifies them."""

    name: str
    train: Images
    test: Images
    class_names: tuple[str, ...]
    identity: dict[str, Any]  # what datasets.identify gives, without having loaded anything
    crop: int | None = None  # side of the windows that a network sees; None: whole images

    @property
    def num_classes(self) -> int:
        """The number of classes, of which a split may lack some."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Channels, height and width; of signals channels and samples."""
        shape = self.train.image_shape
        return shape if self.crop is None else (shape[0], self.crop, self.crop)

    def first(self, count: int | None) -> "ImageData":
        """Return the set with its first training images only (None: all) and the same identity."""
        train = self.train if count is None else self.train.first(count)
        return dataclasses.replace(self, train=train)

    def to(self, device: torch.device | str) -> "ImageData":
        """Return the set with its images on ``device``; once, for all seeds of an experiment."""
        return dataclasses.replace(self, train=self.train.to(device), test=self.test.to(device))


def decoding_threads() -> int:
    """Return how many threads decode images: one for each core we may use, at most 16."""
    return min(16, len(os.sched_getaffinity(0)) if _HAS_AFFINITY else os.cpu_count() or 1)


def images_in_cache(images: Tensor) -> int:
    """Return how many images to compute on at once: their floats fit a core's cache.

    On another device than the CPU it is all of them.
    """
    if images.device.type != "cpu":
        return max(1, len(images))
    return max(1, _CACHED_FLOATS // images.shape[1:].numel())


_CACHED_FLOATS = 2**18
_HAS_AFFINITY = hasattr(os, "sched_getaffinity")


def size_gib(num_images: int, image_shape: tuple[int, int, int]) -> float:
    """Return how much memory that many images need as bytes."""
    return num_images * int(np.prod(image_shape)) / GIB


def make_split(
    decode: Callable[[int], Bytes],
    labels: Sequence[int],
    *,
    image_shape: tuple[int, int, int],
    in_memory: bool,
) -> Split | DecodedSplit:
    """Decode everything now or on demand; both give the same batches."""
    labels_n = torch.tensor(labels, dtype=torch.int64)
    lazy = DecodedSplit(decode, labels_n, image_shape=image_shape)
    if not in_memory:
        return lazy
    images = torch.empty((len(labels), *image_shape), dtype=torch.uint8)
    for chunk in torch.split(torch.arange(len(labels)), 1024):
        images[chunk[0] : chunk[-1] + 1] = lazy.take(chunk)[0]
    return Split(images, labels_n)


def check_images(split: Images) -> None:
    """Decode every image once, so that a broken one is found before training."""
    for chunk in torch.split(torch.arange(len(split)), 256):
        split.take(chunk)


def from_arrays(images: Bytes, labels: Sequence[int], config: DatasetConfig) -> Split:
    """Return arrays as a split, brought to ``config.image_size``.

    Raises:
        ValueError: they would need more memory than ``config.memory_gib``.
    """
    side = config.image_size
    shape = images.shape[1:] if side is None else (images.shape[1], side, side)
    needed = size_gib(len(images), shape)
    if needed > config.memory_gib:
        raise ValueError(
            f"dataset.memory_gib: {len(images)} images of {shape[2]} px need {needed:.3g} GiB, "
            f"more than {config.memory_gib:g}; this source is kept in memory"
        )
    fitted = fit_all(images, size=side)
    return Split(torch.from_numpy(fitted), torch.tensor(labels, dtype=torch.int64))
