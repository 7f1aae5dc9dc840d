"""Image folders: one folder for each class.

Either ``<folder>/train/<class>/...`` beside ``val/`` or ``test/``, or ``<folder>/<class>/...`` with
a seeded split. Images may lie deeper inside a class; hidden files and other kinds are passed over.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from anneal.config.schema import DatasetConfig
from anneal.datasets.archives import Paths
from anneal.datasets.identity import describe_images
from anneal.datasets.resizing import Bytes, fit
from anneal.datasets.sources import SplitName
from anneal.datasets.splitting import stratified_split

if TYPE_CHECKING:
    from anneal.datasets.image_data import ImageData

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class LabelledFile:
    """One image on disk."""

    path: Path
    label: int


@dataclass(frozen=True)
class Listing:
    """Which file belongs to which split and class, in a fixed order."""

    folder: Path
    class_names: tuple[str, ...]
    splits: dict[SplitName, list[LabelledFile]]


@dataclass(frozen=True)
class FileFacts:
    """What a look at a file tells without decoding its pixels."""

    sha256: str
    width: int
    height: int
    mode: str


def identify(config: DatasetConfig, _paths: Paths) -> dict[str, Any]:
    """Return the identity: every file is read and hashed, none is decoded."""
    return _look(config)[1]


def load(config: DatasetConfig, _paths: Paths) -> "ImageData":
    """Return the set, in memory when its bytes fit ``config.memory_gib``, else decoded on demand.

    Raises:
        ValueError: the folder, its layout or an image cannot be used.
    """
    from anneal.datasets.image_data import ImageData, make_split, size_gib

    listing, identity = _look(config)
    num_channels, height, width = identity["image_shape"]
    shape = (num_channels, height, width)
    num_images = sum(len(files) for files in listing.splits.values())
    in_memory = size_gib(num_images, shape) <= config.memory_gib

    def decoder(files: Sequence[LabelledFile]) -> "_Decoder":
        return _Decoder([file.path for file in files], config.image_size, num_channels)

    train, test = (
        make_split(
            decoder(files), [file.label for file in files], image_shape=shape, in_memory=in_memory
        )
        for files in (listing.splits["train"], listing.splits["test"])
    )
    return ImageData(config.name, train, test, listing.class_names, identity)


def list_images(config: DatasetConfig) -> Listing:
    """Find the classes and the images of each split.

    Raises:
        ValueError: names the folder or the key that is wrong.
    """
    if config.folder is None:
        raise ValueError("dataset.folder is not set; give dataset.folder=<the folder of images>")
    folder = Path(config.folder)
    if not folder.is_dir():
        raise ValueError(f"dataset.folder: there is no folder {folder}")
    train = folder / "train"
    if train.is_dir() and not any(_is_image(path) for path in train.iterdir()):
        return _list_given_splits(config, folder)
    return _list_one_set(config, folder)


def _list_given_splits(config: DatasetConfig, folder: Path) -> Listing:
    given = [name for name in ("val", "test") if (folder / name).is_dir()]
    if not given:
        raise ValueError(f"{folder} has a train/ folder but neither val/ nor test/")
    if len(given) == 2:
        raise ValueError(f"{folder} has val/ and test/: move away the one not to be measured on")
    if config.test_fraction is not None:
        raise ValueError(
            f"dataset.test_fraction must be null, {folder} has a {given[0]}/ folder; "
            f"got {config.test_fraction:g}"
        )
    train = _list_classes(folder / "train")
    test = _list_classes(folder / given[0])
    unknown = sorted(set(test) - set(train))
    if unknown:
        raise ValueError(f"{folder / given[0] / unknown[0]}: {folder / 'train'} has no such class")
    class_names = tuple(train)
    return Listing(
        folder,
        class_names,
        {"train": _labelled(train, class_names), "test": _labelled(test, class_names)},
    )


def _list_one_set(config: DatasetConfig, folder: Path) -> Listing:
    classes = _list_classes(folder)
    if config.test_fraction is None:
        raise ValueError(
            f"dataset.test_fraction must be given, {folder} has no train/ and val/ folders"
        )
    class_names = tuple(classes)
    files = _labelled(classes, class_names)
    try:
        kept, aside = stratified_split(
            np.array([file.label for file in files]),
            fraction=config.test_fraction,
            seed=config.split_seed,
        )
    except ValueError as error:
        raise ValueError(f"dataset.test_fraction: {folder}: {error}") from None
    return Listing(
        folder,
        class_names,
        {"train": [files[i] for i in kept], "test": [files[i] for i in aside]},
    )


def _list_classes(folder: Path) -> dict[str, list[Path]]:
    """Return the images of each class, both sorted by name."""
    folders = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise ValueError(f"{folder} holds no classes: one folder for each is expected")
    classes = {}
    for class_folder in folders:
        files = sorted(path for path in class_folder.rglob("*") if _is_image(path))
        if not files:
            raise ValueError(f"{class_folder} holds no image ({', '.join(SUFFIXES)})")
        classes[class_folder.name] = files
    return classes


def _labelled(classes: dict[str, list[Path]], class_names: tuple[str, ...]) -> list[LabelledFile]:
    labels = {name: label for label, name in enumerate(class_names)}
    return [LabelledFile(path, labels[name]) for name, files in classes.items() for path in files]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _look(config: DatasetConfig) -> tuple[Listing, dict[str, Any]]:
    """List the images and read each file once, for the identity and the shape."""
    listing = list_images(config)
    content = hashlib.sha256()
    sizes, modes = set(), set()
    counts: dict[SplitName, list[int]] = {}
    for split, files in listing.splits.items():
        counts[split] = [0] * len(listing.class_names)
        for file, facts in _read_all(files):
            counts[split][file.label] += 1
            sizes.add((facts.height, facts.width))
            modes.add(facts.mode)
            name = file.path.relative_to(listing.folder).as_posix()
            content.update(f"{split}\0{name}\0{facts.sha256}\n".encode())
    if config.image_size is None and len(sizes) > 1:
        raise ValueError(
            f"dataset.image_size must be given: the images of {listing.folder} have "
            f"{len(sizes)} different sizes"
        )
    height, width = next(iter(sizes))
    if config.image_size is not None:
        height = width = config.image_size
    identity = describe_images(
        config,
        class_names=listing.class_names,
        image_shape=(1 if modes <= {"1", "L"} else 3, height, width),
        images_per_class=counts,
        checksums={"content": f"sha256:{content.hexdigest()}"},
    )
    return listing, identity


def _read_all(files: Sequence[LabelledFile]) -> Iterator[tuple[LabelledFile, FileFacts]]:
    """Yield each file with its facts, in order, read by a few threads."""
    with ThreadPoolExecutor(8) as pool:  # hashing and reading both leave Python's lock
        for first in range(0, len(files), 1024):
            chunk = files[first : first + 1024]
            yield from zip(chunk, pool.map(_read_facts, [file.path for file in chunk]), strict=True)


def _read_facts(path: Path) -> FileFacts:
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            width, height, mode = image.width, image.height, image.mode
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from None
    return FileFacts(hashlib.sha256(content).hexdigest(), width, height, mode)


@dataclass(frozen=True)
class _Decoder:
    """Index of a file -> its pixels."""

    files: list[Path]
    image_size: int | None
    num_channels: int

    def __call__(self, index: int) -> Bytes:
        path = self.files[index]
        try:
            with Image.open(path) as image:
                return fit(image, size=self.image_size, num_channels=self.num_channels)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> ValueError:
    reason = str(error).partition(" <_io")[0]  # Pillow shows the object it read from
    return ValueError(f"{path} cannot be read as an image: {reason}")
