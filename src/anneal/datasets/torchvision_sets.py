"""Classification data sets of torchvision, by class name.

torchvision downloads and checks its own files; it does so here in a temporary folder, which gets
its name when the set has been read. The archives folder is looked into first and never written.
"""

import contextlib
import hashlib
import socket
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anneal.config.schema import DatasetConfig
from anneal.datasets.archives import Paths, lock, temporary_folder, writing
from anneal.datasets.identity import describe_images
from anneal.datasets.resizing import Bytes, fit
from anneal.datasets.sources import SplitName
from anneal.datasets.splitting import stratified_split
from anneal.io.text import did_you_mean

if TYPE_CHECKING:
    from anneal.datasets.image_data import ImageData

_TIMEOUT_SECONDS = 30.0  # without a single byte; torchvision itself would wait for ever


@dataclass(frozen=True, kw_only=True)
class Constructor:
    """Arguments with which a class of torchvision gives its splits."""

    train: Mapping[str, Any]
    test: Mapping[str, Any] | None  # None: one set, split by dataset.test_fraction
    grey: bool = False
    downloads: bool = True
    extra: Mapping[str, Any] | None = None  # of more training images, after those of train


def _flagged(*, grey: bool = False) -> Constructor:
    return Constructor(train={"train": True}, test={"train": False}, grey=grey)


def _named(train: str, test: str, *, grey: bool = False, downloads: bool = True) -> Constructor:
    return Constructor(train={"split": train}, test={"split": test}, grey=grey, downloads=downloads)


def _unsplit(*, grey: bool = False) -> Constructor:
    return Constructor(train={}, test=None, grey=grey)


CONSTRUCTORS = {
    "CIFAR10": _flagged(),
    "CIFAR100": _flagged(),
    "CLEVRClassification": _named("train", "val"),  # its test images have no labels
    "Caltech101": _unsplit(),
    "Caltech256": _unsplit(),
    "Country211": _named("train", "test"),
    "DTD": _named("train", "test"),  # the first of its ten partitions
    "EMNIST": Constructor(
        train={"split": "balanced", "train": True},
        test={"split": "balanced", "train": False},
        grey=True,
    ),
    "EuroSAT": _unsplit(),
    "FER2013": _named("train", "test", grey=True, downloads=False),
    "FGVCAircraft": _named("trainval", "test"),
    "FashionMNIST": _flagged(grey=True),
    "Flowers102": _named("train", "test"),
    "Food101": _named("train", "test"),
    "GTSRB": _named("train", "test"),
    "INaturalist": Constructor(train={"version": "2021_train"}, test={"version": "2021_valid"}),
    "Imagenette": _named("train", "val"),
    "KMNIST": _flagged(grey=True),
    "MNIST": _flagged(grey=True),
    "OxfordIIITPet": _named("trainval", "test"),
    "PCAM": _named("train", "test"),
    "Places365": Constructor(
        train={"split": "train-standard", "small": True}, test={"split": "val", "small": True}
    ),
    "QMNIST": _flagged(grey=True),
    "RenderedSST2": _named("train", "test"),
    "SEMEION": _unsplit(grey=True),
    "STL10": _named("train", "test"),
    "SUN397": _unsplit(),
    "SVHN": _named("train", "test"),
    "StanfordCars": _named("train", "test"),
    "USPS": _flagged(grey=True),
}


def identify(config: DatasetConfig, paths: Paths) -> dict[str, Any]:
    """Return the identity; the set is downloaded when needed and every image is decoded once."""
    return load(config, paths).identity


def load(config: DatasetConfig, paths: Paths) -> "ImageData":
    """Return the set, in memory when its bytes fit ``config.memory_gib``, else decoded on demand.

    Raises:
        ValueError: the class is unknown, or the configuration does not fit the set.
        OSError: the set is not here and cannot be downloaded.
    """
    return load_set(config, paths, *_constructor(config))


