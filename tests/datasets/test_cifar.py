import dataclasses
import hashlib
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from anneal.datasets import Paths, cifar, identify, load_dataset, statistics_of
from anneal.datasets.cifar import unpickle_arrays
from anneal.datasets.sources import CIFAR10, CIFAR100, Member


def write_members(folder, contents):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def with_checksums(source, contents):
    """Return a source whose members are these files."""
    members = tuple(
        Member(
            name=m.name,
            md5=hashlib.md5(contents[m.name]).hexdigest(),
            split=m.split,
        )
        for m in source.members
    )
    return dataclasses.replace(source, members=members)


def make_small(source, *, num_train, num_test):
    """Make files of the same format with fewer images; return the source, files and arrays."""
    rng = np.random.default_rng(0)
    num_classes = len(source.class_names)
    contents, arrays = {}, {"train": [], "test": []}
    for member in source.members:
        if member.split is None:
            content = {"label_names": list(source.class_names)}
        else:
            count = (num_train if member.split == "train" else num_test) * num_classes
            data = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
            labels = rng.permutation(np.repeat(np.arange(num_classes), count // num_classes))
            content = {"data": data, source.labels_key: labels.tolist()}
            if source is CIFAR100:
                content["coarse_labels"] = [0] * count
            arrays[member.split].append((data.reshape(-1, 3, 32, 32), labels))
        contents[member.name] = pickle.dumps(content, protocol=4)
    num_batches = len(arrays["train"])
    small = dataclasses.replace(
        with_checksums(source, contents),
        images_per_class={"train": num_train * num_batches, "test": num_test},
    )
    return small, contents, arrays


@pytest.fixture(params=[CIFAR10, CIFAR100], ids=lambda source: source.name)
def small(request, tmp_path, monkeypatch):
    """A small set in either format, unpacked in the archives folder."""
    source, contents, arrays = make_small(request.param, num_train=2, num_test=1)
    monkeypatch.setitem(cifar.SOURCES, source.name, source)
    write_members(tmp_path / "archives" / source.folder, contents)
    return source, arrays, Paths(tmp_path / "data", tmp_path / "archives")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(CIFAR10, torchvision.datasets.CIFAR10), (CIFAR100, torchvision.datasets.CIFAR100)],
)
def test_what_we_know_of_the_archives_is_what_torchvision_knows(ours, theirs):
    assert ours.urls == (theirs.url,)
    assert (ours.archive, ours.archive_md5) == (theirs.filename, theirs.tgz_md5)
    assert ours.folder == theirs.base_folder
    known = {(m.name, m.md5, m.split) for m in ours.members}
    assert known == {
        *((name, md5, "train") for name, md5 in theirs.train_list),
        *((name, md5, "test") for name, md5 in theirs.test_list),
        (theirs.meta["filename"], theirs.meta["md5"], None),
    }


def test_there_are_ten_and_a_hundred_classes_in_alphabetical_order():
    assert (len(CIFAR10.class_names), len(CIFAR100.class_names)) == (10, 100)
    for source in (CIFAR10, CIFAR100):
        assert sorted(set(source.class_names)) == list(source.class_names)


def test_batches_are_read_in_the_order_stored(small, configure):
    source, arrays, paths = small
    data = load_dataset(configure(source=source.name), paths)
    for name, split in (("train", data.train), ("test", data.test)):
        images = np.concatenate([images for images, _ in arrays[name]])
        labels = np.concatenate([labels for _, labels in arrays[name]])
        assert torch.equal(split.images, torch.from_numpy(images))
        assert split.labels.tolist() == labels.tolist()
    assert data.class_names == source.class_names


def test_the_identity_is_that_of_what_is_loaded(small, configure):
    source, _, paths = small
    config = configure(source=source.name, image_size=16)
    data = load_dataset(config, paths)
    assert data.identity == identify(config, paths)
    assert data.identity["image_shape"] == list(data.image_shape) == [3, 16, 16]
    for name, split in (("train", data.train), ("test", data.test)):
        counts = split.labels.bincount().tolist()
        assert data.identity["splits"][name] == {
            "num_images": sum(counts),
            "images_per_class": counts,
        }
    assert not paths.data.exists()  # what lies unpacked in the archives folder is used there


@pytest.mark.parametrize("act", [identify, load_dataset])
def test_nothing_is_unpickled_before_its_checksum_is_right(small, configure, tmp_path, act):
    source, _, paths = small
    proof = tmp_path / "it_ran"

    class Malice:
        def __reduce__(self):
            return Path.touch, (proof,)

    for member in source.members:
        path = paths.archives / source.folder / member.name
        original = path.read_bytes()
        path.write_bytes(pickle.dumps(Malice()))
        found = hashlib.md5(path.read_bytes()).hexdigest()
        if member.split is None and act is load_dataset:
            path.write_bytes(original)
            continue  # never read, so never unpickled
        with pytest.raises(ValueError, match=f"{member.name} is not the published file") as caught:
            act(configure(source=source.name), paths)
        assert member.md5 in str(caught.value)
        assert found in str(caught.value)
        assert "\n" not in str(caught.value)
        path.write_bytes(original)
    assert not proof.exists()
    pickle.loads(pickle.dumps(Malice()))
    assert proof.exists()  # it would have run


