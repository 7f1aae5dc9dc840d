import functools
import gzip
import hashlib
import http.server
import inspect
import struct
import threading

import numpy as np
import pytest
import torch
import torchvision

from anneal.datasets import Paths, identify, load_dataset
from anneal.datasets.image_data import DecodedSplit
from anneal.datasets.torchvision_sets import CONSTRUCTORS

# Why the others of torchvision are not here.
NO_CLASSIFICATION = {
    "several labels or boxes or captions": "CelebA CocoCaptions CocoDetection Flickr30k Flickr8k "
    "Kitti SBU VOCDetection WIDERFace",
    "pixels or flow": "CREStereo CarlaStereo Cityscapes ETH3DStereo FallingThingsStereo "
    "FlyingChairs FlyingThings3D HD1K InStereo2k Kitti2012Stereo Kitti2015Stereo KittiFlow "
    "Middlebury2014Stereo SBDataset SceneFlowStereo Sintel SintelStereo VOCSegmentation",
    "pairs, or other classes in the test images": "LFWPairs LFWPeople Omniglot PhotoTour",
    "video": "HMDB51 Kinetics MovingMNIST UCF101",
    "no set of its own": "DatasetFolder FakeData ImageFolder VisionDataset LSUNClass "
    "wrap_dataset_for_transforms_v2",
    "by hand, as folders: source imagefolder": "ImageNet LSUN",
}


def write_idx(path, array):
    """Write MNIST's format: two zero bytes, 8 (bytes), the rank, the sizes, the content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(head + array.tobytes())


def make_mnist(root, *, seed=0):
    """Make 40 training and 20 test images in MNIST's files; return them."""
    rng = np.random.default_rng(seed)
    made = {}
    for prefix, count in (("train", 40), ("t10k", 20)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        write_idx(root / "MNIST" / "raw" / f"{prefix}-images-idx3-ubyte", images)
        write_idx(root / "MNIST" / "raw" / f"{prefix}-labels-idx1-ubyte", labels)
        made[prefix] = images, labels
    return made


@pytest.fixture
def mnist(configure):
    return configure(source="torchvision", dataset_class="MNIST")


def test_every_set_of_torchvision_is_supported_or_has_a_reason_not_to_be():
    others = {name for names in NO_CLASSIFICATION.values() for name in names.split()}
    assert set(torchvision.datasets.__all__) == set(CONSTRUCTORS) | others
    assert not set(CONSTRUCTORS) & others


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_each_constructor_takes_the_arguments_that_it_is_given(name):
    constructor = CONSTRUCTORS[name]
    signature = inspect.signature(getattr(torchvision.datasets, name))
    for arguments in (constructor.train, constructor.test or {}):
        more = {"download": True} if constructor.downloads else {}
        signature.bind(root="here", **arguments, **more)


@pytest.mark.parametrize("where", ["given", "ours"])
def test_set_that_is_here_is_loaded(mnist, tmp_path, where):
    archives, data = tmp_path / "archives", tmp_path / "data"
    made = make_mnist(archives if where == "given" else data / "torchvision" / "MNIST")
    loaded = load_dataset(mnist, Paths(data, archives))
    for split, prefix in ((loaded.train, "train"), (loaded.test, "t10k")):
        assert torch.equal(split.images[:, 0], torch.from_numpy(made[prefix][0]))
        assert split.labels.tolist() == made[prefix][1].tolist()
    assert loaded.class_names[3] == "3 - three"
    assert loaded.identity["splits"]["test"] == {"num_images": 20, "images_per_class": [2] * 10}
    assert loaded.identity == identify(mnist, Paths(data, archives))


def test_identity_changes_with_the_images(mnist, tmp_path):
    paths = Paths(tmp_path, tmp_path)
    make_mnist(tmp_path)
    before = identify(mnist, paths)
    make_mnist(tmp_path, seed=1)
    assert identify(mnist, paths) != before


def test_beyond_the_memory_given_images_are_decoded_on_demand(configure, tmp_path):
    made = make_mnist(tmp_path)
    config = configure(source="torchvision", dataset_class="MNIST", memory_gib=1e-9)
    train = load_dataset(config, Paths(tmp_path, tmp_path)).train
    assert isinstance(train, DecodedSplit)
    images, labels = train.take(torch.tensor([7, 3]))
    assert torch.equal(images[:, 0], torch.from_numpy(made["train"][0][[7, 3]]))
    assert labels.tolist() == [7, 3]


def test_set_without_test_images_is_split_by_its_seed(configure, tmp_path, draw_image):
    for number in range(20):
        name = ("Forest", "River")[number % 2]
        path = tmp_path / "eurosat" / "2750" / name / f"{name}_{number}.jpg"
        draw_image(path, seed=number, width=8, height=8)
    config = configure(source="torchvision", dataset_class="EuroSAT", test_fraction=0.2)
    data = load_dataset(config, Paths(tmp_path / "data", tmp_path))
    assert (len(data.train), len(data.test)) == (16, 4)
    assert data.class_names == ("Forest", "River")
    assert data.test.labels.bincount().tolist() == [2, 2]


def test_unknown_class_names_the_near_ones(configure, tmp_path):
    config = configure(source="torchvision", dataset_class="FashonMNIST")
    with pytest.raises(ValueError, match=r"'FashonMNIST' is no .*did you mean 'FashionMNIST'"):
        identify(config, Paths(tmp_path))


def test_missing_class_says_what_to_give(configure, tmp_path):
    with pytest.raises(ValueError, match=r"dataset.dataset_class is not set"):
        identify(configure(source="torchvision"), Paths(tmp_path))


@pytest.mark.parametrize(
    ("name", "fraction", "message"),
    [
        ("EuroSAT", None, "test_fraction must be given, EuroSAT has no test images"),
        ("MNIST", 0.5, "test_fraction must be null, MNIST has test images; got 0.5"),
    ],
)
def test_test_fraction_is_given_exactly_when_it_is_needed(
    configure, tmp_path, name, fraction, message
):
    config = configure(source="torchvision", dataset_class=name, test_fraction=fraction)
    with pytest.raises(ValueError, match=message):
        identify(config, Paths(tmp_path))


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """Serve a made MNIST to torchvision; return the folder served and torchvision's class."""
    served = tmp_path / "served"
    raw = tmp_path / "original" / "MNIST" / "raw"
    made = make_mnist(tmp_path / "original")
    served.mkdir()
    resources = []
    for path in sorted(raw.iterdir()):
        content = gzip.compress(path.read_bytes())
        (served / f"{path.name}.gz").write_bytes(content)
        resources.append((f"{path.name}.gz", hashlib.md5(content).hexdigest()))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [url])
        monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
        yield served, made
        server.shutdown()


