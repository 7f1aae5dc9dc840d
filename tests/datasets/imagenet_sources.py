"""Writers of small ImageNet sources in the published formats, for tests."""

import io
import random
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

WNIDS = ("n01440764", "n02119789")  # sorted; the devkit numbers them 2 and 1
ID_OF = {"n02119789": 1, "n01440764": 2}


def picture(seed: int, *, width: int = 50, height: int = 38) -> bytes:
    """Return a JPEG of smooth random colours."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    target = io.BytesIO()
    Image.fromarray(small).resize((width, height)).save(target, "JPEG", quality=90)
    return target.getvalue()


def write_tree(folder: Path, *, train: int = 7, val: int = 3, flat: bool = False) -> Path:
    """Write train/<wnid>/ and val/<wnid>/, or a flat val/ with the unpacked devkit."""
    for label, wnid in enumerate(WNIDS):
        place = folder / "train" / wnid
        place.mkdir(parents=True)
        for number in range(train):
            content = picture(100 * label + number, width=40 + 3 * number)
            (place / f"{wnid}_{number}.JPEG").write_bytes(content)
    classes = [WNIDS[(number * 7) % 3 % 2] for number in range(2 * val)]
    for number, wnid in enumerate(classes, start=1):
        place = folder / "val" if flat else folder / "val" / wnid
        place.mkdir(parents=True, exist_ok=True)
        (place / f"ILSVRC2012_val_{number:08d}.JPEG").write_bytes(picture(1000 + number))
    if flat:
        write_devkit(folder, classes, ID_OF)
    return folder


def as_published(real: Path, tree: Path, flat: Path) -> None:
    """Link a tree's images into two whose validation images have ILSVRC's names; one is flat."""
    wnids = sorted(path.name for path in (real / "train").iterdir())
    paths = _mixed((real / "val").glob("*/*"))
    (flat / "val").mkdir(parents=True)
    for number, path in enumerate(paths, start=1):
        name = f"ILSVRC2012_val_{number:08d}{path.suffix}"
        (tree / "val" / path.parent.name).mkdir(parents=True, exist_ok=True)
        (tree / "val" / path.parent.name / name).symlink_to(path)
        (flat / "val" / name).symlink_to(path)
    for place in (tree, flat):
        (place / "train").symlink_to(real / "train")
    id_of = {wnid: number for number, wnid in enumerate(reversed(wnids), start=1)}
    write_devkit(flat, [path.parent.name for path in paths], id_of)


def write_devkit(folder: Path, classes: list[str], id_of: dict[str, int]) -> None:
    """Write ILSVRC2012_devkit_t12/data with the labels of the validation images."""
    data = folder / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O")]
    rows = [(number, wnid) for wnid, number in id_of.items()]
    savemat(data / "meta.mat", {"synsets": np.array(rows, dtype=kind)})
    text = "".join(f"{id_of[wnid]}\n" for wnid in classes)
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text(text)


def write_tars(tree: Path, folder: Path) -> Path:
    """Pack a flat tree as the three published archives, its images in another order."""
    folder.mkdir(parents=True)
    with tarfile.open(folder / "ILSVRC2012_img_train.tar", "w") as outer:
        for wnid in sorted((path.name for path in (tree / "train").iterdir()), reverse=True):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as tar:
                for path in _mixed((tree / "train" / wnid).iterdir()):
                    _add(tar, path.name, path.read_bytes())
            _add(outer, f"{wnid}.tar", inner.getvalue())
    with tarfile.open(folder / "ILSVRC2012_img_val.tar", "w") as tar:
        for path in _mixed((tree / "val").iterdir()):
            _add(tar, path.name, path.read_bytes())
    with tarfile.open(folder / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as tar:
        tar.add(tree / "ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12")
    return folder


def write_shards(tree: Path, folder: Path, *, each: int = 5) -> Path:
    """Pack a tree with class folders as WebDataset shards: .jpg and .cls."""
    folder.mkdir(parents=True)
    wnids = sorted(path.name for path in (tree / "train").iterdir())
    for split in ("train", "val"):
        paths = _mixed((tree / split).glob("*/*"))
        for first in range(0, len(paths), each):
            with tarfile.open(folder / f"{split}-{first // each:06d}.tar", "w") as tar:
                for path in paths[first : first + each]:
                    label = wnids.index(path.parent.name)
                    key = f"{path.parent.name}/{path.stem}"
                    _add(tar, f"{key}.jpg", path.read_bytes())
                    _add(tar, f"{key}.cls", str(label).encode())
    return folder


def _mixed(paths) -> list[Path]:
    found = sorted(paths)
    random.Random(0).shuffle(found)
    return found


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