def load_set(
    config: DatasetConfig, paths: Paths, name: str, constructor: Constructor
) -> "ImageData":
    """Return the set of a class, asked for its splits as ``constructor`` says.

    Raises:
        ValueError: the configuration does not fit the set.
        OSError: the set is not here and cannot be downloaded.
    """
    from anneal.datasets.image_data import ImageData, make_split, size_gib

    sets = obtain_set(name, paths, constructor)
    parts = _split(config, constructor, sets)
    num_channels = 1 if constructor.grey else 3
    survey = _Survey()
    labels: dict[SplitName, list[int]] = {
        split: survey.read(split, part) for split, part in parts.items()
    }
    height, width = survey.common_size(config, name)
    shape = (num_channels, height, width)
    class_names = _class_names(sets[0], max(max(found) for found in labels.values()) + 1)
    in_memory = size_gib(sum(len(part) for part in parts.values()), shape) <= config.memory_gib
    train, test = (
        make_split(
            _Decoder(parts[split], config.image_size, num_channels),
            labels[split],
            image_shape=shape,
            in_memory=in_memory,
        )
        for split in ("train", "test")
    )
    identity = describe_images(
        config,
        class_names=class_names,
        image_shape=shape,
        images_per_class={
            split: np.bincount(found, minlength=len(class_names)).tolist()
            for split, found in labels.items()
        },
        checksums={"content": f"sha256:{survey.content.hexdigest()}"},
    )
    return ImageData(config.name, train, test, class_names, identity)


def _constructor(config: DatasetConfig) -> tuple[str, Constructor]:
    name = config.dataset_class
    if name is None:
        raise ValueError("dataset.dataset_class is not set; give the name of a torchvision class")
    if name not in CONSTRUCTORS:
        raise ValueError(
            f"dataset.dataset_class: {name!r} is no classification set of torchvision"
            f"{did_you_mean(name, CONSTRUCTORS)}"
        )
    constructor = CONSTRUCTORS[name]
    if constructor.test is None and config.test_fraction is None:
        raise ValueError(f"dataset.test_fraction must be given, {name} has no test images")
    if constructor.test is not None and config.test_fraction is not None:
        raise ValueError(
            f"dataset.test_fraction must be null, {name} has test images; "
            f"got {config.test_fraction:g}"
        )
    return name, constructor


@dataclass(frozen=True)
class _Part:
    """Some of the images of one of torchvision's sets."""

    images: Any  # index -> (Pillow image, label)
    indices: Sequence[int]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image, label = self.images[self.indices[index]]
        if label is None or int(label) < 0:
            raise ValueError(f"{type(self.images).__name__} has images without a label")
        return image, int(label)


class _Joined:
    """Two sets, one after the other."""

    def __init__(self, first: Any, second: Any) -> None:
        self.first, self.second = first, second

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, index: int) -> Any:
        before = len(self.first)
        return self.first[index] if index < before else self.second[index - before]


def _split(
    config: DatasetConfig, constructor: Constructor, sets: Sequence[Any]
) -> dict[SplitName, _Part]:
    if constructor.test is not None:
        train, test, *more = sets
        if more:
            train = _Joined(train, *more)
        return {"train": _Part(train, range(len(train))), "test": _Part(test, range(len(test)))}
    assert config.test_fraction is not None
    every = _Part(sets[0], range(len(sets[0])))
    kept, aside = stratified_split(
        np.array([every[index][1] for index in range(len(every))]),
        fraction=config.test_fraction,
        seed=config.split_seed,
    )
    return {"train": _Part(sets[0], kept.tolist()), "test": _Part(sets[0], aside.tolist())}


