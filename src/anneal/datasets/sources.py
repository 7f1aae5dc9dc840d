"""Published data sets: addresses, sizes, checksums and counts.

The urls and the md5 sums are torchvision's own (a test holds that); the sha256 sums of the archives
are those that Keras checks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

SplitName = Literal["train", "test"]


@dataclass(frozen=True, kw_only=True)
class Member:
    """One unpacked file of a set; ``split`` is None for what holds no images."""

    name: str
    md5: str
    split: SplitName | None


@dataclass(frozen=True, kw_only=True)
class PublishedArchive:
    """A set that is published as one archive of pickled batches."""

    name: str
    urls: tuple[str, ...]  # tried in this order
    archive: str
    archive_bytes: int
    archive_md5: str
    archive_sha256: str
    folder: str  # what the archive unpacks to
    members: tuple[Member, ...]
    labels_key: str  # of the labels inside a pickled batch
    image_shape: tuple[int, int, int]  # channels, height, width
    images_per_class: Mapping[SplitName, int]
    class_names: tuple[str, ...]


CIFAR10 = PublishedArchive(
    name="cifar10",
    urls=("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
    archive="cifar-10-python.tar.gz",
    archive_bytes=170_498_071,
    archive_md5="c58f30108f718f92721af3b95e74349a",
    archive_sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    folder="cifar-10-batches-py",
    members=(
        Member(name="data_batch_1", md5="c99cafc152244af753f735de768cd75f", split="train"),
        Member(name="data_batch_2", md5="d4bba439e000b95fd0a9bffe97cbabec", split="train"),
        Member(name="data_batch_3", md5="54ebc095f3ab1f0389bbae665268c751", split="train"),
        Member(name="data_batch_4", md5="634d18415352ddfa80567beed471001a", split="train"),
        Member(name="data_batch_5", md5="482c414d41f54cd18b22e5b47cb7c3cb", split="train"),
        Member(name="test_batch", md5="40351d587109b95175f43aff81a1287e", split="test"),
        Member(name="batches.meta", md5="5ff9c542aee3614f3951f8cda6e48888", split=None),
    ),
    labels_key="labels",
    image_shape=(3, 32, 32),
    images_per_class={"train": 5_000, "test": 1_000},
    class_names=(
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
)

# fmt: off
_CIFAR100_CLASSES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle",
    "bottle", "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle",
    "caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch",
    "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox",
    "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
    "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom",
    "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
    "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road",
    "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake",
    "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone",
    "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
    "willow_tree", "wolf", "woman", "worm",
)
# fmt: on

CIFAR100 = PublishedArchive(
    name="cifar100",
    urls=("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
    archive="cifar-100-python.tar.gz",
    archive_bytes=169_001_437,
    archive_md5="eb9058c3a382ffc7106e4002c42a8d85",
    archive_sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    folder="cifar-100-python",
    members=(
        Member(name="train", md5="16019d7e3df5f24257cddd939b257f8d", split="train"),
        Member(name="test", md5="f0ef6b0ae62326f3e7ffdfab6717acfc", split="test"),
        Member(name="meta", md5="7973b15100ade9c7d40fb424638fde48", split=None),
    ),
    labels_key="fine_labels",
    image_shape=(3, 32, 32),
    images_per_class={"train": 500, "test": 100},
    class_names=_CIFAR100_CLASSES,
)


@dataclass(frozen=True, kw_only=True)
class PublishedFiles:
    """A set that is published as files of one array each, two for each split."""

    name: str
    images: Mapping[SplitName, Member]
    labels: Mapping[SplitName, Member]
    image_shape: tuple[int, int, int]  # channels, height, width
    images_per_class: Mapping[SplitName, tuple[int, ...]]
    class_names: tuple[str, ...]


# The md5 sums are of the files unpacked; torchvision has those of the .gz files.
MNIST = PublishedFiles(
    name="mnist",
    images={
        "train": Member(
            name="train-images-idx3-ubyte", md5="6bbc9ace898e44ae57da46a324031adb", split="train"
        ),
        "test": Member(
            name="t10k-images-idx3-ubyte", md5="2646ac647ad5339dbf082846283269ea", split="test"
        ),
    },
    labels={
        "train": Member(
            name="train-labels-idx1-ubyte", md5="a25bea736e30d166cdddb491f175f624", split="train"
        ),
        "test": Member(
            name="t10k-labels-idx1-ubyte", md5="27ae3e4e09519cfbb04c329615203637", split="test"
        ),
    },
    image_shape=(1, 28, 28),
    images_per_class={
        "train": (5_923, 6_742, 5_958, 6_131, 5_842, 5_421, 5_918, 6_265, 5_851, 5_949),
        "test": (980, 1_135, 1_032, 1_010, 982, 892, 958, 1_028, 974, 1_009),
    },
    class_names=tuple("0123456789"),
)


@dataclass(frozen=True, kw_only=True)
class DigitsSource:
    """scikit-learn's copy of the UCI handwritten digits: one set, which we split."""

    num_images: int
    sha256: str  # of the images as uint8 (0..16), then of the labels as little-endian int64
    test_fraction: float
    images_per_class: Mapping[SplitName, tuple[int, ...]]  # whatever the seed of the split
    class_names: tuple[str, ...]


DIGITS = DigitsSource(
    num_images=1_797,
    sha256="65e5b4619795efb40c1082f4c350c049e4ad552200d369b6ae99e21eef5e72c5",
    test_fraction=0.2,
    images_per_class={
        "train": (142, 145, 142, 146, 145, 146, 145, 143, 139, 144),
        "test": (36, 37, 35, 37, 36, 36, 36, 36, 35, 36),
    },
    class_names=tuple("0123456789"),
)


@dataclass(frozen=True, kw_only=True)
class FolderSource:
    """A set that is published as a folder of image files, as many of each class."""

    image_shape: tuple[int, int, int]  # channels, height, width
    images_per_class: Mapping[SplitName, int]
    num_classes: int


TINY_IMAGENET = FolderSource(
    image_shape=(3, 64, 64), images_per_class={"train": 500, "test": 50}, num_classes=200
)
