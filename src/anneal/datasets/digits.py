"""The handwritten digits that come with scikit-learn: real images without a download."""

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from anneal.config.schema import DatasetConfig
from anneal.datasets.archives import Paths
from anneal.datasets.identity import describe_images
from anneal.datasets.resizing import Bytes
from anneal.datasets.sources import DIGITS
from anneal.datasets.splitting import stratified_split

if TYPE_CHECKING:
    from anneal.datasets.image_data import ImageData

FILE = "datasets/data/digits.csv.gz"  # in the package scikit-learn
_FULL_INK = 16  # the images count inked pixels of 4 x 4 blocks


def identify(config: DatasetConfig, _paths: Paths) -> dict[str, Any]:
    """Return the identity, after comparing the arrays with what was published."""
    _, labels = _read()
    _, test = _split(labels, config)
    return describe_images(
        config,
        class_names=DIGITS.class_names,
        image_shape=(1, 8, 8),
        images_per_class=DIGITS.images_per_class,
        checksums={
            "content": f"sha256:{DIGITS.sha256}",
            "test_indices": f"sha256:{hashlib.sha256(test.astype('<i8').tobytes()).hexdigest()}",
        },
    )


def load(config: DatasetConfig, _paths: Paths) -> "ImageData":
    """Return 1,437 training and 360 test images, 0..16 stretched to 0..255.

    The split is ours (there is no published one): stratified, seeded by ``config.split_seed``.
    """
    from anneal.datasets.image_data import ImageData, from_arrays

    images, labels = _read()
    stretched = np.rint(images * (255 / _FULL_INK)).astype(np.uint8)[:, None]
    train, test = _split(labels, config)
    return ImageData(
        name=config.name,
        train=from_arrays(stretched[train], labels[train].tolist(), config),
        test=from_arrays(stretched[test], labels[test].tolist(), config),
        class_names=DIGITS.class_names,
        identity=identify(config, _paths),
    )


def _split(
    labels: npt.NDArray[np.int64], config: DatasetConfig
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    return stratified_split(labels, fraction=DIGITS.test_fraction, seed=config.split_seed)


def _read() -> tuple[Bytes, npt.NDArray[np.int64]]:
    """Return images 0..16 and labels as scikit-learn has them.

    Its file is read as ``sklearn.datasets.load_digits`` does, whose import takes seconds.

    Raises:
        ValueError: this scikit-learn holds other digits.
    """
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")
    table = np.loadtxt(Path(package.origin).parent / FILE, delimiter=",", dtype=np.uint8)
    images, labels = table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)
    content = images.tobytes() + labels.astype("<i8").tobytes()
    found = hashlib.sha256(content).hexdigest()
    if found != DIGITS.sha256:
        raise ValueError(
            f"scikit-learn's digits are not the published ones: expected sha256 {DIGITS.sha256}, "
            f"found {found}; reinstall scikit-learn"
        )
    return images, labels
