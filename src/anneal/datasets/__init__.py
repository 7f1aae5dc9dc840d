"""Data sets of images and signals: sources, identity, and batches by number.

Asking who a set is (:func:`identify`) needs no torch, except for torchvision's own sets.
"""

import dataclasses
import importlib
from typing import TYPE_CHECKING, Any

from anneal.config.schema import DatasetConfig
from anneal.datasets.archives import Paths
from anneal.datasets.registry import find_dataset

if TYPE_CHECKING:
    from anneal.datasets.batches import EvaluationBatches, TrainingBatches, hold_out
    from anneal.datasets.image_data import ImageData, Images, Split
    from anneal.datasets.normalise import Normalise, statistics_of

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
    "Normalise": "normalise",
    "Split": "image_data",
    "TrainingBatches": "batches",
    "hold_out": "batches",
    "statistics_of": "normalise",
}


def __getattr__(name: str) -> Any:
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_NEEDS_TORCH[name]}"), name)


def identify(config: DatasetConfig, paths: Paths) -> dict[str, Any]:
    """Return what identifies a set as plain data for JSON; download the set if needed.

    Keys: ``name``, ``source``, ``num_classes``, ``class_names``, ``image_shape`` (C, H, W),
    ``splits`` (``train`` and ``test``: ``num_images``, ``images_per_class``), ``checksums``. It
    has no path of this machine and changes when the images, the labels or the split change.

    Raises:
        ValueError: the data or the configuration is invalid.
        OSError: the data cannot be downloaded, or the disk cannot be written.
    """
    return find_dataset(config).reader().identify(config, paths)


def load_dataset(config: DatasetConfig, paths: Paths) -> "ImageData":
    """Return a set ready for ``batches``; ``.identity`` equals :func:`identify`.

    Raises:
        ValueError: the data or the configuration is invalid.
        OSError: the data cannot be downloaded, or the disk cannot be written.
    """
    data = find_dataset(config).reader().load(config, paths)
    if config.crop is None:
        return data
    if config.crop > min(data.image_shape[1:]):
        height, width = data.image_shape[1:]
        raise ValueError(
            f"dataset.crop must be at most the {height} x {width} px of the images, "
            f"got {config.crop}"
        )
    return dataclasses.replace(data, crop=config.crop)
