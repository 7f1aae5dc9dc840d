"""The published zips of downsampled ImageNet (Chrabaszcz et al., 1707.08819) made into a store.

Each zip holds ``.npz`` files: ``data``, uint8 (N, 3 * size * size), red, green and blue planes one
after another, and ``labels``, 1 to 1000 in the order of ``map_clsloc.txt``. The order of the images
is kept.
"""

import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from anneal.datasets.imagenet.blocks import Block, Sums
from anneal.datasets.imagenet.listing import check_validation_count
from anneal.datasets.imagenet.pixels import Warp
from anneal.datasets.imagenet.prepare import Preparation, begin, finish, locked, reopen, write_split
from anneal.datasets.imagenet.store import (
    IDENTITY,
    IMITATION,
    Store,
    file_name,
    hash_file,
)
from anneal.datasets.sources import SplitName
from anneal.io.files import write_whole

_BLOCK = 256  # images; what Sums takes
_CLASSES = 1000
_BATCH = re.compile(r"(train_data_batch_(\d+)|val_data)(\.npz)?$")
_COPY_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class PublishedZip:
    """One zip: its name, size and checksum."""

    name: str
    num_bytes: int
    sha256: str

    @property
    def split(self) -> SplitName:
        """The split that it holds."""
        return "train" if "_train" in self.name else "test"


# size of the images, part, bytes, sha256
_TABLE = """
16 train       931837742 dea57cdc1d4e252a9e4b76d3b0783486c13b572b883b25fae9283f19695e63b9
16 val          36354395 6dda90de8f6fd43b204422578b4be05d3f658d7792b344de4da768a71c02c4c4
32 train      3580435279 94226337ecc1b0309d9fcd0167127aaadc931587035fbcb53925235edbaec4fc
32 val         139697668 013990e6dec1237dcd1f9beadbab81ead6604cc119af5cacbfb59ae28148377a
64 train_part1 6783426789 9422dc1dc5d092e9814a70a1cb7fc74880d2db5d88a0cb8a34ee363b12bde3f1
64 train_part2 6780506068 9fafc115afb7e6c301e66dc16b2d737152b427bd5dab26e1293487a6819c7f30
64 val         529522927 e1e75133158a1924135a9c6f97a80d2d237b158945e0b34074e58e6c8430eeb8
"""


def _published() -> dict[int, tuple[PublishedZip, ...]]:
    found: dict[int, tuple[PublishedZip, ...]] = {}
    for line in _TABLE.strip().splitlines():
        size, part, num_bytes, sha256 = line.split()
        name = f"Imagenet{size}_{part}_npz.zip"
        zipped = PublishedZip(name=name, num_bytes=int(num_bytes), sha256=sha256)
        found[int(size)] = (*found.get(int(size), ()), zipped)
    return found


PUBLISHED = _published()  # size of the images -> its zips, training images first


def find_zips(roots: Sequence[Path], size: int) -> list[Path]:
    """Return the zips of a size in the first folder that has all of them; none: an empty list.

    A zip may carry its published name with or without ``_npz``.
    """
    expected = PUBLISHED.get(size, ())
    for root in roots if expected else ():
        found = []
        for zipped in expected:
            names = (zipped.name, zipped.name.replace("_npz", ""))
            found += [path for name in names if (path := root / name).is_file()][:1]
        if len(found) == len(expected):
            return found
    return []


def prepare_zips(
    zips: Sequence[Path],
    folder: Path,
    *,
    size: int,
    published: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> Store:
    """Write the store of the zips of a size, or finish one that was begun.

    The identity of a store says whether its zips were an imitation.

    Args:
        zips: in the order of ``PUBLISHED``.
        folder: of the store.
        size: side of the images in px.
        published: compare size, sha256 and counts; false takes an imitation.
        tell: gets lines of progress.

    Raises:
        ValueError: a zip is not the published one, or is not in its format.
        OSError: the disk is full or cannot be written.
    """
    with locked(folder):
        settings = Preparation(warp=Warp(size=size, filter="box"))
        if (folder / IDENTITY).is_file():
            return reopen(folder, settings, tell=tell)
        if published:
            for path, expected in zip(zips, PUBLISHED[size], strict=True):
                check_zip(path, expected)
        files: dict[SplitName, list[Path]] = {"train": [], "test": []}
        for path, expected in zip(zips, PUBLISHED[size], strict=True):
            files[expected.split].append(path)
        with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=folder) as scratch:
            counts = {
                split: sum(len(m.labels) for m in _members(paths, Path(scratch)))
                for split, paths in files.items()
            }
            check_validation_count(files["test"][0], counts["test"])
            digest = ",".join(str(path.stat().st_size) for path in zips)
            writers = begin(folder, settings, counts, digest=digest)
            for split, writer in writers.items():
                blocks = _blocks(files[split], Path(scratch), start=writer.done, size=size)
                write_split(writer, blocks, counts[split], split=split, tell=tell)
        for split, writer in writers.items():
            names = "".join(f"{label + 1}/{n + 1}\n" for n, label in enumerate(writer.labels))
            write_whole(folder / file_name(split, "names"), names)
        libraries = {"decoder": "the authors' zips", "resizer": "the authors' zips"}
        num_classes = _CLASSES if published else 1 + int(writers["train"].labels.max())
        return finish(
            folder,
            writers,
            {**settings.settings(), **libraries, IMITATION: not published},
            class_names=[str(number + 1) for number in range(num_classes)],
            shuffled=False,
        )


