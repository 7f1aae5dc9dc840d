"""The set-up of an experiment: what its network, and nothing else, decides of a learner."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anneal.config.compose import compose_run
from anneal.config.paths import Paths
from anneal.config.schema import ExperimentConfig
from anneal.datasets.gathered import GatheredBatches
from anneal.runs.setup import load_setup


@pytest.mark.parametrize(
    ("architecture", "coast"), [("cifar_sd_resnet110", True), ("cifar_resnet20", False)]
)
def test_closed_blocks_coast_where_the_network_says_so(
    experiment: ExperimentConfig, architecture: str, coast: bool
) -> None:
    model = dataclasses.replace(experiment.model, library="timm", architecture=architecture)
    hardware = dataclasses.replace(experiment.hardware, compile="off")
    chosen = dataclasses.replace(experiment, model=model, hardware=hardware)
    assert load_setup(chosen).learner(0).closed_blocks_coast is coast


@pytest.fixture
def ten_images(tmp_path: Path) -> Path:
    """Ten images to train on and four to test with, in two classes."""
    pixels = np.random.default_rng(0)
    for split, count in (("train", 5), ("val", 2)):
        for name in "ab":
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                image = pixels.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(image).save(folder / f"{number}.png")
    return tmp_path


def of_folder(folder: Path, *overrides: str) -> ExperimentConfig:
    """Compose a network whose last batch normalisation sees one pixel of a 32 px image."""
    return compose_run(
        [
            "dataset=imagefolder", f"dataset.folder={folder}", "dataset.test_fraction=null",
            "dataset.image_size=32", "model=timm", "model.architecture=resnet10t",
            "model.small_images=false", "hardware=cpu", "hardware.threads=1", *overrides,
        ]
    )  # fmt: skip


def test_last_batch_of_one_is_refused_with_the_option_to_set(
    ten_images: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    nine = load_setup(of_folder(ten_images, "training.batch_size=9"), Paths(ten_images))
    with pytest.raises(ValueError, match=r"epoch of 10 images has one.*dataset.drop_last=true"):
        nine.learner(0)
    nine.learner(0, total_steps=1)  # a run that ends before it
    one = load_setup(of_folder(ten_images, "training.batch_size=1"), Paths(ten_images))
    with pytest.raises(ValueError, match=r"training.batch_size must be at least 2, got 1"):
        one.learner(0)
    for allowed in (
        ("training.batch_size=8",),
        ("training.batch_size=9", "dataset.drop_last=true"),
        ("training.batch_size=9", "dataset.order=stored"),
        ("training.batch_size=9", "dataset.image_size=64"),
    ):
        load_setup(of_folder(ten_images, *allowed), Paths(ten_images)).learner(0)


def test_partial_last_batch_is_refused_where_parts_are_together(
    ten_images: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    size = ("training.batch_size=4", "hardware.parts=together")
    two = load_setup(of_folder(ten_images, *size, "training.accumulation=2"), Paths(ten_images))
    with pytest.raises(ValueError, match=r"^hardware.parts must be apart .* got 2 and 4 \("):
        two.learner(0)
    assert two.learner(0, total_steps=1).together  # a run that ends before it
    for allowed in (
        ("training.accumulation=1",),
        ("training.accumulation=2", "dataset.drop_last=true"),
    ):
        setup = load_setup(of_folder(ten_images, *size, *allowed), Paths(ten_images))
        assert setup.learner(0).together


def test_gathered_inputs_of_parts_together_give_the_usual_update(
    ten_images: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    asked = ("training.batch_size=5", "training.accumulation=2", "dataset.image_size=64")
    faster = ("hardware.parts=together", "hardware.inputs=gathered")
    losses = []
    for chosen in (asked, (*asked, *faster)):
        learner = load_setup(of_folder(ten_images, *chosen), Paths(ten_images)).learner(0)
        losses.append(learner.update(0).item())
    assert isinstance(learner.batches, GatheredBatches)
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_look_at_a_batch_of_one_changes_no_weight_and_no_stream(
    ten_images: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    drops = "+model.arguments.drop_rate=0.5"
    chosen = of_folder(ten_images, "training.batch_size=9", "dataset.image_size=64", drops)
    setup = load_setup(chosen, Paths(ten_images))
    looked, drawn = setup.learner(0), torch.rand(3)
    unlooked = setup.learner(0, total_steps=1)
    assert torch.equal(drawn, torch.rand(3))
    states = looked.model.state_dict(), unlooked.model.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
