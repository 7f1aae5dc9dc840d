"""SVHN with its extra images and Tiny ImageNet: small files in the published layouts."""

import dataclasses
import hashlib

import numpy as np
import pytest
import torch
import torchvision
from scipy.io import savemat

from anneal.datasets import Paths, identify, load_dataset, tiny_imagenet
from anneal.datasets.registry import DATASETS
from anneal.datasets.sources import TINY_IMAGENET

COUNTS = {"train": 12, "extra": 20, "test": 10}


@pytest.fixture
def svhn(tmp_path, monkeypatch):
    """Write the three files of SVHN, small; return their images (N, 3, 32, 32)."""
    listed, made = dict(torchvision.datasets.SVHN.split_list), {}
    for seed, (split, count) in enumerate(COUNTS.items()):
        rng = np.random.default_rng(seed)
        images = rng.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        labels = 1 + np.arange(count) % 10  # 10 is the digit 0
        path = tmp_path / f"{split}_32x32.mat"
        savemat(path, {"X": images, "y": labels[:, None].astype(np.uint8)})
        md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        listed[split] = [*listed[split][:2], md5]
        made[split] = images.transpose(3, 2, 0, 1)
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", listed)
    return made


def test_extra_images_of_svhn_follow_its_training_images(svhn, configure, tmp_path):
    config = configure(name="svhn", source="svhn")
    data = load_dataset(config, Paths(tmp_path / "data", archives=tmp_path))
    expected = torch.from_numpy(np.concatenate([svhn["train"], svhn["extra"]]))
    assert torch.equal(data.train.images, expected)
    assert torch.equal(data.test.images, torch.from_numpy(svhn["test"]))
    assert data.train.labels.tolist()[8:14] == [9, 0, 1, 2, 1, 2]
    found = identify(config, Paths(tmp_path / "data", archives=tmp_path))
    assert (found["splits"]["train"]["num_images"], found["num_classes"]) == (32, 10)


def test_svhn_without_its_extra_file_names_every_place(svhn, configure, tmp_path, monkeypatch):
    def refuse(_self):
        raise RuntimeError("no network")

    monkeypatch.setattr(torchvision.datasets.SVHN, "download", refuse)
    (tmp_path / "extra_32x32.mat").unlink()
    paths = Paths(tmp_path / "data", archives=tmp_path)
    places = r"SVHN is not here; looked at .*, .*data.torchvision.SVHN_extra .*no network$"
    with pytest.raises(OSError, match=places):
        load_dataset(configure(source="svhn"), paths)
    plain = configure(source="torchvision", dataset_class="SVHN")
    assert len(load_dataset(plain, paths).train) == 12


@pytest.fixture
def tiny(tmp_path, draw_image, monkeypatch):
    """Write Tiny ImageNet with three classes of two images each and one to test."""
    root = tmp_path / "tiny-imagenet-200"
    names = ("n01443537", "n01629819", "n01641577")
    lines = []
    for label, name in enumerate(names):
        for number in range(2):
            path = root / "train" / name / "images" / f"{name}_{number}.JPEG"
            draw_image(path, seed=10 * label + number, width=64, height=64)
        (root / "train" / name / f"{name}_boxes.txt").write_text("boxes\n")
        image = f"val_{2 - label}.JPEG"  # in another order than the classes
        draw_image(root / "val" / "images" / image, seed=100 + label, width=64, height=64)
        lines.append(f"{image}\t{name}\t0\t32\t44\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    draw_image(root / "test" / "images" / "test_0.JPEG", seed=0, width=64, height=64)
    monkeypatch.setitem(TINY_IMAGENET.images_per_class, "train", 2)
    monkeypatch.setitem(TINY_IMAGENET.images_per_class, "test", 1)
    return root, names


def test_tiny_imagenet_takes_its_classes_from_val_annotations(
    tiny, configure, tmp_path, monkeypatch
):
    _, names = tiny
    three = dataclasses.replace(TINY_IMAGENET, num_classes=3)
    monkeypatch.setattr(tiny_imagenet, "TINY_IMAGENET", three)
    config = configure(name="tiny_imagenet", source="tiny_imagenet")
    data = load_dataset(config, Paths(tmp_path / "data", archives=tmp_path))
    assert (data.class_names, data.image_shape) == (names, (3, 64, 64))
    assert data.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.test.labels.tolist() == [0, 1, 2]
    assert identify(config, Paths(tmp_path / "data", archives=tmp_path)) == data.identity


def test_tiny_imagenet_of_other_counts_is_refused(tiny, configure, tmp_path):
    config = configure(source="tiny_imagenet")
    message = (
        r"^tiny-imagenet-200: train must have 2 images of each of 200 classes, got 6 images of 3"
    )
    with pytest.raises(ValueError, match=message):
        identify(config, Paths(tmp_path / "data", archives=tmp_path))


def test_tiny_imagenet_that_is_not_here_names_every_place(configure, tmp_path):
    with pytest.raises(OSError, match=r"looked at .*data.tiny-imagenet-200: unpack"):
        load_dataset(configure(source="tiny_imagenet"), Paths(tmp_path / "data"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("val_0.JPEG n01443537\n", r"val_annotations\.txt:1 must be <image> <tab> <class>"),
        ("val_9.JPEG\tn01443537\n", r":1: there is no image val_9\.JPEG"),
        ("val_0.JPEG\tn01443537\nval_0.JPEG\tn01443537\n", r":2: there is no image val_0\.JPEG"),
        ("val_0.JPEG\tn01443537\n", r"has no line for val_1\.JPEG, val_2\.JPEG"),
    ],
)
def test_wrong_annotations_are_refused_with_their_line(tiny, configure, tmp_path, text, said):
    root, _ = tiny
    (root / "val" / "val_annotations.txt").write_text(text)
    with pytest.raises(ValueError, match=said):
        load_dataset(configure(source="tiny_imagenet"), Paths(tmp_path / "data", archives=tmp_path))


def test_sizes_of_both_sets_are_those_published():
    sizes = {name: DATASETS[name].size for name in ("svhn", "tiny_imagenet")}
    assert (sizes["svhn"].train, sizes["svhn"].test) == (73_257 + 531_131, 26_032)
    tiny = sizes["tiny_imagenet"]
    assert (tiny.train, tiny.test, tiny.shape, tiny.classes) == (100_000, 10_000, (3, 64, 64), 200)
