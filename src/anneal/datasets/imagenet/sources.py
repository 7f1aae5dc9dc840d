"""Sources of full-size images: a tree of folders, the published tars, or WebDataset shards."""

import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from anneal.datasets.folder_layout import SUFFIXES
from anneal.datasets.imagenet.devkit import image_number, validation_classes
from anneal.datasets.imagenet.listing import Found, Listing, make_listing

TRAIN_TAR, VAL_TAR = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
CLASSES = "classes.txt"  # beside shards: name of class 0, 1, ..., one a line
_WNID = re.compile(r"(n\d{8})_")


def list_source(source: Path) -> Listing:
    """List all images of a source without decoding any.

    Raises:
        ValueError: there is no source, or it cannot be used.
    """
    if not source.is_dir():
        raise ValueError(f"{source}: there is no such folder")
    if (source / TRAIN_TAR).is_file():
        return _list_tars(source)
    if (source / "train").is_dir():
        return _list_tree(source)
    if any(source.glob("*.tar")):
        return _list_shards(source)
    raise ValueError(
        f"{source} has neither train/ with a folder for each class, nor {TRAIN_TAR}, nor shards "
        "*train*.tar and *val*.tar"
    )


# --- a tree -----------------------------------------------------------------------------------


def _list_tree(source: Path) -> Listing:
    folder = source / "val"
    if not folder.is_dir():
        raise ValueError(f"{source} has train/ but no val/")
    val = _in_class_folders(folder) if _folders(folder) else _flat(source, folder)
    return make_listing(source, _in_class_folders(source / "train"), val)


def _in_class_folders(folder: Path) -> Iterator[Found]:
    classes = _folders(folder)
    if not classes:
        raise ValueError(f"{folder} has no class folders")
    for class_folder in classes:
        images = [
            Found(class_folder.name, Path(entry.name).stem, Path(entry.path), 0, size, "")
            for entry, size in _images(class_folder)
        ]
        if not images:
            raise ValueError(f"{class_folder} holds no images")
        yield from images


def _flat(source: Path, folder: Path) -> Iterator[Found]:
    """Yield the validation images that lie in one folder; the devkit has their classes."""
    stems = [(Path(entry.name).stem, entry, size) for entry, size in _images(folder)]
    classes = _validation_classes(source, [stem for stem, _, _ in stems])
    for (stem, entry, size), name in zip(stems, classes, strict=True):
        yield Found(name, stem, Path(entry.path), 0, size, "")


def _validation_classes(source: Path, stems: Sequence[str]) -> list[str]:
    """Return the class of each validation image; every image of the kit must be there."""
    classes = validation_classes(source)
    numbers = [image_number(stem) for stem in stems]
    if sorted(numbers) != list(range(1, len(classes) + 1)):
        raise ValueError(
            f"{source} must have the validation images 1 to {len(classes):,} of its devkit, "
            f"got {len(numbers):,} images"
        )
    return [classes[number - 1] for number in numbers]


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        found = [Path(e.path) for e in entries if e.is_dir() and not e.name.startswith(".")]
    return sorted(found)


