"""Write an imitation of the published zips of ImageNet32: their layout, a few made-up classes.

``python benchmarks/imitation_zips.py [FOLDER] [--classes 4] [--images 128] [--seed 0]``

FOLDER is ``data/imagenet32_imitation``, where ``dataset=imagenet32_imitation`` looks. An image is a
wave of its class's direction, colour and period under noise. The files are the same bytes each
time. Nothing about them is ImageNet's: their sizes and checksums are their own.
"""

import argparse
import io
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from anneal.datasets.imagenet.store import IDENTITY

SIDE, FILES, PER_CLASS = 32, 10, 100  # ten files, as published; validation images of each class
NOISE = 30.0  # standard deviation, of 255


def main() -> None:
    """Write both zips."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("data/imagenet32_imitation"))
    parser.add_argument("--classes", type=int, default=4)
    parser.add_argument("--images", type=int, default=128, help="of each of the ten files")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    try:
        write_zips(given.folder, classes=given.classes, images=given.images, seed=given.seed)
    except ValueError as error:
        sys.exit(f"error: {error}")


def write_zips(folder: Path, *, classes: int, images: int, seed: int) -> None:
    """Write ``Imagenet32_train_npz.zip`` and ``Imagenet32_val_npz.zip``.

    Raises:
        ValueError: the folder has a store of other zips, which would be read in their place.
    """
    rng = np.random.default_rng(seed)
    train = {
        f"train_data_batch_{n}.npz": npz(rng, rng.integers(classes, size=images), classes)
        for n in range(1, FILES + 1)
    }
    val = {"val_data.npz": npz(rng, np.arange(PER_CLASS * classes) % classes, classes)}
    zips = {
        folder / f"Imagenet{SIDE}_{part}_npz.zip": zipped(members)
        for part, members in (("train", train), ("val", val))
    }
    if (folder / IDENTITY).is_file() and any(
        path.is_file() and path.read_bytes() != content for path, content in zips.items()
    ):
        raise ValueError(f"{folder} has a store of other zips: move it away, or give a FOLDER")
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in zips.items():
        path.write_bytes(content)


def npz(rng: np.random.Generator, labels: "np.typing.NDArray[np.int64]", classes: int) -> bytes:
    """Return a file of images: planes of red, green, blue after one another, labels from 1 on."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    images = []
    for label in labels:
        angle = np.pi * label / classes
        place = rows * np.sin(angle) + columns * np.cos(angle) + rng.uniform(0, SIDE)
        wave = np.sin(2 * np.pi * place / (4 + 2 * label))
        tint = 128 + 40 * np.cos(2 * np.pi * (label / classes + np.arange(3) / 3))
        clean = tint[:, None, None] + 50 * wave
        noisy = clean + rng.normal(0, NOISE, clean.shape)
        images.append(np.clip(noisy, 0, 255).astype(np.uint8).reshape(-1))
    data, target = np.stack(images), io.BytesIO()
    np.savez(target, data=data, labels=labels + 1, mean=data.mean(0))
    return target.getvalue()


def zipped(members: Mapping[str, bytes]) -> bytes:
    """Return a zip without times, so that it has the same bytes each time."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as outer:
        for name, content in members.items():
            outer.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return target.getvalue()


if __name__ == "__main__":
    main()