def test_set_that_is_not_here_is_downloaded_once(mnist, mirror, tmp_path):
    served, made = mirror
    paths = Paths(tmp_path / "data")
    first = load_dataset(mnist, paths)
    assert torch.equal(first.train.images[:, 0], torch.from_numpy(made["train"][0]))
    for path in served.iterdir():
        path.unlink()
    assert load_dataset(mnist, paths).identity == first.identity
    assert [p.name for p in (tmp_path / "data" / "torchvision").iterdir()] == ["MNIST"]


def test_wrong_bytes_leave_nothing_and_name_every_place(mnist, mirror, tmp_path):
    served, _ = mirror
    (served / "t10k-images-idx3-ubyte.gz").write_bytes(b"something else")
    paths = Paths(tmp_path / "data", tmp_path / "archives")
    with pytest.raises(OSError, match="downloading failed") as caught:
        load_dataset(mnist, paths)
    message = str(caught.value)
    assert str(tmp_path / "archives") in message
    assert str(tmp_path / "data" / "torchvision" / "MNIST") in message
    assert "\n" not in message
    assert not (tmp_path / "data" / "torchvision").exists()
    assert not list((tmp_path / "data").glob(".unfinished-*"))


def test_damaged_folder_of_ours_is_named_and_not_downloaded_over(mnist, mirror, tmp_path):
    paths = Paths(tmp_path / "data")
    load_dataset(mnist, paths)
    home = tmp_path / "data" / "torchvision" / "MNIST"
    (home / "MNIST" / "raw" / "t10k-images-idx3-ubyte").unlink()
    left = sorted(home.rglob("*"))
    with pytest.raises(OSError, match=f"delete {home} to have it downloaded again"):
        load_dataset(mnist, paths)
    assert sorted(home.rglob("*")) == left
