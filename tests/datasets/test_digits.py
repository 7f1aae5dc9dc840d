import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from anneal.datasets import Paths, identify, load_dataset

NOWHERE = Paths(Path("nowhere"))


def test_digits_are_split_into_1437_and_360_with_every_class_in_both(configure):
    data = load_dataset(configure(), NOWHERE)
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert data.image_shape == (1, 8, 8)
    counts = torch.bincount(data.train.labels) + torch.bincount(data.test.labels)
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert data.test.labels.bincount().min() == 35


def test_the_identity_counts_what_is_loaded(configure):
    data = load_dataset(configure(split_seed=7), NOWHERE)
    for name, split in (("train", data.train), ("test", data.test)):
        stated = data.identity["splits"][name]
        assert stated["images_per_class"] == split.labels.bincount().tolist()
        assert stated["num_images"] == len(split)
    assert data.identity["image_shape"] == list(data.image_shape)
    assert data.identity == identify(configure(split_seed=7), NOWHERE)
    assert json.loads(json.dumps(data.identity)) == data.identity


def test_the_split_and_the_identity_follow_the_seed(configure):
    first, second = (load_dataset(configure(split_seed=seed), NOWHERE) for seed in (0, 1))
    assert not torch.equal(first.test.images, second.test.images)
    assert first.identity != second.identity


def test_ink_from_0_to_16_becomes_a_byte_from_0_to_255(configure):
    data = load_dataset(configure(), NOWHERE)
    together = np.concatenate([data.train.images.numpy(), data.test.images.numpy()])[:, 0]
    expected = np.rint(load_digits().images / 16 * 255)
    assert sorted(map(bytes, together)) == sorted(map(bytes, expected.astype(np.uint8)))


def test_digits_can_be_enlarged(configure):
    small, large = (load_dataset(configure(image_size=size), NOWHERE) for size in (None, 24))
    assert large.image_shape == (1, 24, 24)
    means = [d.train.images.double().mean().item() for d in (small, large)]
    assert abs(means[0] - means[1]) < 2  # measured: 0.6 of 255


def test_other_digits_are_refused(configure, monkeypatch):
    bunch = load_digits()
    table = np.column_stack([bunch.data, bunch.target]).astype(np.uint8)
    table[5, 36] += 1
    monkeypatch.setattr(np, "loadtxt", lambda *_arguments, **_keywords: table)
    with pytest.raises(ValueError, match="scikit-learn's digits are not the published ones"):
        load_dataset(configure(), NOWHERE)


def test_images_that_do_not_fit_the_memory_given_are_refused(configure):
    with pytest.raises(ValueError, match=r"dataset.memory_gib: 1437 images of 64 px need"):
        load_dataset(configure(image_size=64, memory_gib=0.001), NOWHERE)


@pytest.mark.parametrize(
    ("key", "value"), [("dataset_class", "MNIST"), ("folder", "x"), ("test_fraction", 0.5)]
)
def test_a_key_that_the_source_would_ignore_is_refused(configure, key, value):
    with pytest.raises(ValueError, match=f"dataset.{key} must be null for source digits"):
        identify(configure(**{key: value}), NOWHERE)


def test_asking_who_the_digits_are_needs_no_torch(configure):
    program = (
        "import sys; from pathlib import Path; from anneal.config.schema import DatasetConfig\n"
        f"from anneal.datasets import Paths, identify; c = {configure()!r}\n"
        "identify(c, Paths(Path('nowhere'))); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
