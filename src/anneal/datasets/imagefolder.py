"""Image folders: one folder for each class.

Either ``<folder>/train/<class>/...`` beside ``val/`` or ``test/``, or ``<folder>/<class>/...`` with
a seeded split; a folder of test images may list their classes in ``val_annotations.txt``, as Tiny
ImageNet does. Images may lie deeper inside a class. They are turned upright as EXIF says.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from anneal.config.schema import DatasetConfig
from anneal.datasets.archives import Paths
from anneal.datasets.folder_layout import LabelledFile, Listing, list_images
from anneal.datasets.identity import describe_images
from anneal.datasets.jpeg import decode_colour_jpeg, simplejpeg
from anneal.datasets.known_files import KnownFiles
from anneal.datasets.resizing import GREY_MODES, Bytes, fit, fit_pixels, orientation_of, upright
from anneal.datasets.sources import SplitName

if TYPE_CHECKING:
    from anneal.datasets.image_data import ImageData

SIDEWAYS = 5  # from here on an orientation of EXIF exchanges width and height


@dataclass(frozen=True)
class FileFacts:
    """Facts of a file that need no decoding of its pixels; its size is that when upright."""

    sha256: str
    width: int
    height: int
    mode: str
    turned: bool  # by EXIF


def identify(config: DatasetConfig, _paths: Paths) -> dict[str, Any]:
    """Return the identity: every file is read and hashed, none is decoded."""
    return _look(config)[1]


def load(config: DatasetConfig, _paths: Paths) -> "ImageData":
    """Return the set, in memory when its bytes fit ``config.memory_gib``, else decoded on demand.

    Raises:
        ValueError: the folder, its layout or an image cannot be used.
    """
    from anneal.datasets.image_data import ImageData, check_images, make_split, size_gib

    smallest = _smallest(config)
    listing, identity = _look(config)
    num_channels, height, width = identity["image_shape"]
    shape = (num_channels, height, width)
    num_images = sum(len(files) for files in listing.splits.values())
    in_memory = size_gib(num_images, shape) <= config.memory_gib

    def decoder(files: Sequence[LabelledFile]) -> "_Decoder":
        paths = [file.path for file in files]
        return _Decoder(paths, config.image_size, num_channels, config.full_pixel, smallest)

    train, test = (
        make_split(
            decoder(files), [file.label for file in files], image_shape=shape, in_memory=in_memory
        )
        for files in (listing.splits["train"], listing.splits["test"])
    )
    if not in_memory:  # an image that cannot be decoded is met now, not in the middle of a run
        check_images(test)
        if config.subtract == config.divide == "nothing":  # else the statistics decode them
            check_images(train)
    return ImageData(config.name, train, test, listing.class_names, identity)


def _smallest(config: DatasetConfig) -> int:
    """Return the sides that DCT scaling leaves at least; 0: none is asked for.

    Raises:
        ValueError: it needs another key, or simplejpeg.
    """
    if not config.scaled_decoding:
        return 0
    if config.image_size is None:
        raise ValueError("dataset.scaled_decoding needs dataset.image_size")
    if simplejpeg is None:
        raise ValueError("dataset.scaled_decoding needs simplejpeg: make setup EXTRAS=imagenet")
    return 2 * config.image_size


def _look(config: DatasetConfig) -> tuple[Listing, dict[str, Any]]:
    """List the images and read each file once, for the identity and the shape."""
    listing = list_images(config)
    content = hashlib.sha256()
    sizes, modes, turned = set(), set(), False
    counts: dict[SplitName, list[int]] = {}
    known = KnownFiles(listing.folder, FileFacts)
    for split, files in listing.splits.items():
        counts[split] = [0] * len(listing.class_names)
        for file, facts in _read_all(files, known):
            counts[split][file.label] += 1
            sizes.add((facts.height, facts.width))
            modes.add(facts.mode)
            turned = turned or facts.turned
            name = file.path.relative_to(listing.folder).as_posix()
            line = f"{split}\0{name}\0{facts.sha256}\n"
            content.update(line.encode(errors="surrogateescape"))  # the bytes of any file name
    known.save()
    if config.image_size is None and len(sizes) > 1:
        raise ValueError(
            f"dataset.image_size must be given: the images of {listing.folder} have "
            f"{len(sizes)} different sizes"
        )
    height, width = next(iter(sizes))
    checksums = {"content": f"sha256:{content.hexdigest()}"}
    if turned:  # other pixels than those of the same files read without their EXIF
        checksums["orientation"] = "exif:upright"
    identity = describe_images(
        config,
        class_names=listing.class_names,
        image_shape=(1 if modes <= GREY_MODES else 3, height, width),
        images_per_class=counts,
        checksums=checksums,
    )
    return listing, identity


def _read_all(
    files: Sequence[LabelledFile], known: KnownFiles[FileFacts]
) -> Iterator[tuple[LabelledFile, FileFacts]]:
    """Yield each file with its facts, in order; files that are not known are read by threads."""

    def facts_of(path: Path) -> FileFacts:
        return known.get(path, _read_facts)

    with ThreadPoolExecutor(8) as pool:  # hashing and reading both leave Python's lock
        for first in range(0, len(files), 1024):
            chunk = files[first : first + 1024]
            yield from zip(chunk, pool.map(facts_of, [file.path for file in chunk]), strict=True)


def _read_facts(path: Path) -> FileFacts:
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            width, height, mode = image.width, image.height, image.mode
            orientation = orientation_of(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from None
    if orientation >= SIDEWAYS:
        width, height = height, width
    return FileFacts(hashlib.sha256(content).hexdigest(), width, height, mode, orientation > 1)


@dataclass(frozen=True)
class _Decoder:
    """Index of a file -> its pixels."""

    files: list[Path]
    image_size: int | None
    num_channels: int
    full_pixel: float | None
    smallest: int  # sides that DCT scaling leaves, at least; 0: no scaling, and Pillow resizes

    def __call__(self, index: int) -> Bytes:
        path = self.files[index]
        try:
            content = path.read_bytes()
            with Image.open(io.BytesIO(content)) as image:
                pixels = self._decoded(content, image)
                if pixels is not None and self.smallest and self.image_size:
                    return fit_pixels(pixels, size=self.image_size)
                return fit(
                    upright(image) if pixels is None else Image.fromarray(pixels),
                    size=self.image_size,
                    num_channels=self.num_channels,
                    full_pixel=self.full_pixel,
                )
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise _unreadable(path, error) from None

    def _decoded(self, content: bytes, image: Image.Image) -> Bytes | None:
        """Return an upright colour JPEG decoded by simplejpeg; None: Pillow has to do it."""
        if image.format != "JPEG" or image.mode != "RGB" or orientation_of(image) != 1:
            return None
        return decode_colour_jpeg(content, smallest=self.smallest)


def _unreadable(path: Path, error: Exception) -> ValueError:
    reason = str(error).partition(" <_io")[0]  # Pillow shows the object it read from
    return ValueError(f"{path} cannot be read as an image: {reason}")
