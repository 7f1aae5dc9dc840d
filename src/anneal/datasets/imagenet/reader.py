"""ImageNet as a data set: a store of ``anneal prepare``, or the published zips made one."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anneal.config.schema import DatasetConfig
from anneal.datasets.archives import Paths
from anneal.datasets.identity import describe_images
from anneal.datasets.imagenet.store import FILE_NAMES, IDENTITY, IMITATION, Store, open_store
from anneal.datasets.sources import SplitName

if TYPE_CHECKING:
    from anneal.datasets.image_data import ImageData
    from anneal.datasets.imagenet.split import StoreSplit

IMITATED = "imagenet32_imitation"  # the source whose zips are not the published


def identify(config: DatasetConfig, paths: Paths) -> dict[str, Any]:
    """Return the identity of the configured store; published zips become a store first."""
    return _describe(config, _open(config, paths))


def load(config: DatasetConfig, paths: Paths) -> "ImageData":
    """Return the set, read from disk batch by batch.

    Raises:
        ValueError: there is no store, or it is another one than the configuration says.
    """
    from anneal.datasets.image_data import ImageData

    store = _open(config, paths)
    return ImageData(
        name=config.name,
        train=_load_split(store, "train", config),
        test=_load_split(store, "test", config),
        class_names=tuple(store.identity["class_names"]),
        identity=_describe(config, store),
    )


def _open(config: DatasetConfig, paths: Paths) -> Store:
    store = open_store(_find(config, paths))
    _check(config, store)
    return store


def _find(config: DatasetConfig, paths: Paths) -> Path:
    """Return the folder of the store; make it from zips where there are only these."""
    if config.folder is not None:
        return Path(config.folder).expanduser()
    folders = [root / config.source for root in paths.roots]
    for folder in folders:
        if (folder / IDENTITY).is_file():
            return folder
    size, imitated = int(config.image_size or 0), config.source == IMITATED
    from anneal.datasets.imagenet.zips import find_zips, prepare_zips

    if found := find_zips(folders if imitated else paths.roots, size):
        folder = paths.data / config.source
        return prepare_zips(found, folder, size=size, published=not imitated).folder
    made = f"anneal prepare SOURCE {folders[0]} --size {size}"
    if imitated:
        made = f"python benchmarks/imitation_zips.py {paths.data / config.source}"
    raise ValueError(
        f"{config.name} is not here; looked at {', '.join(map(str, folders))}; make it with "
        f"`{made}`, or give dataset.folder=<a store>"
    )


def _check(config: DatasetConfig, store: Store) -> None:
    """Compare a store with what the experiment says of it.

    Raises:
        ValueError: names the key.
    """
    from anneal.datasets.registry import find_dataset

    identity = store.identity
    for key, wanted, found in (
        ("image_size", config.image_size, store.size),
        ("resize_filter", config.resize_filter, identity["filter"]),
        ("scaled_decoding", bool(config.scaled_decoding), identity["dct_scaling"]),
    ):
        if wanted is not None and wanted != found:
            raise ValueError(f"dataset.{key} is {wanted}, {store.folder} is a store of {found}")
    if identity.get(IMITATION, False) != (config.source == IMITATED):
        found = "is an imitation" if identity.get(IMITATION) else "is no imitation"
        raise ValueError(f"{store.folder} {found}; dataset.source is {config.source}")
    size = find_dataset(config).size
    if size is None or config.subset:
        return
    wanted_counts = (size.train, size.test, size.classes)
    counts = (
        store.num_images("train"), store.num_images("test"), len(identity["class_names"])
    )  # fmt: skip
    if counts != wanted_counts:
        raise ValueError(
            f"{store.folder} must have {_counts(wanted_counts)}, found {_counts(counts)}; "
            "dataset.subset=true takes it as it is"
        )


def _counts(counts: tuple[int, int, int]) -> str:
    train, test, classes = counts
    return f"{train:,} training and {test:,} validation images of {classes:,} classes"


def _load_split(store: Store, split: SplitName, config: DatasetConfig) -> "StoreSplit":
    import torch

    from anneal.datasets.imagenet.split import PixelFile, StoreSplit

    stored, known = store.array(split, "labels"), None
    order = np.arange(len(stored))
    if split == "train":
        order = store.array(split, "order").astype(np.int64)
        sums, squares = (torch.from_numpy(store.array(split, kind)) for kind in ("sums", "squares"))
        known = sums.permute(2, 0, 1).contiguous(), squares
    return StoreSplit(
        PixelFile(store, split),
        order,
        torch.from_numpy(stored[order].astype(np.int64)),
        side=store.size,
        reverse=config.channel_order == "bgr",
        known_sums=known,
    )


def _describe(config: DatasetConfig, store: Store) -> dict[str, Any]:
    splits = store.identity["splits"]
    checksums = {
        FILE_NAMES[split]: f"sha256:{splits[split]['pixels_sha256']}" for split in FILE_NAMES
    }
    checksums |= {
        f"{FILE_NAMES[split]} {kind}": f"sha256:{store.identity['sha256'][name]}"
        for split in FILE_NAMES
        for kind in ("labels", "order")
        if (name := f"{FILE_NAMES[split]}.{kind}.npy") in store.identity["sha256"]
    }
    return describe_images(
        config,
        class_names=store.identity["class_names"],
        image_shape=(3, store.size, store.size),
        images_per_class={split: splits[split]["images_per_class"] for split in FILE_NAMES},
        checksums=checksums,
    )
