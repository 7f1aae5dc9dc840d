"""Batches as functions of their number: normalised, augmented, on the device.

Shapes: N images of a split, B images of a batch, C channels, H height, W width.
"""

import hashlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from anneal.config.schema import DatasetConfig
from anneal.datasets.augment import augment, draw_moves, mirror_some
from anneal.datasets.files import CLASSES, file_sizes, full_batches
from anneal.datasets.image_data import Images
from anneal.datasets.normalise import Normalise
from anneal.datasets.splitting import stratified_split
from anneal.datasets.windows import Windows, centre_windows, random_windows


class TrainingBatches:
    """Training batch number ``index`` since the start of a run, as a function of it alone.

    Batch 0 is the first of epoch 0. "stored" repeats the stored order, as Caffe reads its LMDB:
    every batch is full, and one may have the last images and the first. "shuffled" draws a
    permutation for each epoch from a stream keyed by (seed, epoch); augmentation draws from one
    keyed by (seed, index). There is no state between calls, so a run resumes from the number.
    Both streams are drawn on the CPU: the same images in the same order on every device. With
    ``mirrored_copies`` an epoch goes over the images and their mirror images, as SGDR's does
    (loshchil/SGDR, SGDR_WRNs.py): 2N in one order. With ``files``
    an epoch goes through files in order, each shuffled inside; every batch is of one file.

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
        shape, crop = split.image_shape, config.crop
        self.image_shape = shape if crop is None else (shape[0], crop, crop)
        self._seed = seed
        self._device = device
        self._normalise = normalise.to(device)
        # before normalisation, which is the same at every place: a byte is less than a float
        self._mirrors_bytes = (
            config.mirror and not config.crop_padding and not normalise.differs_by_place
        )
        self._memory_format = torch.channels_last if channels_last else torch.contiguous_format
        stored = torch.arange(len(split)) if indices is None else indices.to("cpu", torch.int64)
        self._stored = stored
        self._files = _files_of(split.labels.cpu()[stored], config)  # places in _stored
        self._generator = torch.Generator()  # seeded before every use
        # the epoch last asked for: its images, on the device and here, and which are mirrored
        self._ordered: tuple[int, Tensor, Tensor, Tensor] | None = None
        if not len(stored):
            raise ValueError("there are no training images")
        if not self.steps_per_epoch:
            parts = "" if config.files is None else f" in {config.files} files"
            raise ValueError(
                f"batch_size must be at most the {self.num_images} training images{parts} when "
                f"dataset.drop_last is true, got {batch_size}"
            )
        if config.mirror and config.mirrored_copies:
            raise ValueError("dataset.mirror must be false where dataset.mirrored_copies is true")
        shorter_side = min(self.image_shape[1:])
        if config.crop_fill == "reflect" and config.crop_padding >= shorter_side:
            raise ValueError(
                f"dataset.crop_padding must be less than the image's {shorter_side} px to reflect, "
                f"got {config.crop_padding}"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the images."""
        if self._files is not None:
            sizes = [len(file) for file in self._files]
            copies = self.num_images // len(self._stored)
            return full_batches(sizes, copies=copies, batch_size=self.batch_size)
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

    def _places(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the images of batch ``index``, on the device and here; which are mirrored."""
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
        _, on_device, images, mirrored = self._ordered
        return on_device[here], images[here], mirrored[here]

    def _images(self, order: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what :meth:`_places` does, of places of an epoch's order."""
        images = self._stored[order % len(self._stored)]
        return images.to(self._split.labels.device), images, order >= len(self._stored)

    def __call__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return images float32 ``(B, C, H, W)`` and labels int64 ``(B,)`` on the device."""
        chosen, _, copies = self._places(index)
        windows = self._windows(index, len(chosen))
        images, labels = self._split.take(chosen, windows)
        following = self._following(index)
        expected = self.indices_of(following)
        self._split.prefetch(expected, self._windows(following, len(expected)))
        config = self._config
        generator = self._generator.manual_seed(stream_seed(self._seed, "augment", index))
        _, coins = draw_moves(
            len(images), crop_padding=0, mirror=self._mirrors_bytes, generator=generator
        )
        if coins is not None:
            mirror_some(images, coins)
        layout = torch.contiguous_format  # which padded crops need
        if not config.crop_padding:
            layout = _kept_layout(images, self._memory_format)
        normal = self._normalise(images, windows, memory_format=layout)
        if config.mirrored_copies:
            mirror_some(normal, copies)
        augmented = augment(
            normal,
            crop_padding=config.crop_padding,
            crop_fill=config.crop_fill,
            mirror=config.mirror and not self._mirrors_bytes,
            generator=generator,
        )
        return augmented.contiguous(memory_format=self._memory_format), labels

    def _windows(self, index: int, num_images: int) -> Windows | None:
        """Draw the windows of batch ``index``, from a stream of their own."""
        if self._config.crop is None:
            return None
        generator = self._generator.manual_seed(stream_seed(self._seed, "crop", index))
        return random_windows(num_images, self._split.image_shape, self._config.crop, generator)

    def _order(self, epoch: int) -> Tensor:
        """Return the order of an epoch's images, 0..``num_images`` - 1; copies come after all."""
        if self._config.order == "stored":
            return torch.arange(self.num_images)
        generator = self._generator.manual_seed(stream_seed(self._seed, "order", epoch))
        if self._files is None:
            return torch.randperm(self.num_images, generator=generator)
        parts = []
        for file in self._files:
            places = file
            if self._config.mirrored_copies:
                places = torch.cat([file, file + len(self._stored)])
            drawn = places[torch.randperm(len(places), generator=generator)]
            parts.append(drawn[: len(drawn) // self.batch_size * self.batch_size])
        return torch.cat(parts)


def _files_of(labels_N: Tensor, config: DatasetConfig) -> list[Tensor] | None:
    """Return the places of the images of each file, in stored order; None: there are no files.

    Raises:
        ValueError: other keys do not go with files.
    """
    if config.files is None:
        if config.files_hold is not None:
            raise ValueError("dataset.files_hold must be null where dataset.files is null")
        return None
    if config.order != "shuffled" or not config.drop_last:
        raise ValueError("dataset.files needs dataset.order=shuffled and dataset.drop_last=true")
    if config.files_hold != CLASSES:
        return list(
            torch.split(torch.arange(len(labels_N)), file_sizes(len(labels_N), config.files))
        )
    num_classes = int(labels_N.max()) + 1
    if config.files > num_classes:
        raise ValueError(
            f"dataset.files must be at most the {num_classes} classes, got {config.files}"
        )
    numbers = labels_N * config.files // num_classes  # file_of_class
    return [(numbers == number).nonzero()[:, 0] for number in range(config.files)]


class EvaluationBatches:
    """All images of a split once, in stored order, the last batch partial; iterable again.

    Args:
        split: test images, or training images held out.
        batch_size: images in one batch.
        device: where batches go; images in memory are moved there once.
        normalise: that of the training images.
        channels_last: give images in that memory format.
        indices: the images to use; None for all.
        crop: side of the centre window that is cut out; None: the whole image.
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
        crop: int | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self._split = split.to(device)
        self._crop = crop
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
            windows = self._windows(indices)
            images, labels = self._split.take(indices, windows)
            if number + 1 < len(self._batches):
                following = self._batches[number + 1]
                self._split.prefetch(following, self._windows(following))
            layout = _kept_layout(images, self._memory_format)
            normal = self._normalise(images, windows, memory_format=layout)
            yield normal.contiguous(memory_format=self._memory_format), labels

    def _windows(self, indices: Tensor) -> Windows | None:
        if self._crop is None:
            return None
        return centre_windows(len(indices), self._split.image_shape, self._crop)


def _kept_layout(images: Tensor, wanted: torch.memory_format) -> torch.memory_format:
    """Return the layout wanted where the bytes have it and are no planes, else planes."""
    kept = not images.is_contiguous() and images.is_contiguous(memory_format=wanted)
    return wanted if kept else torch.contiguous_format


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