def check_zip(path: Path, expected: PublishedZip) -> None:
    """Compare the size and the checksum of a zip with the published.

    Raises:
        ValueError: they differ.
    """
    found = path.stat().st_size
    if found != expected.num_bytes:
        short = " (cut short)" if found < expected.num_bytes else ""
        raise ValueError(
            f"{path} is not the published zip: expected {expected.num_bytes} bytes, "
            f"found {found}{short}"
        )
    if (sha256 := hash_file(path)) != expected.sha256:
        raise ValueError(
            f"{path} is not the published zip: expected sha256 {expected.sha256}, found {sha256}"
        )


class _Unpacked(NamedTuple):
    """One ``.npz`` of a zip."""

    path: Path
    shown: str  # its place, for messages
    labels: npt.NDArray[np.int32]  # 0 to 999


def _members(paths: Sequence[Path], scratch: Path) -> Iterator["_Unpacked"]:
    """Unpack one ``.npz`` after another; yield each."""
    for path in paths:
        try:
            with zipfile.ZipFile(path) as outer:
                named = [(m, _BATCH.search(m.filename)) for m in outer.infolist() if not m.is_dir()]
                wanted = sorted((int(found[2] or 0), m.filename) for m, found in named if found)
                if not wanted:
                    raise ValueError(
                        f"{path} holds no train_data_batch_<n>.npz or val_data.npz; cut short?"
                    )
                for _, name in wanted:
                    target = scratch / "batch.npz"
                    with outer.open(name) as source, target.open("wb") as file:
                        while piece := source.read(_COPY_BYTES):
                            file.write(piece)
                    shown = f"{path}:{name}"
                    yield _Unpacked(target, shown, _labels(target, shown))
        except zipfile.BadZipFile as error:
            raise ValueError(f"{path} cannot be read as a zip: {error} (cut short?)") from None


def _labels(npz: Path, shown: str) -> npt.NDArray[np.int32]:
    if not zipfile.is_zipfile(npz):
        raise ValueError(f"{shown} is no .npz; pickles are not read: get the zips of .npz files")
    with zipfile.ZipFile(npz) as inner:
        names = {"labels.npy", "data.npy"} - set(inner.namelist())
        if names:
            raise ValueError(f"{shown} has no {min(names)}")
        with inner.open("labels.npy") as file:
            try:
                labels = np.lib.format.read_array(file, allow_pickle=False)
            except ValueError as error:
                raise ValueError(f"{shown}: labels.npy cannot be read: {error}") from None
    wrong = labels[(labels < 1) | (labels > _CLASSES)]
    if len(wrong):
        raise ValueError(f"{shown}: labels must be 1 to {_CLASSES}, got {wrong[0]}")
    found: npt.NDArray[np.int32] = (labels - 1).astype(np.int32)
    return found


def _blocks(paths: Sequence[Path], scratch: Path, *, start: int, size: int) -> Iterator[Block]:
    """Yield the images from number ``start`` on, in the order of the files."""
    done = 0
    for npz, shown, labels in _members(paths, scratch):
        if done + len(labels) <= start:
            done += len(labels)
            continue
        skipped = max(0, start - done)
        done += len(labels)
        with zipfile.ZipFile(npz) as inner, inner.open("data.npy") as file:
            _check_header(file, (len(labels), 3 * size * size), shown)
            _skip(file, skipped * 3 * size * size, shown)
            for first in range(skipped, len(labels), _BLOCK):
                here = labels[first : first + _BLOCK]
                content = file.read(len(here) * 3 * size * size)
                if len(content) < len(here) * 3 * size * size:
                    raise ValueError(f"{shown}: data.npy is shorter than its header says")
                yield _block(content, here, size)


def _block(content: bytes, labels: npt.NDArray[np.int32], size: int) -> Block:
    planes = np.frombuffer(content, np.uint8).reshape(len(labels), 3, size, size)
    images, sums = np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), Sums(size)
    for image in images:
        sums.add(image)
    total, squares = sums.read()
    return Block(
        asked=len(labels),
        content=[images.data],
        lengths=[3 * size * size] * len(labels),
        sums=total,
        squares=squares,
        bad={},
        labels=labels,
    )


def _check_header(file: IO[bytes], shape: tuple[int, int], shown: str) -> None:
    """Read the header of an array; it must be bytes of this shape."""
    version = np.lib.format.read_magic(file)
    read: Any = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    found, fortran, kind = read(file)
    if (found, fortran, kind) != (shape, False, np.dtype(np.uint8)):
        raise ValueError(f"{shown}: data must be uint8 {shape}, got {kind} {found}")


def _skip(file: IO[bytes], num_bytes: int, shown: str) -> None:
    while num_bytes > 0:
        if not (piece := file.read(min(num_bytes, _COPY_BYTES))):
            raise ValueError(f"{shown}: data.npy is shorter than its header says")
        num_bytes -= len(piece)
