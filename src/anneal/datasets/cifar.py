"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) from their pickled batches, in the order stored.

Nothing is unpickled whose checksum has not been compared on the very bytes that are unpickled, and
then only numpy arrays, lists and strings.
"""

import io
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from anneal.config.schema import DatasetConfig
from anneal.datasets.archives import Paths, obtain, read_member
from anneal.datasets.identity import describe_images
from anneal.datasets.resizing import Bytes
from anneal.datasets.sources import CIFAR10, CIFAR100, PublishedArchive, SplitName

if TYPE_CHECKING:
    from anneal.datasets.image_data import ImageData

SOURCES = {source.name: source for source in (CIFAR10, CIFAR100)}


def identify(config: DatasetConfig, paths: Paths) -> dict[str, Any]:
    """Return the identity, after getting the files when needed and comparing every checksum."""
    source = SOURCES[config.source]
    folder = obtain(source, paths)
    for member in source.members:
        read_member(folder, member)
    return _describe(source, config)


def load(config: DatasetConfig, paths: Paths) -> "ImageData":
    """Return the set in memory; its files are got when they are not here.

    Raises:
        ValueError: a file is not the published one.
        OSError: no file could be had.
    """
    from anneal.datasets.image_data import ImageData, from_arrays

    source = SOURCES[config.source]
    train_images, train_labels = read_split(source, paths, "train")
    test_images, test_labels = read_split(source, paths, "test")
    return ImageData(
        name=config.name,
        train=from_arrays(train_images, train_labels.tolist(), config),
        test=from_arrays(test_images, test_labels.tolist(), config),
        class_names=source.class_names,
        identity=_describe(source, config),
    )


def read_split(
    source: PublishedArchive, paths: Paths, split: SplitName
) -> tuple[Bytes, npt.NDArray[np.int64]]:
    """Return images uint8 ``(N, C, H, W)`` and labels ``(N,)`` of one split, as stored.

    Raises:
        ValueError: a checksum or a count is wrong.
    """
    folder = obtain(source, paths)
    images, labels = [], []
    for member in source.members:
        if member.split == split:
            batch = unpickle_arrays(read_member(folder, member), name=str(folder / member.name))
            images.append(batch["data"].reshape(-1, *source.image_shape))
            labels.append(np.asarray(batch[source.labels_key], dtype=np.int64))
    all_images, all_labels = np.concatenate(images), np.concatenate(labels)
    expected = [source.images_per_class[split]] * len(source.class_names)
    if len(all_images) != len(all_labels) or np.bincount(all_labels).tolist() != expected:
        raise ValueError(
            f"{folder}: the {split} split must have {expected[0]} images in each of "
            f"{len(expected)} classes, found {len(all_images)} images and {len(all_labels)} labels"
        )
    return all_images, all_labels


class _ArraysOnly(pickle.Unpickler):
    """Unpickler that builds numpy arrays and plain data and calls nothing else."""

    ALLOWED = frozenset(
        {
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle names, if it is one of the parts of an array."""
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no part of an array")
        return super().find_class(module, name)


def unpickle_arrays(content: bytes, *, name: str) -> Any:
    """Return the dictionary of arrays, lists and strings in a pickle of Python 2.

    Args:
        content: of the file.
        name: of the file, for messages.

    Raises:
        ValueError: the pickle names anything else, which is not imported, or is damaged.
    """
    try:
        return _ArraysOnly(io.BytesIO(content), encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError) as error:
        raise ValueError(f"{name} is no pickle of arrays: {error}") from None


def _describe(source: PublishedArchive, config: DatasetConfig) -> dict[str, Any]:
    return describe_images(
        config,
        class_names=source.class_names,
        image_shape=source.image_shape,
        images_per_class={
            split: [count] * len(source.class_names)
            for split, count in source.images_per_class.items()
        },
        checksums={member.name: f"md5:{member.md5}" for member in source.members},
    )
