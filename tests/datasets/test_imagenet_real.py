"""Real photographs through every source, where ANNEAL_ARCHIVES has them."""

import os
from pathlib import Path

import pytest
from tests.datasets.imagenet_sources import as_published, write_shards, write_tars

from anneal.datasets.imagenet.pixels import Warp
from anneal.datasets.imagenet.prepare import Preparation, prepare

REAL = Path(os.environ.get("ANNEAL_ARCHIVES", "nowhere")) / "imagenet"
pytestmark = pytest.mark.archives


def store_of(source, folder):
    settings = Preparation(warp=Warp(size=32, filter="box"))
    prepare(source, folder, settings, tell=lambda _: None)
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "stamps.json"}


@pytest.mark.parametrize(("name", "count"), [("ants_bees", 60), ("imagenette224", 240)])
def test_real_photographs_give_one_store_from_every_source(tmp_path, name, count):
    if not (REAL / name).is_dir():
        pytest.skip(f"ANNEAL_ARCHIVES has no imagenet/{name}")
    tree, flat = tmp_path / "tree", tmp_path / "flat"
    as_published(REAL / name, tree, flat)
    expected = store_of(tree, tmp_path / "store")
    assert len(expected["train.u8"]) == count * 32 * 32 * 3
    sources = {
        "flat": flat,
        "tars": write_tars(flat, tmp_path / "tars"),
        "shards": write_shards(tree, tmp_path / "shards"),
    }
    for kind, source in sources.items():
        assert store_of(source, tmp_path / f"store_{kind}") == expected, kind
