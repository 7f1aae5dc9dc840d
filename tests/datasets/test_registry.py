"""The registry of data sets: what an entry says is true, and what is none is refused."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from anneal.config.compose import compose_run
from anneal.datasets import Paths, identify, load_dataset
from anneal.datasets.registry import DATASETS, find_dataset
from anneal.datasets.sources import CIFAR10
from anneal.runs.plan import check_plan

NOWHERE = Paths(Path("nowhere"))
REFUSED = (
    r"^conf/dataset/digits\.yaml \(or an override\): dataset\.source must be one of digits, "
    r"cifar10, cifar100, mnist, svhn, tiny_imagenet, torchvision, imagefolder, imagenet, "
    r"imagenet64, imagenet32, imagenet16, imagenet32_imitation, eegbci, high_gamma, "
    r"simulated_eeg, got 'digit'; did you mean 'digits'\?$"
)


@pytest.mark.parametrize("ask", [identify, load_dataset])
def test_unknown_source_is_refused_with_its_file(configure, ask):
    with pytest.raises(ValueError, match=REFUSED):
        ask(dataclasses.replace(configure(), name="digits", source="digit"), NOWHERE)


def test_unknown_source_stops_the_plan(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    experiment = compose_run(["dataset=digits", "dataset.source=digit"])
    with pytest.raises(ValueError, match=REFUSED):
        check_plan(experiment, where="conf/run.yaml")


def test_published_sizes_are_those_of_the_images(configure):
    data = load_dataset(configure(source="digits", image_size=None), NOWHERE)
    size = DATASETS["digits"].size
    assert (size.train, size.test) == (len(data.train), len(data.test))
    assert (size.shape, size.classes) == (data.image_shape, data.num_classes)
    size = DATASETS["cifar10"].size
    assert (size.train, size.test, size.shape) == (50_000, 10_000, CIFAR10.image_shape)
    size = DATASETS["mnist"].size
    assert (size.train, size.test, size.shape, size.classes) == (60_000, 10_000, (1, 28, 28), 10)


def test_every_reader_identifies_and_loads():
    for name, entry in DATASETS.items():
        assert callable(entry.reader().identify), name
        assert callable(entry.reader().load), name


def test_finding_an_entry_imports_no_reader(configure):
    assert find_dataset(configure()).own_keys == ()
    code = (
        "import sys; from anneal.datasets.registry import DATASETS\n"
        "print(DATASETS['cifar10'].size.train, *{'numpy', 'PIL', 'torch'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["50000"]
