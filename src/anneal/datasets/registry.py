"""Registry of data sources: reader, own keys and published size of each.

``dataset.source`` is a key. Readers are imported on use. The sizes need no reader, so a row is
planned and its cost counted before there is any data.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from anneal.config.schema import DatasetConfig
from anneal.datasets.sources import (
    CIFAR10,
    CIFAR100,
    DIGITS,
    MNIST,
    TINY_IMAGENET,
    PublishedArchive,
)
from anneal.io.text import did_you_mean

if TYPE_CHECKING:
    from anneal.datasets.archives import Paths
    from anneal.datasets.image_data import ImageData


class Reader(Protocol):
    """Interface of a module, or of an object, that reads a source."""

    def identify(self, config: DatasetConfig, paths: "Paths", /) -> dict[str, Any]:
        """Return the identity of the set; download it if needed."""

    def load(self, config: DatasetConfig, paths: "Paths", /) -> "ImageData":
        """Return the set with its identity."""


@dataclass(frozen=True, kw_only=True)
class PublishedSize:
    """Size of a published set: training and test images, their shape, classes.

    The shape is (C, H, W), for signals (channels, samples).
    """

    train: int
    test: int
    shape: tuple[int, ...]
    classes: int


@dataclass(frozen=True, kw_only=True)
class DatasetEntry:
    """Registry entry of one source.

    Args:
        reader: returns its module or reader; a function, so that the module is imported on use.
        size: of the published set; None if it depends on the images.
        own_keys: keys of ``DatasetConfig`` that it reads and others do not.
    """

    reader: Callable[[], Reader]
    size: PublishedSize | None = None
    own_keys: tuple[str, ...] = ()

    @property
    def in_store(self) -> bool:
        """Whether its images are read batch by batch from a store of ``anneal prepare``."""
        return "resize_filter" in self.own_keys

    @property
    def has_signals(self) -> bool:
        """Whether it has recordings in place of images."""
        return "signal" in self.own_keys


def _digits() -> Reader:
    from anneal.datasets import digits

    return digits


def _cifar() -> Reader:
    from anneal.datasets import cifar

    return cifar


def _mnist() -> Reader:
    from anneal.datasets import mnist

    return mnist


def _torchvision() -> Reader:
    from anneal.datasets import torchvision_sets

    return torchvision_sets


def _svhn() -> Reader:
    from anneal.datasets import svhn

    return svhn


def _tiny_imagenet() -> Reader:
    from anneal.datasets import tiny_imagenet

    return tiny_imagenet


def _imagefolder() -> Reader:
    from anneal.datasets import imagefolder

    return imagefolder


def _imagenet() -> Reader:
    from anneal.datasets.imagenet import reader

    return reader


def _eegbci() -> Reader:
    from anneal.datasets.eeg import eegbci

    return eegbci.READER


def _high_gamma() -> Reader:
    from anneal.datasets.eeg import high_gamma

    return high_gamma.READER


def _simulated_eeg() -> Reader:
    from anneal.datasets.eeg import simulated_eeg

    return simulated_eeg.READER


def _size_of(source: PublishedArchive) -> PublishedSize:
    num_classes = len(source.class_names)
    return PublishedSize(
        train=source.images_per_class["train"] * num_classes,
        test=source.images_per_class["test"] * num_classes,
        shape=source.image_shape,
        classes=num_classes,
    )


DATASETS: dict[str, DatasetEntry] = {
    "digits": DatasetEntry(
        reader=_digits,
        size=PublishedSize(
            train=sum(DIGITS.images_per_class["train"]),
            test=sum(DIGITS.images_per_class["test"]),
            shape=(1, 8, 8),
            classes=len(DIGITS.class_names),
        ),
    ),
    "cifar10": DatasetEntry(reader=_cifar, size=_size_of(CIFAR10)),
    "cifar100": DatasetEntry(reader=_cifar, size=_size_of(CIFAR100)),
    "mnist": DatasetEntry(
        reader=_mnist,
        size=PublishedSize(
            train=sum(MNIST.images_per_class["train"]),
            test=sum(MNIST.images_per_class["test"]),
            shape=MNIST.image_shape,
            classes=len(MNIST.class_names),
        ),
    ),
    # 73,257 training images and 531,131 extra ones.
    "svhn": DatasetEntry(
        reader=_svhn,
        size=PublishedSize(train=604_388, test=26_032, shape=(3, 32, 32), classes=10),
    ),
    "tiny_imagenet": DatasetEntry(
        reader=_tiny_imagenet,
        size=PublishedSize(
            train=TINY_IMAGENET.images_per_class["train"] * TINY_IMAGENET.num_classes,
            test=TINY_IMAGENET.images_per_class["test"] * TINY_IMAGENET.num_classes,
            shape=TINY_IMAGENET.image_shape,
            classes=TINY_IMAGENET.num_classes,
        ),
    ),
    "torchvision": DatasetEntry(reader=_torchvision, own_keys=("dataset_class", "test_fraction")),
    "imagefolder": DatasetEntry(
        reader=_imagefolder,
        own_keys=("folder", "test_fraction", "test_folder", "full_pixel", "scaled_decoding"),
    ),
    **{
        name: DatasetEntry(
            reader=_imagenet,
            size=PublishedSize(train=1_281_167, test=50_000, shape=(3, side, side), classes=1000),
            own_keys=("folder", "resize_filter", "scaled_decoding", "channel_order", "subset"),
        )
        for name, side in {
            "imagenet": 256,
            "imagenet64": 64,
            "imagenet32": 32,
            "imagenet16": 16,
        }.items()
    },
    # Zips in ImageNet32's layout that are not the published (benchmarks/imitation_zips.py).
    "imagenet32_imitation": DatasetEntry(
        reader=_imagenet, own_keys=("folder", "resize_filter", "channel_order")
    ),
    # Of one subject, fists executed, the last of three runs tested on.
    "eegbci": DatasetEntry(
        reader=_eegbci,
        size=PublishedSize(train=30, test=15, shape=(64, 640), classes=2),
        own_keys=("signal",),
    ),
    # Of one subject, as the paper rounds it; -0.5 to 4 s at 250 Hz, sensors over motor cortex.
    "high_gamma": DatasetEntry(
        reader=_high_gamma,
        size=PublishedSize(train=880, test=160, shape=(44, 1125), classes=4),
        own_keys=("signal",),
    ),
    # Of one subject, as conf/dataset/simulated_eeg.yaml has it.
    "simulated_eeg": DatasetEntry(
        reader=_simulated_eeg,
        size=PublishedSize(train=120, test=80, shape=(8, 512), classes=2),
        own_keys=("signal",),
    ),
}

# What these keys say when nothing is done to an image; signals have no other.
_NO_IMAGES: dict[str, Any] = {
    "image_size": None,
    "split_seed": 0,
    "scale": 255.0,
    "subtract": "nothing",
    "divide": "nothing",
    "crop_padding": 0,
    "crop_fill": "zero",
    "mirror": False,
    "mirrored_copies": False,
    "crop": None,
    "files": None,
    "files_hold": None,
}


def find_dataset(config: DatasetConfig) -> DatasetEntry:
    """Return the entry of the configured source.

    Raises:
        ValueError: the source does not exist, or does not read a given key.
    """
    entry = DATASETS.get(config.source)
    if entry is None:
        raise ValueError(
            f"conf/dataset/{config.name}.yaml (or an override): dataset.source must be one of "
            f"{', '.join(DATASETS)}, got {config.source!r}{_hint(config.source)}"
        )
    keys = dict.fromkeys(key for other in DATASETS.values() for key in other.own_keys)
    for key in keys:
        value = getattr(config, key)
        if value is not None and key not in entry.own_keys:
            raise ValueError(
                f"dataset.{key} must be null for source {config.source}, got {value!r}"
            )
    if entry.has_signals:
        for key, nothing in _NO_IMAGES.items():
            if getattr(config, key) != nothing:
                raise ValueError(
                    f"dataset.{key} is of images and must be {json.dumps(nothing)} for source "
                    f"{config.source}, got {getattr(config, key)!r}"
                )
    return entry


def _hint(source: str) -> str:
    hint = did_you_mean(source, DATASETS)
    return hint if "did you mean" in hint else ""
