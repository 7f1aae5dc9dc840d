"""Labels of the ILSVRC 2012 validation images, from the development kit (folder or .tar.gz)."""

import io
import tarfile
from pathlib import Path

from scipy.io import loadmat

FOLDER = "ILSVRC2012_devkit_t12"
_TRUTH = f"{FOLDER}/data/ILSVRC2012_validation_ground_truth.txt"
_META = f"{FOLDER}/data/meta.mat"
_NUM_LEAVES = 1000  # an id above it is an inner node of the hierarchy


def validation_classes(source: Path) -> list[str]:
    """Return the class (wnid) of validation image 1, 2, ... .

    Raises:
        ValueError: the kit is missing or is not the published one.
    """
    truth, meta = (_read(source, member) for member in (_TRUTH, _META))
    try:
        synsets = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
        wnids = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}
        ids = [int(line) for line in truth.split()]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{source}: {FOLDER} cannot be read: {error}") from None
    unknown = [number for number in ids if not 1 <= number <= _NUM_LEAVES or number not in wnids]
    if unknown:
        raise ValueError(
            f"{source}: {_TRUTH}: labels must be 1 to {_NUM_LEAVES} and in meta.mat, "
            f"got {unknown[0]}"
        )
    return [wnids[number] for number in ids]


def image_number(name: str) -> int:
    """Return n of ``ILSVRC2012_val_<n>``.

    Raises:
        ValueError: the name is another.

    >>> image_number("ILSVRC2012_val_00000293")
    293
    """
    start, _, digits = name.rpartition("_")
    if start != "ILSVRC2012_val" or not digits.isdigit():
        raise ValueError(f"a validation image must be ILSVRC2012_val_<number>, got {name}")
    return int(digits)


def _read(source: Path, member: str) -> bytes:
    """Return a file of the kit beside the images, unpacked or not."""
    unpacked, packed = source / member, source / f"{FOLDER}.tar.gz"
    if unpacked.is_file():
        return unpacked.read_bytes()
    if not packed.is_file():
        raise ValueError(
            f"{source}: validation images without class folders need {FOLDER}/ or {packed.name}"
        )
    try:
        with tarfile.open(packed, "r:gz") as tar:
            file = tar.extractfile(member)
            if file is None:
                raise KeyError(member)
            return file.read()
    except (tarfile.TarError, EOFError, OSError, KeyError) as error:
        raise ValueError(f"{packed} cannot be read: {error}") from None
