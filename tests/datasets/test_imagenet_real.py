"""Real photographs through every source, where ANNEAL_ARCHIVES has them."""

import os
import tarfile
from pathlib import Path

import pytest

from anneal.datasets.imagenet.pixels import Warp
from anneal.datasets.imagenet.prepare import Preparation, prepare

REAL = Path(os.environ.get("ANNEAL_ARCHIVES", "nowhere")) / "imagenet"
pytestmark = pytest.mark.archives


def store_of(source, folder):
    settings = Preparation(warp=Warp(size=32, filter="box"))
    prepare(source, folder, settings, tell=lambda _: None)
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "stamps.json"}


@pytest.mark.parametrize("name", ["ants_bees", "imagenette224"])
def test_real_photographs_give_one_store_from_tree_and_shards(tmp_path, name):
    tree = REAL / name
    if not tree.is_dir():
        pytest.skip(f"ANNEAL_ARCHIVES has no imagenet/{name}")
    (tmp_path / "shards").mkdir()
    classes = sorted(p.name for p in (tree / "train").iterdir())
    for split in ("train", "val"):
        with tarfile.open(tmp_path / "shards" / f"{split}-0.tar", "w") as tar:
            for path in sorted((tree / split).glob("*/*"), reverse=True):
                key = f"{path.parent.name}/{path.stem}"
                tar.add(path, f"{key}.jpg")
                label = tmp_path / "label"
                label.write_text(str(classes.index(path.parent.name)))
                tar.add(label, f"{key}.cls")
    assert store_of(tmp_path / "shards", tmp_path / "b") == store_of(tree, tmp_path / "a")
