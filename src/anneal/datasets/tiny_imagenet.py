"""Tiny ImageNet (Stanford's CS231n): 200 classes of ImageNet in 64 px, as ``tiny-imagenet-200``.

Its layout is an image folder whose validation images are listed in ``val_annotations.txt``; its
test images have no labels. It is not downloaded here.
"""

import dataclasses
from typing import TYPE_CHECKING, Any

from anneal.config.schema import DatasetConfig
from anneal.datasets import imagefolder
from anneal.datasets.archives import Paths
from anneal.datasets.sources import TINY_IMAGENET

if TYPE_CHECKING:
    from anneal.datasets.image_data import ImageData

FOLDER = "tiny-imagenet-200"


def identify(config: DatasetConfig, paths: Paths) -> dict[str, Any]:
    """Return the identity: every file is read and hashed, none is decoded.

    Raises:
        ValueError: the set is not the published one.
        OSError: it is not here.
    """
    found = imagefolder.identify(_placed(config, paths), paths)
    _check(found)
    return found


def load(config: DatasetConfig, paths: Paths) -> "ImageData":
    """Return the set, in memory when its bytes fit ``config.memory_gib``.

    Raises:
        ValueError: the set is not the published one, or an image cannot be decoded.
        OSError: it is not here.
    """
    data = imagefolder.load(_placed(config, paths), paths)
    _check(data.identity)
    return data


def _placed(config: DatasetConfig, paths: Paths) -> DatasetConfig:
    """Return the configuration with the folder of the set, tested on its validation images."""
    places = [root / FOLDER for root in paths.roots]
    for place in places:
        if place.is_dir():
            return dataclasses.replace(config, folder=str(place), test_folder="val")
    raise FileNotFoundError(
        f"Tiny ImageNet is not here; looked at {', '.join(map(str, places))}: unpack "
        f"{FOLDER}.zip of cs231n.stanford.edu there"
    )


def _check(identity: dict[str, Any]) -> None:
    """Refuse another number of images or classes than is published."""
    for split, each in TINY_IMAGENET.images_per_class.items():
        found = identity["splits"][split]["images_per_class"]
        if found != [each] * TINY_IMAGENET.num_classes:
            raise ValueError(
                f"{FOLDER}: {split} must have {each} images of each of "
                f"{TINY_IMAGENET.num_classes} classes, got {sum(found)} images of {len(found)}"
            )
