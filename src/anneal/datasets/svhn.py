"""SVHN (Netzer et al. 2011) with its extra training images, through torchvision's loader.

The training images of ``train_32x32.mat`` come first, then the easier ones of ``extra_32x32.mat``;
``dataset=torchvision dataset.dataset_class=SVHN`` is the set without the second file.
"""

from typing import TYPE_CHECKING, Any

from anneal.config.schema import DatasetConfig
from anneal.datasets.archives import Paths
from anneal.datasets.torchvision_sets import Constructor, load_set

if TYPE_CHECKING:
    from anneal.datasets.image_data import ImageData

WITH_EXTRA = Constructor(train={"split": "train"}, test={"split": "test"}, extra={"split": "extra"})


def identify(config: DatasetConfig, paths: Paths) -> dict[str, Any]:
    """Return the identity; the set is downloaded when needed and every image is read once."""
    return load(config, paths).identity


def load(config: DatasetConfig, paths: Paths) -> "ImageData":
    """Return the set, in memory when its bytes fit ``config.memory_gib``.

    Raises:
        OSError: the set is not here and cannot be downloaded.
    """
    return load_set(config, paths, "SVHN", WITH_EXTRA)
