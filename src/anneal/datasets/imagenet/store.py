"""Format of a store: what its files are called, what ``identity.json`` says, and its checks.

A store is a folder. Of each split it has the pixels, ``<split>.u8`` (N, size, size, 3) or
``<split>.jpeg`` (JPEGs one after another) with ``<split>.offsets.npy`` (N + 1); besides
``<split>.labels.npy`` and ``<split>.names`` (one a line). Of the training images it has
``train.order.npy``, a permutation drawn once, and integer sums, in a store of JPEGs of the pixels
before they were encoded: ``train.sums.npy`` of each pixel over all images, (size, size, 3), and
``train.squares.npy`` of the squares over images and pixels, (3,). ``identity.json`` is written
last. ``stamps.json`` has the modification times of the files that were checked.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from anneal.datasets.sources import SplitName
from anneal.io.files import write_whole

FORMAT = 1
CHUNK = 4096  # images with one checksum
IDENTITY, STAMPS = "identity.json", "stamps.json"
IMITATION = "imitation"  # key of the identity: true where zips were not the published
STORES = {"raw": "u8", "jpeg": "jpeg"}  # how pixels are kept -> suffix of their file
FILE_NAMES: Mapping[SplitName, str] = {"train": "train", "test": "val"}
UNFINISHED = "run `anneal prepare` again: it resumes"


@dataclass(frozen=True)
class Store:
    """A finished store: its folder and its identity."""

    folder: Path
    identity: Mapping[str, Any]

    @property
    def size(self) -> int:
        """Side of the images in px."""
        return int(self.identity["size"])

    def path(self, split: SplitName, kind: str) -> Path:
        """Return the path of a file of a split: of its pixels, labels, ..."""
        return self.folder / file_name(split, kind)

    def pixels_path(self, split: SplitName) -> Path:
        """Return the path of the pixels of a split."""
        return self.path(split, STORES[self.identity["store"]])

    def num_images(self, split: SplitName) -> int:
        """Return the number of images of a split."""
        return int(self.identity["splits"][split]["num_images"])

    def array(self, split: SplitName, kind: str) -> npt.NDArray[Any]:
        """Return a small array of a split."""
        found: npt.NDArray[Any] = np.load(self.path(split, f"{kind}.npy"), allow_pickle=False)
        return found


def file_name(split: SplitName, kind: str) -> str:
    """Return the name of a file of a split.

    >>> file_name("test", "labels.npy")
    'val.labels.npy'
    """
    return f"{FILE_NAMES[split]}.{kind}"


def open_store(folder: Path) -> Store:
    """Open a store; compare sizes and times of its files and checksums of its arrays.

    The arrays (labels, order, sums, offsets) are small and decide about numbers; no pixel is read.

    Raises:
        ValueError: it is unfinished, of another format, or a file was changed.
    """
    store = Store(folder, _read_identity(folder))
    for name, size in store.identity["files"].items():
        found = _stat(folder / name)[0]
        if found != size:
            short = " (cut short)" if found < size else ""
            raise ValueError(f"{folder / name} must have {size} bytes, found {found}{short}")
    stamps = _read_json(folder / STAMPS) if (folder / STAMPS).is_file() else {}
    for name in store.identity["files"]:
        if stamps.get(name) != _stat(folder / name)[1]:
            raise ValueError(
                f"{folder / name} was changed or copied since it was checked; "
                f"`anneal prepare --verify {folder}` reads all again"
            )
    _check_files(store, [name for name in store.identity["sha256"] if name.endswith(".npy")])
    return store


def write_stamps(store: Store) -> None:
    """Record the modification times of the files, which have just been written or checked."""
    stamps = {name: _stat(store.folder / name)[1] for name in store.identity["files"]}
    write_whole(store.folder / STAMPS, json.dumps(stamps, indent=1) + "\n")


def verify_store(folder: Path) -> Store:
    """Read all of a store, compare every checksum, and record that it is whole.

    Raises:
        ValueError: a chunk or a file differs; names it.
    """
    store = Store(folder, _read_identity(folder))
    for split in FILE_NAMES:
        path, done = store.pixels_path(split), 0
        with path.open("rb") as file:
            for number, chunk in enumerate(store.identity["splits"][split]["chunks"]):
                if hash_range(file, chunk["bytes"]) != chunk["sha256"]:
                    last = done + chunk["images"] - 1
                    raise ValueError(f"{path}: chunk {number} (images {done} to {last}) is damaged")
                done += chunk["images"]
            if file.read(1):
                raise ValueError(f"{path} is longer than its index")
    _check_files(store, store.identity["sha256"])
    write_stamps(store)
    return store


def _check_files(store: Store, names: Iterable[str]) -> None:
    """Compare whole files with their checksums.

    Raises:
        ValueError: one differs; names it.
    """
    for name in names:
        expected, found = store.identity["sha256"][name], hash_file(store.folder / name)
        if found != expected:
            raise ValueError(
                f"{store.folder / name} is damaged: expected sha256 {expected}, found {found}"
            )


def hash_file(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_range(file: Any, num_bytes: int) -> str:
    """Return the sha256 of the next bytes of an open file, read in small pieces."""
    content = hashlib.sha256()
    while num_bytes > 0 and (piece := file.read(min(num_bytes, 1 << 20))):
        content.update(piece)
        num_bytes -= len(piece)
    return content.hexdigest()


def _read_identity(folder: Path) -> Mapping[str, Any]:
    if not folder.is_dir():
        raise ValueError(f"{folder}: there is no such folder")
    path = folder / IDENTITY
    if not path.is_file():
        raise ValueError(f"{folder} is no finished store ({IDENTITY} is missing); {UNFINISHED}")
    identity = _read_json(path)
    if identity.get("format") != FORMAT:
        raise ValueError(f"{path}: format must be {FORMAT}, got {identity.get('format')!r}")
    return identity


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} must be a JSON object")
    return found


def _stat(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        raise ValueError(f"{path} is missing") from None
    return found.st_size, found.st_mtime_ns