def _images(folder: Path) -> Iterator[tuple["os.DirEntry[str]", int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file() and _is_image(entry.name):
                yield entry, entry.stat().st_size


def _is_image(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


# --- the published tars -----------------------------------------------------------------------


def _list_tars(source: Path) -> Listing:
    train, val = source / TRAIN_TAR, source / VAL_TAR
    if not val.is_file():
        raise ValueError(f"{source} has {TRAIN_TAR} but no {VAL_TAR}")
    inside = [m for m in _members(val) if _is_image(Path(m.name).name)]
    stems = [Path(m.name).stem for m in inside]
    measured = [
        Found(name, stem, val, m.offset_data, m.size, m.name)
        for m, stem, name in zip(inside, stems, _validation_classes(source, stems), strict=True)
    ]
    return make_listing(source, _in_class_tars(train), measured)


def _in_class_tars(train: Path) -> Iterator[Found]:
    """Yield the images of ``<wnid>.tar`` inside the training tar, where they lie in the outer."""
    for outer in _members(train):
        if not outer.name.endswith(".tar"):
            continue
        name, images = Path(outer.name).stem, 0
        for m in _members(train, offset=outer.offset_data, size=outer.size):
            if _is_image(Path(m.name).name):
                images += 1
                yield Found(
                    name, Path(m.name).stem, train, m.offset_data, m.size, f"{outer.name}/{m.name}"
                )
        if not images:
            raise ValueError(f"{train}: {outer.name} holds no images")


def _members(path: Path, *, offset: int = 0, size: int | None = None) -> Iterator[tarfile.TarInfo]:
    """Yield the files of a tar with their places in ``path``; of a tar inside it at ``offset``."""
    with path.open("rb") as file:
        file.seek(offset)
        end = offset + size if size is not None else path.stat().st_size
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    if member.offset_data + member.size > end:
                        raise tarfile.ReadError("unexpected end of data")
                    if member.isfile():
                        yield member
        except tarfile.TarError as error:
            raise ValueError(f"{path} cannot be read as a tar: {error}") from None


# --- WebDataset shards ------------------------------------------------------------------------


def _list_shards(source: Path) -> Listing:
    shards = sorted(source.glob("*.tar"))
    train = [path for path in shards if "train" in path.name]
    val = [path for path in shards if "val" in path.name and path not in train]
    other = [path for path in shards if path not in train and path not in val]
    if not train or not val or other:
        wrong = f"; {other[0].name} is neither" if other else ""
        raise ValueError(f"{source} must hold shards *train*.tar and *val*.tar{wrong}")
    learned = [found for path in train for found in _samples(path)]
    names = _names_of_labels(source, learned)
    measured = [found for path in val for found in _samples(path)]
    for number, _ in measured:
        if number not in names:
            raise ValueError(
                f"{source}: validation images of class {number}, which has none to train on"
            )
    return make_listing(
        source,
        (found._replace(class_name=names[number]) for number, found in learned),
        (found._replace(class_name=names[number]) for number, found in measured),
        class_names=[names[number] for number in sorted(names)],
    )


def _samples(path: Path) -> Iterator[tuple[int, Found]]:
    """Yield the number of the class and the image of each sample of a shard."""
    images: dict[str, Found] = {}
    numbers: dict[str, int] = {}
    with path.open("rb") as file:
        for m in _members(path):
            folder, _, base = m.name.rpartition("/")
            stem, _, suffix = base.partition(".")
            key, class_name = f"{folder}/{stem}", folder.rpartition("/")[2]
            if f".{suffix.lower()}" in SUFFIXES:
                images[key] = Found(class_name, stem, path, m.offset_data, m.size, m.name)
            elif suffix == "cls":
                text = os.pread(file.fileno(), m.size, m.offset_data).decode(errors="replace")
                if not text.strip().isdigit():
                    raise ValueError(f"{path}:{m.name}: a class must be a number, got {text!r}")
                numbers[key] = int(text)
    for key, found in images.items():
        if key not in numbers:
            raise ValueError(f"{path}:{found.inner} has no .cls beside it")
        yield numbers[key], found


def _names_of_labels(source: Path, learned: Sequence[tuple[int, Found]]) -> dict[int, str]:
    """Return the class name of each number: of ``classes.txt``, else of folders or file names."""
    names: dict[int, str] = {}
    if (source / CLASSES).is_file():
        names = dict(enumerate((source / CLASSES).read_text().splitlines()))
        if wrong := {number for number, _ in learned} - names.keys():
            raise ValueError(f"{source / CLASSES} has no line for class {min(wrong)}")
        return names
    for number, found in learned:
        wnid = _WNID.match(found.stem)
        name = found.class_name or (wnid[1] if wnid else "")
        if not name or names.setdefault(number, name) != name:
            raise ValueError(
                f"{source}: the names of the classes are not in the shards; write them into "
                f"{CLASSES}, that of class 0 first, one a line"
            )
    return names
