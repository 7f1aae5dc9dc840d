import pytest
import yaml

from anneal.config.schema import DatasetConfig, parse
from anneal.datasets import Paths, identify

OPTIONS = [
    "cifar10",
    "cifar100",
    "cifar100_caffe",
    "cifar100_pixel_mean",
    "cifar10_caffe",
    "cifar10_pixel_mean",
    "digits",
    "eegbci",
    "high_gamma",
    "high_gamma_4hz",
    "imagefolder",
    "imagenet",
    "imagenet16",
    "imagenet32",
    "imagenet32_imitation",
    "imagenet32_permuted",
    "imagenet64",
    "imagenet_caffe",
    "imagenet_caffe_googlenet",
    "mnist",
    "simulated_eeg",
    "svhn",
    "tiny_imagenet",
    "torchvision",
]


def read(repository, name):
    path = repository / "conf" / "dataset" / f"{name}.yaml"
    section = yaml.safe_load(path.read_text())
    return parse(DatasetConfig, section, where=f"conf/dataset/{name}.yaml")


def test_every_option_is_listed_here(repository):
    found = sorted(path.stem for path in (repository / "conf" / "dataset").glob("*.yaml"))
    assert found == OPTIONS


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_is_complete_and_carries_its_own_name(repository, name):
    assert read(repository, name).name == name


def test_caffe_reads_raw_pixels_minus_the_mean_image_as_they_are_stored(repository):
    config = read(repository, "cifar10_caffe")
    assert (config.scale, config.subtract, config.divide) == (255.0, "mean_image", "nothing")
    assert (config.order, config.crop_padding, config.mirror) == ("stored", 0, False)


def test_mnist_is_read_as_caffes_example_reads_it(repository):
    config = read(repository, "mnist")
    assert config.scale / 255 == 0.00390625  # scale of lenet_train_test.prototxt
    assert (config.subtract, config.divide, config.mirror) == ("nothing", "nothing", False)
    assert (config.order, config.crop_padding, config.drop_last) == ("stored", 0, False)


def test_folder_of_images_must_be_named(repository, tmp_path):
    with pytest.raises(ValueError, match=r"give dataset.folder="):
        identify(read(repository, "imagefolder"), Paths(tmp_path))


def test_default_set_needs_no_files(repository, tmp_path):
    identity = identify(read(repository, "digits"), Paths(tmp_path / "data"))
    assert identity["image_shape"] == [1, 24, 24]
    assert not (tmp_path / "data").exists()
