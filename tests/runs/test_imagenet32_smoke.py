"""An imitation of ImageNet32's zips through every stage of its campaign."""

import json
import shutil
from pathlib import Path

import pytest

from anneal.commands.params import write_params
from anneal.commands.stages import collect, compose, download, evaluate, range_test, train
from anneal.config.compose import compose_dataset, compose_run
from anneal.config.paths import Paths
from anneal.datasets import identify
from anneal.results.store import load_results

ROOT = Path(__file__).resolve().parents[2]
CAMPAIGN, ROW = "imagenet32_smoke", "imagenet32_imitation/triangular2_found"


@pytest.fixture
def zips(tmp_path, monkeypatch):
    """Write zips of ten small files where the data set looks; go there."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.delenv("ANNEAL_ARCHIVES", raising=False)
    monkeypatch.delenv("ANNEAL_DATA", raising=False)
    import imitation_zips

    for folder in ("conf", "paper"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data" / "imagenet32_imitation"
    imitation_zips.write_zips(folder, classes=4, images=20, seed=0)
    return folder


def test_imitation_is_written_the_same_each_time(zips, tmp_path):
    import imitation_zips

    imitation_zips.write_zips(tmp_path / "again", classes=4, images=20, seed=0)
    names = sorted(path.name for path in (tmp_path / "again").iterdir())
    assert names == ["Imagenet32_train_npz.zip", "Imagenet32_val_npz.zip"]
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (zips / name).read_bytes()


def test_other_imitation_does_not_hide_behind_the_store_of_the_first(zips, tmp_path):
    import imitation_zips

    identify(compose_dataset("imagenet32_imitation"), Paths(tmp_path / "data"))
    before = {path.name: path.read_bytes() for path in zips.glob("*.zip")}
    imitation_zips.write_zips(zips, classes=4, images=20, seed=0)  # the same
    with pytest.raises(ValueError, match=r"^\S+imagenet32_imitation has a store of other zips"):
        imitation_zips.write_zips(zips, classes=6, images=20, seed=0)
    assert {path.name: path.read_bytes() for path in zips.glob("*.zip")} == before


def test_imitation_is_taken_for_no_imagenet_and_nothing_else_for_it(zips, tmp_path):
    paths = Paths(tmp_path / "data")
    found = identify(compose_dataset("imagenet32_imitation"), paths)
    assert (found["source"], found["num_classes"]) == ("imagenet32_imitation", 4)
    asked = ["dataset=imagenet32", "dataset.subset=true", f"dataset.folder={zips}"]
    with pytest.raises(ValueError, match=r"is an imitation; dataset.source is imagenet32"):
        identify(compose_run(asked).dataset, paths)
    identity = zips / "identity.json"
    plain = json.loads(identity.read_text())
    identity.write_text(json.dumps({**plain, "imitation": False}))
    with pytest.raises(
        ValueError, match=r"is no imitation; dataset.source is imagenet32_imitation"
    ):
        identify(compose_dataset("imagenet32_imitation"), paths)


def test_published_zips_are_not_imitated_by_their_names(zips, tmp_path):
    for path in zips.iterdir():
        path.rename(tmp_path / "data" / path.name)
    with pytest.raises(ValueError, match=r"is not the published zip: expected 3580435279 bytes"):
        identify(compose_dataset("imagenet32"), Paths(tmp_path / "data"))
    with pytest.raises(ValueError, match=r"make it with `python benchmarks/imitation_zips.py"):
        identify(compose_dataset("imagenet32_imitation"), Paths(tmp_path / "data"))


@pytest.mark.slow
def test_smoke_campaign_sweeps_trains_and_collects(zips, tmp_path):
    write_params(
        [f"campaign={CAMPAIGN}", "tracking=off", "hardware.threads=1", "seeds=[0]"],
        output=tmp_path / "params.yaml",
    )
    compose.main([])
    download.main(["imagenet32_imitation"])
    range_test.main([CAMPAIGN, "imitation"])
    train.main([CAMPAIGN, ROW, "imitation"])
    evaluate.main([CAMPAIGN, ROW, "imitation"])
    collect.main([CAMPAIGN])
    (run,) = load_results(tmp_path / "results" / CAMPAIGN).runs.values()
    assert run.status == "finished"
    assert run.metrics["test_accuracy_pct@final"] > 25  # chance