def obtain_set(name: str, paths: Paths, constructor: Constructor | None = None) -> list[Any]:
    """Return torchvision's set for each split, downloaded when it is in no folder.

    Args:
        name: of the class.
        paths: to look in.
        constructor: its splits; None: those of ``CONSTRUCTORS``.

    Raises:
        OSError: it is not here and cannot be downloaded; names every place.
    """
    constructor = constructor or CONSTRUCTORS[name]
    folder = name if constructor.extra is None else f"{name}_extra"
    home = paths.data / "torchvision" / folder
    roots = [home] if paths.archives is None else [paths.archives, home]
    reasons = []
    for root in roots:
        try:
            return _construct(name, constructor, root, download=False)
        except (OSError, RuntimeError, ValueError) as error:
            reasons.append(f"{root} ({_one_line(error)})")
    failure = f"torchvision's {name} is not here; looked at {', '.join(reasons)}"
    if not constructor.downloads:
        raise OSError(f"{failure}; torchvision cannot download it: fetch it by hand")
    with lock(paths.data, f"torchvision-{folder}"):
        if not home.exists():
            with temporary_folder(paths.data) as temporary:
                fresh = temporary / folder
                fresh.mkdir()
                try:
                    with _socket_timeout():
                        _construct(name, constructor, fresh, download=True)
                except (OSError, RuntimeError, ValueError) as error:
                    raise OSError(f"{failure}; downloading failed: {_one_line(error)}") from error
                with writing(home):
                    home.parent.mkdir(exist_ok=True)
                    fresh.rename(home)
        try:
            return _construct(name, constructor, home, download=False)
        except (OSError, RuntimeError, ValueError) as error:
            raise OSError(f"{failure}; delete {home} to have it downloaded again") from error


def _construct(name: str, constructor: Constructor, root: Path, *, download: bool) -> list[Any]:
    import torchvision

    cls = getattr(torchvision.datasets, name)
    more = {"download": download} if constructor.downloads else {}
    splits = (constructor.train, constructor.test, constructor.extra)
    asked = [arguments for arguments in splits if arguments is not None]
    return [cls(root=str(root), **arguments, **more) for arguments in asked]


@contextlib.contextmanager
def _socket_timeout() -> Iterator[None]:
    """Set a timeout for sockets that receive nothing."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@dataclass
class _Survey:
    """One pass over every image: the labels, the sizes, and a checksum of the content."""

    content: Any = field(default_factory=hashlib.sha256)
    sizes: set[tuple[int, int]] = field(default_factory=set)

    def read(self, split: SplitName, part: _Part) -> list[int]:
        """Return the labels of one split; add its sizes and content to the survey."""
        from anneal.datasets.image_data import decoding_threads

        labels = []
        with ThreadPoolExecutor(decoding_threads()) as pool:
            for first in range(0, len(part), 1024):
                chunk = range(first, min(first + 1024, len(part)))
                for image, label in pool.map(part.__getitem__, chunk):
                    height, width = image.height, image.width
                    self.sizes.add((height, width))
                    head = f"{split}\0{label}\0{image.mode}\0{height}\0{width}\n"
                    self.content.update(head.encode() + image.tobytes())
                    labels.append(label)
        return labels

    def common_size(self, config: DatasetConfig, name: str) -> tuple[int, int]:
        """Return height and width as a network sees them."""
        if config.image_size is not None:
            return config.image_size, config.image_size
        if len(self.sizes) > 1:
            raise ValueError(
                f"dataset.image_size must be given: the images of {name} have "
                f"{len(self.sizes)} different sizes"
            )
        return next(iter(self.sizes))


@dataclass(frozen=True)
class _Decoder:
    """Index of an image -> its pixels."""

    part: _Part
    image_size: int | None
    num_channels: int

    def __call__(self, index: int) -> Bytes:
        image, _ = self.part[index]
        return fit(image, size=self.image_size, num_channels=self.num_channels)


def _class_names(images: Any, num_labels: int) -> tuple[str, ...]:
    """Return the names torchvision gives, or the numbers where it gives none."""
    given = getattr(images, "classes", None) or getattr(images, "categories", None) or ()
    if len(given) < num_labels:
        return tuple(str(label) for label in range(num_labels))
    return tuple(", ".join(n) if isinstance(n, list | tuple) else str(n) for n in given)
