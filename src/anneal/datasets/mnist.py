"""MNIST (LeCun et al. 1998) from its four idx files, in the order stored."""

import gzip
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anneal.config.schema import DatasetConfig
from anneal.datasets.archives import Paths, check_member, read_member
from anneal.datasets.identity import describe_images
from anneal.datasets.sources import MNIST, Member, SplitName

if TYPE_CHECKING:
    from anneal.datasets.image_data import ImageData, Images

SOURCE = MNIST
_MOST_BYTES = 64 << 20  # its largest file has 47 MB
_IMAGES_START, _LABELS_START = 16, 8  # bytes before the content of a file of rank 3 and of rank 1


def identify(config: DatasetConfig, paths: Paths) -> dict[str, Any]:
    """Return the identity, after getting the files when needed and comparing every checksum."""
    folder = _obtain(paths)
    for member in _members():
        _read(folder, member)
    return _describe(config)


def load(config: DatasetConfig, paths: Paths) -> "ImageData":
    """Return the set in memory; download its files when they are missing.

    Raises:
        ValueError: a file is not the published one.
        OSError: no file could be had.
    """
    from anneal.datasets.image_data import ImageData

    folder = _obtain(paths)
    return ImageData(
        name=config.name,
        train=_load_split(folder, "train", config),
        test=_load_split(folder, "test", config),
        class_names=SOURCE.class_names,
        identity=_describe(config),
    )


def _load_split(folder: Path, split: SplitName, config: DatasetConfig) -> "Images":
    from anneal.datasets.image_data import from_arrays

    images = np.frombuffer(_read(folder, SOURCE.images[split]), np.uint8, offset=_IMAGES_START)
    labels = np.frombuffer(_read(folder, SOURCE.labels[split]), np.uint8, offset=_LABELS_START)
    shaped = images.reshape(-1, *SOURCE.image_shape).copy()  # torch writes no bytes it may not
    return from_arrays(shaped, labels.tolist(), config)


def _members() -> tuple[Member, ...]:
    return (*SOURCE.images.values(), *SOURCE.labels.values())


def _obtain(paths: Paths) -> Path:
    """Return the folder of the files, packed or not; torchvision downloads them when there is none.

    A folder of archives holds them as torchvision lays them out or as they are published.
    """
    downloaded = Path("torchvision", "MNIST", "MNIST", "raw")
    for root in paths.roots:
        for folder in (root / "MNIST" / "raw", root / downloaded, root):
            if all(_path(folder, member) is not None for member in _members()):
                return folder
    from anneal.datasets.torchvision_sets import obtain_set

    obtain_set("MNIST", paths)
    return paths.data / downloaded


def _path(folder: Path, member: Member) -> Path | None:
    """Return the path of a member, unpacked before packed, or None."""
    there = (folder / member.name, folder / f"{member.name}.gz")
    return next((path for path in there if path.is_file()), None)


def _read(folder: Path, member: Member) -> bytes:
    """Return the unpacked content of one file, whose checksum has been compared."""
    path = _path(folder, member)
    if path is None or path.suffix != ".gz":
        return read_member(folder, member)
    try:
        with gzip.open(path) as packed:
            content = packed.read(_MOST_BYTES)  # of more, the checksum differs
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not the published file: {error}") from None
    check_member(content, member, path)
    return content


def _describe(config: DatasetConfig) -> dict[str, Any]:
    return describe_images(
        config,
        class_names=SOURCE.class_names,
        image_shape=SOURCE.image_shape,
        images_per_class={split: list(n) for split, n in SOURCE.images_per_class.items()},
        checksums={member.name: f"md5:{member.md5}" for member in _members()},
    )
