"""A split of a store, whose images are read from disk each time they are asked for.

Shapes: N images, B images of a batch, C channels, H height, W width.
"""

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anneal.datasets.image_data import decoding_threads, images_in_cache
from anneal.datasets.imagenet.pixels import decode
from anneal.datasets.imagenet.store import Store
from anneal.datasets.resizing import Bytes
from anneal.datasets.sources import SplitName
from anneal.datasets.windows import Windows


class PixelFile:
    """Pixels of one split of a store: image number -> rows of it.

    Reads by position, so several threads share one file and no page of it stays mapped.
    """

    def __init__(self, store: Store, split: SplitName) -> None:
        self._path = store.pixels_path(split)
        self._side = store.size
        self._file = self._path.open("rb", buffering=0)
        raw = store.identity["store"] == "raw"
        self._offsets = None if raw else store.array(split, "offsets")

    def rows(self, number: int, top: int, height: int) -> Bytes:
        """Return rows of an image, (height, W, 3), red, green, blue.

        Raises:
            ValueError: the file is shorter than its index, or an image is damaged.
        """
        if self._offsets is not None:
            first, end = (int(place) for place in self._offsets[number : number + 2])
            try:
                pixels = decode(self._read(first, end - first))
            except (OSError, SyntaxError, ValueError) as error:
                raise ValueError(f"{self._path}: image {number} is damaged: {error}") from None
            return pixels[top : top + height]
        row = self._side * 3
        content = self._read((number * self._side + top) * row, height * row)
        return np.frombuffer(content, np.uint8).reshape(height, self._side, 3)

    def _read(self, first: int, num_bytes: int) -> bytes:
        content = os.pread(self._file.fileno(), num_bytes, first)
        if len(content) != num_bytes:
            raise ValueError(f"{self._path} is shorter than its index")
        return content


@dataclass(frozen=True, eq=False)
class _Batch:
    """A batch that is being read."""

    rows: list[int]
    windows: list[list[int]] | None
    images: Tensor  # uint8 (B, H, W, 3), filled by the futures
    futures: list["Future[None]"]


class StoreSplit:
    """Images of a store, in its once-shuffled order.

    Args:
        pixels: of the split.
        order: image of the store that stands at each place, (N,).
        labels: at each place, int64 (N,); they and the indices stay on the CPU, so that nothing
            waits for the device.
        side: of the images in px.
        reverse: give channels as blue, green, red.
        known_sums: of pixels (C, H, W) and squares (C,) over all images; None: not known.
        device: where batches go.
    """

    def __init__(
        self,
        pixels: PixelFile,
        order: "np.typing.NDArray[np.int64]",
        labels: Tensor,
        *,
        side: int,
        reverse: bool,
        known_sums: tuple[Tensor, Tensor] | None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.labels = labels
        self.image_shape = (3, side, side)
        self._pixels, self._order, self._reverse = pixels, order, reverse
        self._known_sums, self._device = known_sums, torch.device(device)
        self._on_cuda = self._device.type == "cuda"
        self._threads = decoding_threads()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="read")
        self._expected: _Batch | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def take(self, indices: Tensor, windows: Windows | None = None) -> tuple[Tensor, Tensor]:
        """Return these images, or windows of them, and labels, in this order."""
        rows, places = indices.tolist(), _places(windows)
        begun, self._expected = self._expected, None
        if begun is None or begun.rows != rows or begun.windows != places:
            for future in begun.futures if begun else ():
                future.cancel()
            begun = self._begin(rows, windows)
        for future in begun.futures:
            future.result()
        images = self._sent(begun.images).permute(0, 3, 1, 2)
        labels = self._sent(self.labels.index_select(0, indices))
        if self._reverse:
            _reverse_channels(images)
        return images, labels

    def prefetch(self, indices: Tensor, windows: Windows | None = None) -> None:
        """Begin to read these images while the caller does something else."""
        self._expected = self._begin(indices.tolist(), windows)

    def sums(self) -> tuple[Tensor, Tensor] | None:
        """Return the integer sums of pixels (C, H, W) and of squares (C,), if they are known."""
        if self._known_sums is None or not self._reverse:
            return self._known_sums
        total, squares = self._known_sums
        return total.flip(0), squares.flip(0)

    def to(self, device: torch.device | str) -> "StoreSplit":
        """Return the split giving its batches on ``device``."""
        return self._changed(self.labels, self._known_sums, device)

    def first(self, count: int) -> "StoreSplit":
        """Return the split of its first images alone."""
        known = self._known_sums if count >= len(self) else None
        return self._changed(self.labels[:count], known, self._device)

    def _changed(
        self,
        labels: Tensor,
        known_sums: tuple[Tensor, Tensor] | None,
        device: torch.device | str,
    ) -> "StoreSplit":
        return StoreSplit(
            self._pixels,
            self._order[: len(labels)],
            labels,
            side=self.image_shape[1],
            reverse=self._reverse,
            known_sums=known_sums,
            device=device,
        )

    def _sent(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device, non_blocking=self._on_cuda)

    def _begin(self, rows: list[int], windows: Windows | None) -> _Batch:
        side = self.image_shape[1] if windows is None else windows.side
        images = torch.empty(
            (len(rows), side, side, 3), dtype=torch.uint8, pin_memory=self._on_cuda
        )
        places = _places(windows)
        each = max(1, -(-len(rows) // self._threads))
        futures = [
            self._pool.submit(
                self._fill, images.numpy(), range(first, min(first + each, len(rows))), rows, places
            )
            for first in range(0, len(rows), each)
        ]
        return _Batch(rows, places, images, futures)

    def _fill(
        self, images: Bytes, share: range, rows: Sequence[int], places: list[list[int]] | None
    ) -> None:
        side = images.shape[1]
        for number in share:
            top, left = (places[0][number], places[1][number]) if places else (0, 0)
            found = self._pixels.rows(int(self._order[rows[number]]), top, side)
            images[number] = found[:, left : left + side]


def _places(windows: Windows | None) -> list[list[int]] | None:
    found: list[list[int]] | None = None if windows is None else windows.offsets.tolist()
    return found


def _reverse_channels(images_BCHW: Tensor) -> None:
    """Reverse the channels of images stored pixel by pixel, in place.

    All bytes of a row backwards, then its pixels: torch vectorises both, a flip of channels not.
    """
    for part in torch.split(images_BCHW, images_in_cache(images_BCHW)):
        backwards = part.permute(0, 2, 3, 1).flatten(2).flip(2)  # (b, H, W * C)
        part.copy_(backwards.view(-1, *part.shape[2:], part.shape[1]).permute(0, 3, 1, 2).flip(3))


def made_up_split(folder: Path, *, side: int, labels: Tensor) -> StoreSplit:
    """Write random pixels as a raw store has them, to measure how fast they are read."""
    store = Store(folder, {"size": side, "store": "raw"})
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), side, side, 3), np.uint8)
    pixels.tofile(store.pixels_path("train"))
    return StoreSplit(
        PixelFile(store, "train"),
        np.arange(len(labels)),
        labels,
        side=side,
        reverse=False,
        known_sums=None,
    )