class Calls:
    """Pickled, it is a call of a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", [os.system, eval, np.fromfile])
def test_pickle_that_calls_a_function_is_refused_and_not_run(tmp_path, function):
    made = tmp_path / "made"
    content = pickle.dumps({"data": Calls(function, f"touch {made}")}, protocol=4)
    with pytest.raises(ValueError, match=r"batch is no pickle of arrays: it names .*\.\w+, which"):
        unpickle_arrays(content, name="batch")
    assert not made.exists()


def test_pickle_cut_short_is_refused_with_its_name():
    content = pickle.dumps({"data": np.zeros((2, 3072), np.uint8)}, protocol=4)
    assert unpickle_arrays(content, name="batch")["data"].shape == (2, 3072)
    with pytest.raises(ValueError, match="batch is no pickle of arrays"):
        unpickle_arrays(content[:-9], name="batch")


def test_counts_are_checked_too(small, configure, monkeypatch):
    source, _, paths = small
    expecting = dataclasses.replace(source, images_per_class={"train": 11, "test": 1})
    monkeypatch.setitem(cifar.SOURCES, source.name, expecting)
    with pytest.raises(ValueError, match=r"train split must have 11 images in each of 100?"):
        load_dataset(configure(source=source.name), paths)


def test_a_missing_member_is_named(small, configure):
    source, _, paths = small
    (paths.archives / source.folder / source.members[0].name).unlink()
    with pytest.raises(ValueError, match=f"is incomplete: {source.members[0].name} is missing"):
        load_dataset(configure(source=source.name), paths)


def test_identifying_needs_no_torch(small, configure):
    # in a process of its own, which knows nothing of the small source: the checksum is refused
    source, _, paths = small
    program = (
        "import sys; from pathlib import PosixPath\n"
        "from anneal.config.schema import DatasetConfig\n"
        f"from anneal.datasets import Paths, identify; c = {configure(source=source.name)!r}\n"
        f"try: identify(c, {paths!r})\n"
        "except ValueError as e: assert 'not the published file' in str(e)\n"
        "else: raise AssertionError\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.fixture(scope="module")
def real():
    """The real CIFAR-10, which only a person's own archives folder holds."""
    return Paths(Path("nowhere"), Path(os.environ["ANNEAL_ARCHIVES"]))


@pytest.mark.archives
def test_the_real_cifar10_has_5000_and_1000_images_in_each_class(configure, real):
    started = time.perf_counter()
    data = load_dataset(configure(source="cifar10"), real)
    assert time.perf_counter() - started < 60  # measured: 0.4 to 1.6 s
    assert data.train.labels.bincount().tolist() == [5000] * 10
    assert data.test.labels.bincount().tolist() == [1000] * 10
    assert data.train.labels[:8].tolist() == [6, 9, 9, 4, 1, 1, 2, 7]
    assert data.identity == identify(configure(source="cifar10"), real)


@pytest.mark.archives
def test_the_real_cifar10_is_what_torchvision_reads(configure, real):
    theirs = torchvision.datasets.CIFAR10(str(real.archives), train=False)
    ours = load_dataset(configure(source="cifar10"), real)
    assert list(ours.class_names) == theirs.classes
    assert torch.equal(ours.test.images.permute(0, 2, 3, 1), torch.from_numpy(theirs.data))
    assert ours.test.labels.tolist() == theirs.targets


@pytest.mark.archives
def test_the_real_cifar100_is_what_torchvision_reads(configure, real):
    theirs = torchvision.datasets.CIFAR100(str(real.archives), train=False)
    ours = load_dataset(configure(source="cifar100"), real)
    assert list(ours.class_names) == theirs.classes
    assert torch.equal(ours.test.images.permute(0, 2, 3, 1), torch.from_numpy(theirs.data))
    assert ours.test.labels.tolist() == theirs.targets
    assert ours.train.labels.bincount().tolist() == [500] * 100
    assert ours.test.labels.bincount().tolist() == [100] * 100
    assert ours.identity == identify(configure(source="cifar100"), real)


@pytest.mark.archives
def test_the_real_cifar100s_statistics_are_those_that_everybody_quotes(configure, real):
    config = configure(source="cifar100", scale=1.0, subtract="channel_mean", divide="channel_std")
    statistics = statistics_of(load_dataset(config, real).train, config)
    mean, std = statistics.mean.flatten().tolist(), statistics.std.flatten().tolist()
    assert mean == pytest.approx([0.5071, 0.4865, 0.4409], abs=5e-5)
    assert std == pytest.approx([0.2673, 0.2564, 0.2762], abs=5e-5)


@pytest.mark.archives
def test_the_real_channel_statistics_are_those_that_everybody_quotes(configure, real):
    config = configure(source="cifar10", scale=1.0, subtract="channel_mean", divide="channel_std")
    statistics = statistics_of(load_dataset(config, real).train, config)
    mean, std = statistics.mean.flatten().tolist(), statistics.std.flatten().tolist()
    assert mean == pytest.approx([0.4914, 0.4822, 0.4465], abs=5e-5)
    assert std == pytest.approx([0.2470, 0.2435, 0.2616], abs=5e-5)


@pytest.mark.archives
def test_the_real_mean_image_is_the_mean_of_each_pixel(configure, real):
    config = configure(source="cifar10", subtract="mean_image")
    train = load_dataset(config, real).train
    pixel = train.images[:, 1, 20, 7].double().mean().item()
    mean = statistics_of(train, config).mean
    assert mean.shape == (3, 32, 32)
    assert mean[1, 20, 7].item() == pytest.approx(pixel, rel=1e-6)
    assert 120 < mean.mean().item() < 121
