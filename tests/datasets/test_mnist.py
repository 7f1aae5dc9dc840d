import contextlib
import dataclasses
import gzip
import hashlib
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from anneal.datasets import Paths, identify, load_dataset, mnist, statistics_of
from anneal.datasets.sources import MNIST


def idx(array):
    """Return MNIST's format: two zero bytes, 8 (bytes), the rank, the sizes, the content."""
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return head + array.tobytes()


@pytest.fixture
def small(monkeypatch):
    """A small set in the format of MNIST: the content of each file, and images and labels."""
    rng = np.random.default_rng(0)
    contents, arrays, changed = {}, {}, {"images": {}, "labels": {}}
    for split, count in (("train", 40), ("test", 20)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = rng.permutation(np.arange(count, dtype=np.uint8) % 10)
        arrays[split] = images, labels
        for kind, array in (("images", images), ("labels", labels)):
            member = getattr(MNIST, kind)[split]
            contents[member.name] = idx(array)
            md5 = hashlib.md5(contents[member.name]).hexdigest()
            changed[kind][split] = dataclasses.replace(member, md5=md5)
    counts = {"train": (4,) * 10, "test": (2,) * 10}
    source = dataclasses.replace(MNIST, **changed, images_per_class=counts)
    monkeypatch.setattr(mnist, "SOURCE", source)
    return contents, arrays


def write(folder, contents, *, packed=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)


@pytest.mark.parametrize("packed", [False, True], ids=["unpacked", "packed"])
@pytest.mark.parametrize(
    "place", ["archives/MNIST/raw", "archives", "data/torchvision/MNIST/MNIST/raw"]
)
def test_files_are_read_where_they_lie_in_the_order_stored(
    small, configure, tmp_path, place, packed
):
    contents, arrays = small
    write(tmp_path / place, contents, packed=packed)
    paths, config = Paths(tmp_path / "data", tmp_path / "archives"), configure(source="mnist")
    before = sorted(tmp_path.rglob("*"))
    data = load_dataset(config, paths)
    for name, split in (("train", data.train), ("test", data.test)):
        assert torch.equal(split.images[:, 0], torch.from_numpy(arrays[name][0]))
        assert split.labels.tolist() == arrays[name][1].tolist()
    assert data.identity == identify(config, paths)
    assert data.identity["image_shape"] == [1, 28, 28]
    assert data.identity["splits"]["test"] == {"num_images": 20, "images_per_class": [2] * 10}
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("packed", [False, True], ids=["unpacked", "packed"])
@pytest.mark.parametrize("act", [identify, load_dataset])
def test_file_that_is_not_the_published_one_is_refused(small, configure, tmp_path, act, packed):
    contents, _ = small
    name = "t10k-labels-idx1-ubyte"
    write(tmp_path, contents | {name: contents[name][:-1] + b"\x0b"}, packed=packed)
    with pytest.raises(ValueError, match=rf"{name}(\.gz)? is not the published file") as caught:
        act(configure(source="mnist"), Paths(tmp_path))
    assert "\n" not in str(caught.value)


def test_broken_archive_is_one_line_with_its_path(small, configure, tmp_path):
    contents, _ = small
    write(tmp_path, contents, packed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=rf"^{path} is not the published file: [^\n]+$"):
        load_dataset(configure(source="mnist"), Paths(tmp_path))


def test_packed_file_with_a_flipped_bit_is_one_line_with_its_path(small, configure, tmp_path):
    contents, _ = small
    write(tmp_path, contents, packed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[10] ^= 255  # begins the compressed bytes: an error of zlib
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{path} is not the published file: [^\n]+$"):
        load_dataset(configure(source="mnist"), Paths(tmp_path))


def test_packed_file_is_unpacked_up_to_a_limit(small, configure, tmp_path, monkeypatch):
    contents, _ = small
    write(tmp_path, contents | {"train-images-idx3-ubyte": bytes(1 << 20)}, packed=True)
    unpacked = []
    monkeypatch.setattr(mnist, "_MOST_BYTES", 1 << 16)
    monkeypatch.setattr(mnist, "check_member", lambda content, *_: unpacked.append(len(content)))
    with contextlib.suppress(ValueError):
        load_dataset(configure(source="mnist"), Paths(tmp_path))
    assert max(unpacked) == 1 << 16


def test_set_that_is_nowhere_is_downloaded_by_torchvision(small, configure, tmp_path, monkeypatch):
    contents, _ = small
    asked = []

    class Downloaded:
        def __init__(self, root, train, download):
            asked.append((train, download))
            if not download and not Path(root, "MNIST").exists():
                raise RuntimeError("not found")
            write(Path(root, "MNIST", "raw"), contents)

    monkeypatch.setattr(torchvision.datasets, "MNIST", Downloaded)
    data = load_dataset(configure(source="mnist"), Paths(tmp_path / "data"))
    assert (len(data.train), len(data.test)) == (40, 20)
    assert (True, True) in asked
    monkeypatch.setattr(torchvision.datasets, "MNIST", None)  # the second time it is there
    assert (
        load_dataset(configure(source="mnist"), Paths(tmp_path / "data")).identity == data.identity
    )


def test_identifying_files_that_are_here_needs_no_torch(small, configure, tmp_path):
    # in a process of its own, which knows nothing of the small source: the checksum is refused
    contents, _ = small
    write(tmp_path, contents)
    program = (
        "import sys; from pathlib import PosixPath\n"
        "from anneal.config.schema import DatasetConfig\n"
        f"from anneal.datasets import Paths, identify; c = {configure(source='mnist')!r}\n"
        f"try: identify(c, {Paths(tmp_path)!r})\n"
        "except ValueError as e: assert 'not the published file' in str(e)\n"
        "else: raise AssertionError\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_what_we_know_of_the_files_is_what_torchvision_knows():
    members = {m.name for kind in (MNIST.images, MNIST.labels) for m in kind.values()}
    assert {f"{name}.gz" for name in members} == {
        n for n, _ in torchvision.datasets.MNIST.resources
    }


@pytest.fixture(scope="module")
def real():
    """The real MNIST, which only a person's own archives folder holds."""
    return Paths(Path("nowhere"), Path(os.environ["ANNEAL_ARCHIVES"]))


@pytest.mark.archives
def test_real_mnist_is_byte_for_byte_what_torchvision_reads(configure, real):
    data = load_dataset(configure(source="mnist"), real)
    assert data.identity == identify(configure(source="mnist"), real)
    for train, split in ((True, data.train), (False, data.test)):
        theirs = torchvision.datasets.MNIST(str(real.archives), train=train)
        assert torch.equal(split.images[:, 0], theirs.data)
        assert torch.equal(split.labels, theirs.targets)
        name = "train" if train else "test"
        counts = list(MNIST.images_per_class[name])
        assert split.labels.bincount().tolist() == counts
        assert data.identity["splits"][name]["num_images"] == sum(counts) == len(split)


@pytest.mark.archives
def test_real_mnists_statistics_are_those_that_everybody_quotes(configure, real):
    config = configure(source="mnist", scale=1.0, subtract="channel_mean", divide="channel_std")
    statistics = statistics_of(load_dataset(config, real).train, config)
    assert statistics.mean.item() == pytest.approx(0.1307, abs=5e-5)
    assert statistics.std.item() == pytest.approx(0.3081, abs=5e-5)
