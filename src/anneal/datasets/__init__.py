"""Images with labels: what they are, where they lie, and how they come in batches.

Asking who a set is (:func:`identify`) needs no torch, except for torchvision's own sets.
"""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from anneal.config.schema import DatasetConfig
from anneal.datasets import cifar, digits, imagefolder, torchvision_sets
from anneal.datasets.archives import Paths

if TYPE_CHECKING:
    from anneal.datasets.batches import (
        EvaluationBatches,
        Normalise,
        TrainingBatches,
        hold_out,
        statistics_of,
    )
    from anneal.datasets.image_data import ImageData, Images, Split

__all__ = [
    "EvaluationBatches",
    "ImageData",
    "Images",
    "Normalise",
    "Paths",
    "Split",
    "TrainingBatches",
    "hold_out",
    "identify",
    "load_dataset",
    "statistics_of",
]

# What needs torch is imported when it is first asked for.
_NEEDS_TORCH = {
    "EvaluationBatches": "batches",
    "ImageData": "image_data",
    "Images": "image_data",
    "Normalise": "batches",
    "Split": "image_data",
    "TrainingBatches": "batches",
    "hold_out": "batches",
    "statistics_of": "batches",
}


def __getattr__(name: str) -> Any:
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_NEEDS_TORCH[name]}"), name)


class _Reader(NamedTuple):
    identify: Callable[[DatasetConfig, Paths], dict[str, Any]]
    load: Callable[[DatasetConfig, Paths], "ImageData"]
    own_keys: tuple[str, ...]  # of DatasetConfig, beside those that every source reads


_READERS = {
    "digits": _Reader(digits.identify, digits.load, ()),
    "cifar10": _Reader(cifar.identify, cifar.load, ()),
    "cifar100": _Reader(cifar.identify, cifar.load, ()),
    "torchvision": _Reader(
        torchvision_sets.identify, torchvision_sets.load, ("dataset_class", "test_fraction")
    ),
    "imagefolder": _Reader(imagefolder.identify, imagefolder.load, ("folder", "test_fraction")),
}


def identify(config: DatasetConfig, paths: Paths) -> dict[str, Any]:
    """Return what identifies a set as plain data for JSON; it is downloaded when it is not here.

    Keys: ``name``, ``source``, ``num_classes``, ``class_names``, ``image_shape`` (C, H, W),
    ``splits`` (``train`` and ``test``: ``num_images``, ``images_per_class``), ``checksums``. It
    names no place on this machine and changes when the images, the labels or the split change.

    Raises:
        ValueError: the data or the configuration is not what it should be.
        OSError: the data cannot be had, or the disk refused.
    """
    return _reader(config).identify(config, paths)


def load_dataset(config: DatasetConfig, paths: Paths) -> "ImageData":
    """Return a set ready for ``batches``; ``.identity`` equals what :func:`identify` gives.

    Raises:
        ValueError: the data or the configuration is not what it should be.
        OSError: the data cannot be had, or the disk refused.
    """
    return _reader(config).load(config, paths)


def _reader(config: DatasetConfig) -> _Reader:
    """Return what reads the configured source; a key that it would ignore is refused."""
    reader = _READERS[config.source]
    for key in ("dataset_class", "folder", "test_fraction"):
        value = getattr(config, key)
        if value is not None and key not in reader.own_keys:
            raise ValueError(
                f"dataset.{key} must be null for source {config.source}, got {value!r}"
            )
    return reader
