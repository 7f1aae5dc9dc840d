"""Identity of a data set: plain data that changes with images, labels or split."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from anneal.config.schema import DatasetConfig
from anneal.datasets.sources import SplitName


def describe_images(
    config: DatasetConfig,
    *,
    class_names: Sequence[str],
    image_shape: tuple[int, int, int],
    images_per_class: Mapping[SplitName, Sequence[int]],
    checksums: Mapping[str, str],
) -> dict[str, Any]:
    """Return the identity as plain data for JSON.

    Args:
        config: of the set; its name, source and image size are part of the identity.
        class_names: in the order of the labels.
        image_shape: channels, height and width of the images as stored; ``dataset.image_size``
            replaces height and width.
        images_per_class: of each split, in the order of ``class_names``.
        checksums: ``<algorithm>:<digits>`` of each file, or of the whole content.
    """
    side = config.image_size
    shape = image_shape if side is None else (image_shape[0], side, side)
    return {
        "name": config.name,
        "source": config.source,
        "num_classes": len(class_names),
        "class_names": list(class_names),
        "image_shape": list(shape),
        "splits": {
            split: {"num_images": int(sum(counts)), "images_per_class": [int(n) for n in counts]}
            for split, counts in images_per_class.items()
        },
        "checksums": dict(checksums),
    }


def identity_of(config: DatasetConfig, stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a configuration's part of the identity of all subjects."""
    if "subjects" not in stored or config.signal is None or len(config.signal.subjects) != 1:
        return stored
    found: Mapping[str, Any] = stored["subjects"].get(str(config.signal.subjects[0]), stored)
    return found


def of_subject(config: DatasetConfig, subject: int) -> DatasetConfig:
    """Return the configuration of one of its subjects alone."""
    assert config.signal is not None
    return dataclasses.replace(
        config, signal=dataclasses.replace(config.signal, subjects=(subject,))
    )
