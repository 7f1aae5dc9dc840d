"""Layout of an image folder: which file belongs to which split and class. No image is opened.

Hidden files and folders are skipped, links are followed. Ignored files that may have been
meant are named in one line; an ambiguous layout is refused.
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anneal.config.schema import DatasetConfig
from anneal.datasets.sources import SplitName
from anneal.datasets.splitting import stratified_split
from anneal.io.text import did_you_mean

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff",
    ".webp",
)  # fmt: skip
NOT_READ = (".avif", ".heic", ".heif", ".jp2", ".jxl", ".svg", ".tga", ".dcm", ".npy")
TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("val", "valid", "validation", "test", "testing")  # in any letter case
TEST_FRACTION = 0.2  # of a folder without train/ and val/, where dataset.test_fraction is null
ANNOTATIONS = "val_annotations.txt"  # Tiny ImageNet's classes of images that lie in one folder
_SHOWN = 3  # names in a message

_LOG = logging.getLogger(__name__)


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


def list_images(config: DatasetConfig) -> Listing:
    """Find the classes and the images of each split.

    Raises:
        ValueError: names the folder or the key that is wrong.
    """
    if config.folder is None:
        raise ValueError("dataset.folder is not set; give dataset.folder=<the folder of images>")
    folder = Path(config.folder).expanduser()
    if not folder.is_dir():
        raise ValueError(f"dataset.folder: there is no folder {folder}")
    train, tests = _find_splits(folder)
    if train is not None:
        listing = _list_given_splits(config, folder, train, tests)
    elif config.test_folder is not None:
        raise ValueError(
            f"dataset.test_folder must be null, {folder} has no train/ folder; "
            f"got {config.test_folder!r}"
        )
    else:
        listing = _list_one_set(config, folder)
    _check_classes(listing)
    return listing


def _find_splits(folder: Path) -> tuple[Path | None, list[Path]]:
    """Return the folder of training images and those of test images, where there are splits.

    A training folder that holds images itself is a class of that name, unless it holds folders too
    and it has a folder of test images as its sibling.
    """
    visible = _folders(folder)
    tests = [path for path in visible if path.name.lower() in TEST_NAMES]
    trains = [
        path
        for path in visible
        if path.name.lower() in TRAIN_NAMES
        and (not any(map(_is_image, path.iterdir())) or (tests and _folders(path)))
    ]
    if len(trains) > 1:
        raise ValueError(f"{folder} has {_listed(trains)}: which of them is trained on?")
    if not trains and len(visible) > 1 and len(_named_as_splits(visible)) == len(visible):
        raise ValueError(
            f"{folder} holds {_listed(visible)}, names of splits, without a train/ folder of "
            "classes: <folder>/train/<class>/<image> is expected"
        )
    return (trains[0], tests) if trains else (None, [])


def _named_as_splits(folders: list[Path]) -> list[Path]:
    return [path for path in folders if path.name.lower() in (*TRAIN_NAMES, *TEST_NAMES)]


def _list_given_splits(
    config: DatasetConfig, folder: Path, train: Path, tests: list[Path]
) -> Listing:
    test = _choose_test_folder(config, folder, train, tests)
    if config.test_fraction is not None:
        raise ValueError(
            f"dataset.test_fraction must be null, {folder} has a {test.name}/ folder; "
            f"got {config.test_fraction:g}"
        )
    others = [p for p in _folders(folder) if p not in (train, *tests)]
    if others:
        _LOG.warning("%s: not used beside %s/: %s", folder, train.name, _listed(others))
    annotated = test / ANNOTATIONS
    learned = _list_classes(train)
    measured = _list_annotated(annotated) if annotated.is_file() else _list_classes(test)
    unknown = sorted(set(measured) - set(learned))
    if unknown:
        raise ValueError(f"{test / unknown[0]}: {train} has no such class")
    class_names = tuple(learned)
    return Listing(
        folder,
        class_names,
        {"train": _labelled(learned, class_names), "test": _labelled(measured, class_names)},
    )


def _choose_test_folder(
    config: DatasetConfig, folder: Path, train: Path, tests: list[Path]
) -> Path:
    """Return the folder that is measured on: the only one, or the one that is asked for."""
    names = [path.name for path in tests]
    if not tests:
        raise ValueError(f"{folder} has a {train.name}/ folder but neither val/ nor test/")
    if config.test_folder is not None:
        if config.test_folder not in names:
            raise ValueError(
                f"dataset.test_folder: {folder} has no folder "
                f"'{config.test_folder}'{did_you_mean(config.test_folder, names)}"
            )
        return tests[names.index(config.test_folder)]
    if len(tests) > 1:
        raise ValueError(
            f"{folder} has {' and '.join(f'{name}/' for name in names)}: say which is measured "
            f"on, dataset.test_folder={names[0]}"
        )
    return tests[0]


def _list_one_set(config: DatasetConfig, folder: Path) -> Listing:
    classes, fraction = _list_classes(folder), config.test_fraction
    class_names = tuple(classes)
    files = _labelled(classes, class_names)
    if len(classes) < 2:
        return Listing(folder, class_names, {"train": files, "test": []})  # refused by its caller
    if fraction is None:
        fraction = TEST_FRACTION
        _LOG.warning(
            "%s has no train/ and val/ folders: a part of %g of each class is tested on "
            "(dataset.test_fraction)",
            folder, fraction,
        )  # fmt: skip
    try:
        kept, aside = stratified_split(
            np.array([file.label for file in files]),
            fraction=fraction,
            seed=config.split_seed,
        )
    except ValueError as error:
        raise ValueError(f"dataset.test_fraction: {folder}: {error}") from None
    return Listing(
        folder,
        class_names,
        {"train": [files[i] for i in kept], "test": [files[i] for i in aside]},
    )


def _check_classes(listing: Listing) -> None:
    """Refuse a single class; name the classes that no test image has."""
    folder, names = listing.folder, listing.class_names
    if len(names) < 2:
        inner = folder / names[0]
        deeper = inner.is_dir() and bool(_folders(inner))
        hint = f"; for the classes in it give dataset.folder={inner}" if deeper else ""
        raise ValueError(f"{folder} has one class, {names[0]}: two or more are needed{hint}")
    tested = {file.label for file in listing.splits["test"]}
    missing = [name for label, name in enumerate(names) if label not in tested]
    if missing:
        _LOG.warning(
            "%s: %d of %d classes have no test image: %s",
            folder, len(missing), len(names), _shortened(missing),
        )  # fmt: skip


def _list_classes(folder: Path) -> dict[str, list[Path]]:
    """Return the images of each class, both sorted by name."""
    folders = _folders(folder)
    if not folders:
        raise ValueError(f"{folder} holds no classes: one folder for each is expected")
    if loose := [path.name for path in sorted(folder.iterdir()) if _is_image(path)]:
        _LOG.warning(
            "%s: %d image%s beside the classes, not used: %s",
            folder, len(loose), "s" * (len(loose) > 1), _shortened(loose),
        )  # fmt: skip
    classes = {}
    for class_folder in folders:
        _check_name(class_folder)
        files = sorted(_images(class_folder))
        if not files:
            raise ValueError(f"{class_folder} holds no image ({', '.join(SUFFIXES)})")
        classes[class_folder.name] = files
    _say_what_is_not_read(folder, folders)
    _say_equal_subfolders(folder, folders)
    return classes


def _list_annotated(file: Path) -> dict[str, list[Path]]:
    """Return the images of each class as Tiny ImageNet lists them: ``<image> <tab> <class>``.

    Raises:
        ValueError: names the line that is wrong, or an image that no line lists.
    """
    classes: dict[str, list[Path]] = {}
    images = {path.name: path for path in sorted(_images(file.parent))}
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        image, _, rest = line.partition("\t")
        name = rest.partition("\t")[0]
        if not name:
            raise ValueError(f"{file}:{number} must be <image> <tab> <class>, got {line!r}")
        if image not in images:
            raise ValueError(
                f"{file}:{number}: there is no image {image}, or an earlier line has it"
            )
        classes.setdefault(name, []).append(images.pop(image))
    if images:
        raise ValueError(f"{file} has no line for {_shortened(list(images))}")
    return {name: sorted(files) for name, files in sorted(classes.items())}


def _check_name(class_folder: Path) -> None:
    """Refuse a class whose name is no text: records of the run hold it."""
    try:
        class_folder.name.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{class_folder.parent}: the name of a class must be UTF-8, "
            f"got {os.fsencode(class_folder.name)!r}"
        ) from None


def _say_what_is_not_read(folder: Path, classes: list[Path]) -> None:
    left = [
        path.name
        for class_folder in classes
        for path in _files(class_folder)
        if path.suffix.lower() in NOT_READ
    ]
    if left:
        _LOG.warning(
            "%s: %d file%s of kinds that are not read: %s",
            folder, len(left), "s" * (len(left) > 1), _shortened(sorted(left)),
        )  # fmt: skip


def _say_equal_subfolders(folder: Path, classes: list[Path]) -> None:
    """Say that the classes may lie one folder deeper: each holds the same folders and no image."""
    inside = [{path.name for path in _folders(path)} for path in classes]
    same = len(classes) > 1 and len(inside[0]) > 1 and all(names == inside[0] for names in inside)
    if same and not any(_is_image(path) for c in classes for path in c.iterdir()):
        _LOG.warning(
            "%s: the classes are %s, and each holds the folders %s: are these the classes?",
            folder,
            _shortened([path.name for path in classes]),
            _shortened(sorted(inside[0])),
        )


def _labelled(classes: dict[str, list[Path]], class_names: tuple[str, ...]) -> list[LabelledFile]:
    labels = {name: label for label, name in enumerate(class_names)}
    return [LabelledFile(path, labels[name]) for name, files in classes.items() for path in files]


def _folders(folder: Path) -> list[Path]:
    """Return the visible folders of a folder, linked ones too, sorted by name."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _images(folder: Path) -> Iterator[Path]:
    return filter(_is_image, _files(folder))


def _files(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield the visible files below a folder, through links.

    Raises:
        ValueError: a link leads back to a folder above it, or an image's link leads nowhere.
    """
    above = (*above, folder.resolve())
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if any(path.is_relative_to(entry.resolve()) for path in above):
                raise ValueError(f"{entry} is a link to a folder that it lies in")
            yield from _files(entry, above)
        elif entry.is_symlink() and not entry.exists() and entry.suffix.lower() in SUFFIXES:
            raise ValueError(f"{entry} is a link to a file that is not there")
        else:
            yield entry


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _listed(folders: list[Path]) -> str:
    return _shortened([f"{path.name}/" for path in folders])


def _shortened(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
