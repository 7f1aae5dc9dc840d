"""List of the images of a source: name, label and place of each, in the order of the store.

The order depends on names alone, so a tree, the published tars and WebDataset shards of the same
images give the same store.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from anneal.datasets.sources import SplitName

PIXELRNN_VALIDATION = 49_999


class Member(NamedTuple):
    """One image of a source: a file, or a range of a tar file."""

    name: str  # <class>/<file name without its suffix>
    label: int
    path: Path
    offset: int
    size: int
    inner: str  # name inside the tar; empty: ``path`` is the image

    @property
    def shown(self) -> str:
        """The place, for messages."""
        return f"{self.path}:{self.inner}" if self.inner else str(self.path)

    def read(self) -> bytes:
        """Return the bytes of the image file."""
        if not self.inner:
            return self.path.read_bytes()
        with self.path.open("rb") as file:
            return os.pread(file.fileno(), self.size, self.offset)


class Found(NamedTuple):
    """An image as a source has it, before its label is known."""

    class_name: str
    stem: str
    path: Path
    offset: int
    size: int
    inner: str


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All images of a source, sorted: training images by class, validation images by name."""

    class_names: tuple[str, ...]
    splits: Mapping[SplitName, Sequence[Member]]

    def digest(self) -> str:
        """Return a checksum of names, labels and file sizes; a changed source changes it."""
        content = hashlib.sha256(json.dumps(self.class_names).encode())
        for split, members in sorted(self.splits.items()):
            for m in members:
                line = f"{split}\0{m.name}\0{m.label}\0{m.size}\n"
                content.update(line.encode(errors="surrogateescape"))  # the bytes of any file name
        return content.hexdigest()


def make_listing(
    source: Path,
    train: Iterable[Found],
    test: Iterable[Found],
    *,
    class_names: Sequence[str] | None = None,
) -> Listing:
    """Sort the images, label them by the sorted class names, and check their numbers.

    Args:
        source: for messages.
        train: training images.
        test: validation images.
        class_names: in the order of the labels; None: those of the training images, sorted.

    Raises:
        ValueError: a validation class is unknown, two classes or images have one name, a split is
            empty, or the validation images are those of another data set.
    """
    learned = sorted(train, key=lambda f: (f.class_name, f.stem))
    measured = sorted(test, key=lambda f: (f.stem, f.class_name))
    names = tuple(class_names or sorted({f.class_name for f in learned}))
    label_of = {name: label for label, name in enumerate(names)}
    if len(label_of) < len(names):
        twice = next(name for label, name in enumerate(names) if label_of[name] != label)
        raise ValueError(f"{source}: two classes must not have one name, got {twice!r} twice")
    splits: dict[SplitName, list[Member]] = {"train": [], "test": []}
    of_splits: dict[SplitName, list[Found]] = {"train": learned, "test": measured}
    for split, images in of_splits.items():
        if not images:
            raise ValueError(
                f"{source} has no {'training' if split == 'train' else 'validation'} images"
            )
        before = ("", "")
        for found in images:
            if found.class_name not in label_of:
                raise ValueError(
                    f"{_place(found)}: there is no class {found.class_name!r} to train on"
                )
            if (found.class_name, found.stem) == before:
                raise ValueError(f"{_place(found)}: another image of its class has the same name")
            before = (found.class_name, found.stem)
            name = f"{found.class_name}/{found.stem}"
            label = label_of[found.class_name]
            splits[split].append(
                Member(name, label, found.path, found.offset, found.size, found.inner)
            )
    empty = set(names) - {f.class_name for f in learned}
    if empty:
        raise ValueError(f"{source}: class {min(empty)} has no training images")
    check_validation_count(source, len(measured))
    return Listing(class_names=names, splits=splits)


def check_validation_count(source: Path, count: int) -> None:
    """Refuse the other "downsampled ImageNet".

    Raises:
        ValueError: the validation images are those of PixelRNN's set.
    """
    if count == PIXELRNN_VALIDATION:
        raise ValueError(
            f"{source} has 49,999 validation images: it is the downsampled ImageNet of PixelRNN "
            "(1601.06759), which has no labels; that of Chrabaszcz et al. (1707.08819) has 50,000"
        )


def _place(found: Found) -> str:
    return f"{found.path}:{found.inner}" if found.inner else str(found.path)
